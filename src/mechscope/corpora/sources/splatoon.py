"""Generated gear builds with planted traits, some slots emptied: the corpus of the `splatoon` subject."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mechscope.core import SILENT, Progress, Spec, numpy_generator
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora.corpus import Column, ColumnRole, Corpus, Ragged
from mechscope.corpora.domains.splatoon.abilities import FAMILIES, MAIN_ONLY
from mechscope.corpora.domains.splatoon.effects import planted_facts
from mechscope.corpora.domains.splatoon.generator import STYLES, Builds, draw_builds, empty_slots
from mechscope.corpora.domains.splatoon.habits import HABITS
from mechscope.corpora.domains.splatoon.multi_hot import encode_rows, ragged_ids
from mechscope.corpora.domains.splatoon.nuisances import NUISANCES
from mechscope.corpora.domains.splatoon.playstyles import PLAYSTYLES
from mechscope.corpora.domains.splatoon.traits import Habit, Playstyle
from mechscope.corpora.domains.splatoon.vocabulary import PAD_ID, TOKEN_FAMILIES, VOCABULARY, Encoding
from mechscope.corpora.domains.splatoon.weapons import weapon_vocabulary, weapons

__all__ = ["SplatoonSource"]

SPLITS = ("train", "valid", "test")
N_SLOTS = 12


@CORPUS_SOURCES.register("splatoon")
class SplatoonSource(Spec):
    """Legal Splatoon 3 builds from the planted generator, each with some slots emptied.

    Attributes:
        n_rows: builds, one a row.
        seed: every random choice derives from it.
        min_empty, max_empty: least and most slots of the 12 that are emptied.
        empty_decay: each further emptied slot is this many times as likely as the one before, in (0, 1].
        encoding: "cumulative" (every threshold reached) or "family" (the largest alone).
        held_out: shares of the rows for the splits "valid" and "test"; the rest is "train".
    """

    n_rows: int = Field(default=40_000, ge=1)
    seed: int = 0
    min_empty: int = Field(default=3, ge=0, le=N_SLOTS)
    max_empty: int = Field(default=8, ge=0, le=N_SLOTS)
    empty_decay: float = Field(default=0.9, gt=0, le=1)
    encoding: Encoding = "cumulative"
    held_out: tuple[float, float] = (0.1, 0.2)

    def build(self, progress: Progress = SILENT) -> Corpus:
        """The corpus; the same spec gives the same corpus. About 15 microseconds and 2 kB a row."""
        with progress.task("Drawing builds", total=self.n_rows, unit="builds") as task:
            whole = draw_builds(self.n_rows, seed=self.seed)
            n_empty = self._n_empty()
            shown = empty_slots(whole, n_empty, numpy_generator(self.seed, "emptied"))
            corpus = self._corpus(whole, shown, n_empty)
            task.advance(self.n_rows)
        return corpus

    def _n_empty(self) -> np.ndarray:
        choices = np.arange(self.min_empty, max(self.max_empty, self.min_empty) + 1)
        share = self.empty_decay ** (choices - choices[0])
        generator = numpy_generator(self.seed, "n_empty")
        drawn: np.ndarray = generator.choice(choices, self.n_rows, p=share / share.sum())
        return drawn

    def _corpus(self, whole: Builds, shown: Builds, n_empty: np.ndarray) -> Corpus:
        target = encode_rows(whole.points(), whole.main_only(), self.encoding)
        hot = encode_rows(shown.points(), shown.main_only(), self.encoding)
        columns = _Columns()
        _add_weapons(columns, whole)
        columns.add("split", self._splits(), "split", "Rows of one split are never used for another's purpose.")
        _add_planted(columns, whole)
        _add_removed(columns, n_empty, target & ~hot)
        _add_points(columns, whole, shown)
        return Corpus(
            name="splatoon",
            kind="set",
            tokens=Ragged(*ragged_ids(hot)),
            vocabulary=VOCABULARY,
            row_columns=columns.values,
            columns=columns.described,
            targets=Ragged(*ragged_ids(target)),
            pad_id=PAD_ID,
            facts=self._facts(),
        )

    def _splits(self) -> np.ndarray:
        valid, test = self.held_out
        drawn = numpy_generator(self.seed, "split").random(self.n_rows)
        splits: np.ndarray = np.array(SPLITS)[(drawn < valid + test).astype(int) + (drawn < test)]
        return splits

    def _facts(self) -> dict[str, object]:
        return {
            "source": "splatoon",
            "spec": self.to_json(),
            "domain": "splatoon",
            "encoding": self.encoding,
            "token_families": {family: list(tokens) for family, tokens in TOKEN_FAMILIES.items()},
            "binary_tokens": list(MAIN_ONLY),
            "special_tokens": [token for token in VOCABULARY if token.startswith("<")],
            "weapon_vocabulary": weapon_vocabulary(),
            "planted": planted_facts(),
        }


class _Columns:
    def __init__(self) -> None:
        self.values: dict[str, np.ndarray] = {}
        self.described: dict[str, Column] = {}

    def add(self, name: str, values: np.ndarray, role: ColumnRole, description: str) -> None:
        self.values[name] = values
        self.described[name] = Column(level="row", role=role, description=description)


def _add_weapons(columns: _Columns, builds: Builds) -> None:
    kits = weapons()
    columns.add("weapon_ids", builds.weapon, "input", "Index of the weapon in the weapon vocabulary.")
    named = {
        "weapon": ([kit.name for kit in kits], "Weapon kit."),
        "weapon_class": ([kit.weapon_class for kit in kits], "Class of the weapon."),
        "sub": ([kit.sub for kit in kits], "Sub weapon of the kit."),
        "special": ([kit.special for kit in kits], "Special weapon of the kit."),
    }
    for name, (values, description) in named.items():
        columns.add(name, np.array(values)[builds.weapon], "group", description)


def _add_planted(columns: _Columns, builds: Builds) -> None:
    traits: list[Playstyle | Habit] = [*PLAYSTYLES, *HABITS]
    said = {trait.name: trait.description for trait in traits}
    for name, values in builds.concepts().items():
        columns.add(name, values, "concept", said[name])
    styles = np.array([style.name for style in STYLES])[builds.style]
    columns.add("playstyle", styles, "metadata", "The planted playstyle, decoys and flex included.")
    for nuisance in NUISANCES:
        columns.add(nuisance.name, builds.nuisances[nuisance.name], "nuisance", nuisance.description)


def _add_removed(columns: _Columns, n_empty: np.ndarray, removed: np.ndarray) -> None:
    columns.add("n_empty_slots", n_empty, "metadata", "Slots of the 12 that were emptied.")
    columns.add("n_removed", removed.sum(axis=1), "metadata", "Tokens of the complete build that the row lacks.")
    names = np.array(VOCABULARY)
    text = np.array([" ".join(names[row]) for row in removed])
    columns.add("removed", text, "metadata", "Those tokens, with a space between them.")


def _add_points(columns: _Columns, whole: Builds, shown: Builds) -> None:
    for prefix, builds, what in (("points", shown, "left in the row"), ("full_points", whole, "of the whole build")):
        points = builds.points().astype(np.int16)
        for at, family in enumerate(FAMILIES):
            columns.add(f"{prefix}.{family}", points[:, at], "metadata", f"Ability points of {family} {what}.")
