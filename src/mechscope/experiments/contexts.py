"""The subject that experiments run on: its rows, its domain, its activations stored and computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from mechscope.activations import ActivationCache
from mechscope.activations.policy import TokenPolicy, read_policy
from mechscope.core import BadDataError, UsageError, unknown_name
from mechscope.core.kept import Kept
from mechscope.corpora import Corpus
from mechscope.corpora.corpus import ColumnRole
from mechscope.corpora.domain import Context, Domain, Family
from mechscope.corpora.domain_for import domain_for
from mechscope.corpora.domain_rows import row_contexts, rung_table
from mechscope.corpora.same_rows import first_alike
from mechscope.experiments.algorithms.bitsets import pack_bits
from mechscope.experiments.changing.activation import ActivationFunction, Reading
from mechscope.experiments.naming import ExperimentFolders
from mechscope.features import FeatureInputs
from mechscope.features.activity import Activity
from mechscope.models import Model
from mechscope.workspace import Workspace, open_features, subject_named

if TYPE_CHECKING:  # they take contexts themselves
    from mechscope.experiments.interactions.cell_rows import AdjustedRows
    from mechscope.experiments.interactions.observed import DesignRows
    from mechscope.experiments.observing.confounders import Confounders
    from mechscope.experiments.observing.designs import Design
    from mechscope.experiments.observing.row_items import RowItems

__all__ = ["ExperimentContext", "load_context"]

FEW_REPEATS = 0.2
MOST_KEPT = 1 << 28
"""Bytes of confounders, and as many of designs and of rows, that are kept for the next feature."""


@dataclass(frozen=True, eq=False)
class ExperimentContext:
    """An opened subject. Use as a context manager, or `close` it.

    Attributes:
        name: of the subject.
        inputs: feature store, corpus, dictionary.
        domain: what the tokens mean.
        model_source: what `Model.open` takes, an opened model, or None (then only observational modes run). A name is
            opened when the first intervention needs it.
        policy, special_ids: how samples were taken from the site's tokens; None where it has one vector a row.
        folders: where specs, results and figures are kept; None where nothing is kept.
        packed_factors: rows that have a factor of an interaction, by its name.
        row_items, confounders, designs, adjusted_rows, design_rows: what one feature leaves to the next, see
            `observing` and `interactions`.
    """

    name: str
    inputs: FeatureInputs
    domain: Domain
    model_source: str | Model | None = None
    policy: TokenPolicy | None = None
    special_ids: frozenset[int] = frozenset()
    folders: ExperimentFolders | None = None
    _row_activations: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _groups: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _rungs: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _held: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _codes: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)
    _places: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _packed: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    packed_factors: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    confounders: Kept[Confounders] = field(default_factory=lambda: Kept(MOST_KEPT), repr=False)
    designs: Kept[Design] = field(default_factory=lambda: Kept(MOST_KEPT), repr=False)
    adjusted_rows: Kept[tuple[AdjustedRows, ...]] = field(default_factory=lambda: Kept(MOST_KEPT), repr=False)
    row_items: Kept[RowItems] = field(default_factory=lambda: Kept(2 * MOST_KEPT), repr=False)
    design_rows: Kept[DesignRows] = field(default_factory=lambda: Kept(MOST_KEPT), repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the feature store."""
        self.inputs.close()

    @property
    def corpus(self) -> Corpus:
        """The corpus of the subject."""
        return self.inputs.corpus

    @property
    def has_model(self) -> bool:
        """Whether interventions can be made."""
        return self.model_source is not None

    @property
    def is_token_level(self) -> bool:
        """Whether the store has a sample a token; the activation of a row is then the largest over its samples."""
        return not self.inputs.tokens.is_pooled

    @cached_property
    def rows_in_store(self) -> np.ndarray:
        """Rows that have a sample in the store, int64 ascending."""
        return np.unique(self.inputs.tokens.row).astype(np.int64)

    @cached_property
    def model(self) -> Model:
        """The model, opened on first use. Raises UsageError without one, BadDataError for another one's store."""
        if self.model_source is None:
            raise UsageError(
                f"subject {self.name!r} has no model", expected="a model", todo='use the mode "observational"'
            )
        model = Model.open(self.model_source) if isinstance(self.model_source, str) else self.model_source
        built_with = self.inputs.store.key["model"]
        if built_with is not None and built_with != model.weights_digest:
            raise BadDataError(
                f"the feature store of {self.name!r} was built with the model {str(built_with)[:12]}…",
                expected=f"model {model.weights_digest[:12]}…, which {self.model_source!r} now is",
                todo="build the features again with this model",
            )
        return model

    @cached_property
    def activations(self) -> ActivationFunction:
        """The activation of a feature in any context. Opens the model."""
        site = self.model.site(self.inputs.site)
        reading = Reading(site, self.policy, self.special_ids)
        return ActivationFunction(self.model, reading, self.inputs.dictionary, self.corpus)

    @property
    def n_forwards(self) -> int:
        """Distinct contexts run so far; 0 before the model was opened."""
        return self.activations.n_forwards if "activations" in self.__dict__ else 0

    def row_activations(self, feature: int) -> np.ndarray:
        """The stored activation of every row, zeros included, float64 [n_rows]; the largest over a row's samples.

        One read of the feature; kept for the next call. Raises NotFoundError for an unknown feature.
        """
        if feature not in self._row_activations:
            activity = Activity.read(self.inputs, feature)
            found = np.zeros(self.corpus.n_rows)
            np.maximum.at(found, self.inputs.tokens.row[activity.samples], activity.values)
            self._row_activations.clear()
            self._row_activations[feature] = found
        return self._row_activations[feature]

    def group_values(self, column: str) -> np.ndarray:
        """The name of every row in a group column of the corpus or an attribute of the domain, str [n_rows].

        Raises NotFoundError with the nearest column.
        """
        if column not in self._groups:
            self._groups[column] = self._read_groups(column)
        return self._groups[column]

    def _read_groups(self, column: str) -> np.ndarray:
        roles: tuple[ColumnRole, ...] = ("group", "nuisance", "metadata", "split", "document")
        columns = [name for role in roles for name in self.corpus.names_with_role(role, "row")]
        if column in columns:
            return np.asarray(self.corpus.column(column).astype(str))
        base = self.domain.attribute_group
        if base is not None and column in self.domain.attributes and base in columns:
            names, index = self.group_codes(base)
            known = self.domain.attributes[column]
            return np.asarray(np.array([known.get(name, "") for name in names.tolist()])[index])
        raise unknown_name("group column", column, [*columns, *self.domain.attributes])

    def group_codes(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """The sorted names in a group column, and the index of each row's name among them, int64 [n_rows]; kept.

        Raises as `group_values`.
        """
        if column not in self._codes:
            names, index = np.unique(self.group_values(column), return_inverse=True)
            self._codes[column] = names, index.reshape(-1)
        return self._codes[column]

    def known_group(self, column: str, name: str) -> str:
        """A name of a group column as the corpus spells it. Raises NotFoundError with the nearest."""
        have = {value.lower(): value for value in self.group_codes(column)[0].tolist()}
        if name.lower() not in have:
            raise unknown_name(f"{column} in this corpus", name, have.values())
        found: str = have[name.lower()]
        return found

    def family_rungs(self, family: str) -> np.ndarray:
        """The rung of a family in every row, 0 when absent, int64 [n_rows]. Raises NotFoundError.

        One pass over the tokens; where the domain alone can tell rungs, it reads every row once.
        """
        if family not in self.domain.families:
            raise unknown_name("family", family, self.domain.families)
        if family not in self._rungs:
            known = self.domain.families[family]
            has_tokens = all(known.tokens)
            found = _rungs_by_tokens(self.corpus, known) if has_tokens else None
            self._rungs[family] = (
                rung_table(self.domain, self.corpus, [family])[family].astype(np.int64) if found is None else found
            )
        return self._rungs[family]

    def family_places(self, family: str) -> np.ndarray:
        """The place of each row's rung on the family's ladder, 0 when absent, [n_rows] in one byte (two for ladders
        of more than 127 rungs); kept. Raises as `family_rungs`."""
        if family not in self._places:
            rungs = self.family_rungs(family)
            ladder = (0, *self.domain.families[family].rungs)
            self._places[family] = np.searchsorted(ladder, rungs).astype(np.int8 if len(ladder) < 128 else np.int16)
        return self._places[family]

    def rows_with(self, token: int) -> np.ndarray:
        """Which rows hold a token, boolean [n_rows]. One pass over the tokens; kept."""
        if token not in self._held:
            self._held[token] = rows_holding(self.corpus, token)
        return self._held[token]

    def packed_rows_with(self, token: int) -> np.ndarray:
        """`rows_with`, a row to a bit (row r is bit r % 64 of word r // 64), uint64 [ceil(n_rows / 64)]; kept."""
        if token not in self._packed:
            self._packed[token] = pack_bits(self.rows_with(token)[None])[0]
        return self._packed[token]

    def packed_rows(self, rows: np.ndarray) -> np.ndarray:
        """Corpus rows (int64) packed in the same way, uint64 [ceil(n_rows / 64)]."""
        mask = np.zeros((1, self.corpus.n_rows), bool)
        mask[0, rows] = True
        return np.asarray(pack_bits(mask)[0])

    def contexts_of(self, rows: Sequence[int] | np.ndarray) -> list[Context]:
        """The corpus rows as contexts."""
        return row_contexts(self.corpus, rows)

    @cached_property
    def alike(self) -> np.ndarray | None:
        """The first row that each row repeats, as the model sees it, int64 [n_rows]; None where none does. Kept."""
        return first_alike(self.corpus)

    def clusters_of(self, rows: np.ndarray) -> np.ndarray:
        """What makes rows dependent: their document where the corpus has documents, else equal tokens and model inputs.

        Returns `rows` itself where fewer than one in five repeats another (builds drawn apart can be alike, and what
        takes rows as they are is many times as fast), else the first row alike of each, int64.
        """
        documents = self.corpus.names_with_role("document", "row")
        if not documents:
            if self.alike is None:
                return rows
            alike = self.alike[rows]
            n_repeats = len(rows) - np.count_nonzero(np.bincount(alike))
            return rows if n_repeats < FEW_REPEATS * len(rows) else alike
        _, index = np.unique(self.corpus.column(documents[0])[rows].astype(str), return_inverse=True)
        return index.reshape(len(rows))


def load_context(
    name: str | None = None, *, workspace: Workspace | Path | str = ".", domain: Path | None = None
) -> ExperimentContext:
    """A subject of a workspace, opened for experiments; the model is opened when it is first needed.

    Args:
        name: of the subject; the only one when None.
        workspace: an opened workspace, or a folder in one.
        domain: a YAML file that declares what the tokens mean; by default what the subject or its corpus names.

    Raises:
        NotFoundError: no such workspace or subject, or a part of it is not there yet (the command is named).
        UsageError: no name where there are several subjects.
        BadDataError: parts that do not belong together.
    """
    opened = workspace if isinstance(workspace, Workspace) else Workspace.open(Path(workspace))
    found, entry = subject_named(opened, name)
    inputs = open_features(opened, found)
    declared = domain if domain is not None or entry.domain is None else opened.resolve(entry.domain)
    policy, special_ids = _policy(inputs, None if entry.activations is None else opened.resolve(entry.activations))
    return ExperimentContext(
        name=found,
        inputs=inputs,
        domain=domain_for(inputs.corpus, declared=declared),
        model_source=entry.model,
        policy=policy,
        special_ids=special_ids,
        folders=ExperimentFolders.of_workspace(opened.root),
    )


def _policy(inputs: FeatureInputs, folder: Path | None) -> tuple[TokenPolicy | None, frozenset[int]]:
    """The token policy that the activations were collected with, as their cache tells; without one, as rows show."""
    if folder is not None and folder.is_dir():
        key = ActivationCache.open(folder).key
        if key["token_policy"] is None:
            return None, frozenset()
        told = key["token_policy"]
        return read_policy(told["name"], told["options"]), frozenset(map(int, told["special_ids"]))
    if not inputs.tokens.is_pooled:
        return read_policy("all", {}), frozenset()
    return (None if inputs.site == "pooled" else read_policy("mean", {})), frozenset()


def rows_holding(corpus: Corpus, token: int) -> np.ndarray:
    """Which rows hold a token, boolean [n_rows]. One pass over the tokens."""
    at = np.flatnonzero(corpus.tokens.ids == token)
    held = np.zeros(corpus.n_rows, bool)
    held[np.searchsorted(corpus.tokens.indptr, at, side="right") - 1] = True
    return held


def _rungs_by_tokens(corpus: Corpus, family: Family) -> np.ndarray:
    """The highest rung whose own token a row holds: what a rung has beyond the rung below it is its own."""
    rung_of_token = np.zeros(len(corpus.vocabulary), np.int64)
    below: set[int] = set()
    for rung, tokens in zip(family.rungs, family.tokens, strict=True):
        for token in set(tokens) - below:
            rung_of_token[token] = rung
        below = set(tokens)
    rungs = np.zeros(corpus.n_rows, np.int64)
    of_token = rung_of_token[corpus.tokens.ids]
    at = np.flatnonzero(of_token)
    np.maximum.at(rungs, np.searchsorted(corpus.tokens.indptr, at, side="right") - 1, of_token[at])
    return rungs
