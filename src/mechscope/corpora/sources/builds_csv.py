"""Tokenised builds from files: a vocabulary (JSON), a weapon vocabulary (JSON) and a CSV with one build a row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from pydantic import Field

from mechscope.core import (
    SILENT,
    BadDataError,
    NotFoundError,
    Progress,
    Spec,
    UserError,
    digest_file,
    numpy_generator,
    unknown_name,
)
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora.corpus import Column, Corpus, Ragged
from mechscope.corpora.domains.splatoon.encoding import encoding_of_rows, family_ids
from mechscope.corpora.domains.splatoon.vocabulary import NULL_TOKEN, PAD_TOKEN, TOKEN_FAMILIES, Encoding
from mechscope.corpora.domains.splatoon.weapons import Weapon, weapons

__all__ = ["BuildsCsvSource"]

TOKEN_COLUMNS = ("ability_ids", "ability_token_ids", "abilities", "ability_tokens", "tokens", "input_ids")
WEAPON_COLUMNS = ("weapon_id", "weapon_ids", "weapon", "weapon_token")
SPLITS = ("train", "valid", "test")


@CORPUS_SOURCES.register("builds_csv")
class BuildsCsvSource(Spec):
    """Gear builds from a tokenised CSV with its vocabulary and weapon vocabulary.

    Attributes:
        csv: the rows. One column holds the tokens of a build as a list ("[3, 17, 126]", "3 17 126", "3,17,126", or
            token names in place of ids), another its weapon (index, or name such as `weapon_id_40`).
        vocab: JSON, token -> id.
        weapon_vocab: JSON, weapon -> id.
        token_column, weapon_column: names in the header; by default the first known one.
        encoding: how a row writes a family's rung, "cumulative" (with all lower rungs) or "family" (alone); None reads
            it from the rows. Where they do not tell, the corpus is made and experiments on it ask for it.
        max_rows: read no more rows than this.
        held_out, seed: shares of the splits "valid" and "test", drawn from the seed.

    Every other column is kept as text. Tokens are what the model is shown AND its targets: nothing is removed.
    """

    csv: Path
    vocab: Path
    weapon_vocab: Path
    token_column: str | None = None
    weapon_column: str | None = None
    encoding: Encoding | None = None
    max_rows: int | None = Field(default=None, ge=1)
    held_out: tuple[float, float] = (0.1, 0.2)
    seed: int = 0

    def build(self, progress: Progress = SILENT) -> Corpus:
        """The corpus. One pass over the CSV; memory grows with its rows.

        Raises:
            NotFoundError: a missing file or column.
            BadDataError: a vocabulary that is not token -> id, or a row with unknown tokens; the line is named.
        """
        token_ids, weapon_ids = _read_vocabulary(self.vocab), _read_vocabulary(self.weapon_vocab)
        rows = list(self._rows(token_ids, weapon_ids, progress))
        if not rows:
            raise BadDataError(f"{self.csv} has no rows", expected="a header and one build a line", todo="fill it")
        tokens = Ragged.from_rows([ids for ids, _, _ in rows])
        weapon = np.array([index for _, index, _ in rows], dtype=np.int64)
        values: dict[str, np.ndarray] = {"weapon_ids": weapon}
        columns = {"weapon_ids": Column(level="row", role="input", description="Index in the weapon vocabulary.")}
        for name, column in _weapon_columns(weapon, weapon_ids).items():
            values[name], columns[name] = column, Column(level="row", role="group", description=f"The {name}.")
        values["split"] = self._splits(len(rows))
        columns["split"] = Column(level="row", role="split", description="Drawn from the seed.")
        for name in rows[0][2]:
            values[f"csv.{name}"] = np.array([rest[name] for _, _, rest in rows])
            columns[f"csv.{name}"] = Column(level="row", description=f"Column {name!r} of the file, as text.")
        vocabulary = tuple(sorted(token_ids, key=lambda token: token_ids[token]))
        return Corpus(
            name=self.csv.stem,
            kind="set",
            tokens=tokens,
            vocabulary=vocabulary,
            row_columns=values,
            columns=columns,
            targets=tokens,
            pad_id=token_ids.get(PAD_TOKEN),
            facts=self._facts(vocabulary, weapon_ids) | self._encoding_fact(tokens, token_ids),
        )

    def _rows(
        self, token_ids: dict[str, int], weapon_ids: dict[str, int], progress: Progress
    ) -> Iterator[tuple[list[int], int, dict[str, str]]]:
        with _open_text(self.csv) as file, progress.task("Reading builds", total=self.max_rows, unit="rows") as task:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            token_column = _column(names, self.token_column, TOKEN_COLUMNS, self.csv, "token_column")
            weapon_column = _column(names, self.weapon_column, WEAPON_COLUMNS, self.csv, "weapon_column")
            for row in reader:
                where = f"{self.csv} line {reader.line_num}"
                ids = [_id(cell, token_ids, where, "token") for cell in _cells(row.pop(token_column) or "", where)]
                weapon = _id((row.pop(weapon_column) or "").strip(), weapon_ids, where, "weapon")
                rest = {name: row[name] or "" for name in names if name in row}
                yield sorted(set(ids)) or [_id(NULL_TOKEN, token_ids, where, "token")], weapon, rest
                task.advance(1)
                if reader.line_num - 1 == self.max_rows:
                    return

    def _splits(self, n_rows: int) -> np.ndarray:
        valid, test = self.held_out
        drawn = numpy_generator(self.seed, "split").random(n_rows)
        splits: np.ndarray = np.array(SPLITS)[(drawn < valid + test).astype(int) + (drawn < test)]
        return splits

    def _encoding_fact(self, tokens: Ragged, token_ids: dict[str, int]) -> dict[str, object]:
        """What is stated, or what the rows tell; nothing where they do not."""
        if self.encoding is not None:
            return {"encoding": self.encoding, "encoding_from": "stated"}
        try:
            found = encoding_of_rows(tokens.indptr, tokens.ids, family_ids(token_ids), name=self.csv.stem)
        except UserError:  # experiments say so when they need it; everything else works without
            return {}
        return {"encoding": found, "encoding_from": "rows"}

    def _facts(self, vocabulary: tuple[str, ...], weapon_ids: dict[str, int]) -> dict[str, object]:
        known = set(vocabulary)
        families = {family: [t for t in tokens if t in known] for family, tokens in TOKEN_FAMILIES.items()}
        stacked = {token for tokens in families.values() for token in tokens}
        return {
            "source": "builds_csv",
            "spec": self.to_json(),
            "files": {path.name: digest_file(path) for path in (self.csv, self.vocab, self.weapon_vocab)},
            "domain": "splatoon",
            "token_families": {family: tokens for family, tokens in families.items() if tokens},
            "binary_tokens": [t for t in vocabulary if t not in stacked and not t.startswith("<")],
            "special_tokens": [t for t in vocabulary if t.startswith("<")],
            "weapon_vocabulary": weapon_ids,
        }


def _open_text(path: Path) -> TextIO:
    if not path.is_file():
        raise NotFoundError(f"no file at {path}", expected="a tokenised CSV with a header", todo="check the path")
    return path.open(encoding="utf-8", newline="")


def _read_vocabulary(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise NotFoundError(f"no file at {path}", expected="a JSON file, token -> id", todo="check the path")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadDataError(f"{path} is not JSON: {error}", expected="token -> id", todo="mend the file") from error
    is_mapping = isinstance(value, dict) and value and all(isinstance(i, int) for i in value.values())
    if not is_mapping or sorted(value.values()) != list(range(len(value))):
        raise BadDataError(
            f"{path} is no vocabulary",
            expected="a JSON object token -> id with the ids 0, 1, 2 ... each once",
            todo="pass the vocabulary that the CSV was tokenised with",
        )
    return {str(token): int(index) for token, index in value.items()}


def _column(names: list[str], wanted: str | None, known: tuple[str, ...], path: Path, option: str) -> str:
    if wanted is not None:
        if wanted not in names:
            raise unknown_name(f"column of {path.name}", wanted, names)
        return wanted
    for name in known:
        if name in names:
            return name
    raise NotFoundError(
        f"{path} has the columns {', '.join(names) or 'none'}",
        expected=f"one of {', '.join(known)}",
        todo=f"name the column with {option}",
    )


def _cells(text: str, where: str) -> list[str]:
    """The items of a list-like string: JSON, Python, or plain with commas or spaces."""
    inner = text.strip()
    if inner[:1] in "[({" and inner[:1]:
        if inner[-1:] != {"[": "]", "(": ")", "{": "}"}[inner[0]]:
            raise BadDataError(f"{where}: {text!r} does not close", expected="a list such as [3, 17]", todo="mend it")
        inner = inner[1:-1]
    return [cell.strip("'\"") for cell in inner.replace(",", " ").split()]


def _id(cell: str, ids: dict[str, int], where: str, kind: str) -> int:
    if cell in ids:
        return ids[cell]
    if cell.isdecimal() and int(cell) < len(ids):
        return int(cell)
    if cell.isdecimal() or not cell:
        raise BadDataError(
            f"{where}: {kind} {cell or 'missing'}",
            expected=f"an id in 0..{len(ids) - 1} or a name in the {kind} vocabulary",
            todo="pass the vocabularies that the CSV was tokenised with",
        )
    raise unknown_name(f"{kind} in {where}", cell, ids)


def _weapon_columns(weapon: np.ndarray, weapon_ids: dict[str, int]) -> dict[str, np.ndarray]:
    """Kit columns for the game's weapons; others keep their vocabulary name and unknown kits."""
    by_token = {kit.token: kit for kit in weapons()}
    tokens = sorted(weapon_ids, key=lambda token: weapon_ids[token])
    kits = [by_token.get(token, Weapon(-1, token, "unknown", "unknown", "unknown")) for token in tokens]
    fields = {
        "weapon": [kit.name for kit in kits],
        "weapon_class": [kit.weapon_class for kit in kits],
        "sub": [kit.sub for kit in kits],
        "special": [kit.special for kit in kits],
    }
    return {name: np.array(values)[weapon] for name, values in fields.items()}
