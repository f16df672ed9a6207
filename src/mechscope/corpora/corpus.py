"""A corpus: rows of tokens with metadata columns, in memory.

A row is one sequence (a text block, a sentence) or one set (a gear build). Tokens are stored ragged: row `i` holds
`ids[indptr[i]:indptr[i + 1]]`. Columns belong to rows (one value a row) or to tokens (one value a token). A boolean
column may be a planted concept: a true answer that a feature can be scored against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from mechscope.core import BadDataError, Spec, digest_bytes, digest_of, unknown_name

__all__ = ["Column", "ColumnRole", "Corpus", "CorpusKind", "Ragged", "token_positions"]

CorpusKind = Literal["text", "set"]
ColumnRole = Literal["metadata", "concept", "nuisance", "group", "input", "split", "document"]


class Column(Spec):
    """What a column is.

    role: "concept" (planted, boolean), "nuisance" (planted, correlated but inert), "group" (weapon, module: what
    rows are grouped by), "input" (an integer the model is given beside the tokens), "split" ("train", "valid" or
    "test"), "document" (rows of one document are not independent), or plain "metadata".
    """

    level: Literal["row", "token"]
    role: ColumnRole = "metadata"
    description: str = ""


@dataclass(frozen=True)
class Ragged:
    """Integers in rows of unequal length: `ids` int32 [n_tokens], `indptr` int64 [n_rows + 1]."""

    ids: np.ndarray
    indptr: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int | np.integer) -> np.ndarray:
        return self.ids[self.indptr[row] : self.indptr[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, int64 [n_rows]."""
        lengths: np.ndarray = np.diff(self.indptr)
        return lengths

    @classmethod
    def from_rows(cls, rows: list[np.ndarray] | list[list[int]]) -> Ragged:
        """From a list of integer sequences."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        arrays = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls(np.concatenate(arrays) if arrays else np.zeros(0, np.int32), indptr)

    def select(self, rows: np.ndarray) -> Ragged:
        """The given rows, in the given order."""
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Ragged(self.ids[token_positions(self.indptr[rows], lengths)], indptr)


def token_positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Flat positions of ragged pieces: for each piece the `length` integers from its start on."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    positions: np.ndarray = np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
    return positions


@dataclass(frozen=True)
class Corpus:
    """Rows of tokens with columns.

    Attributes:
        name: what people call it.
        kind: "text" (order matters, one activation a token) or "set" (order does not matter).
        tokens: the rows.
        vocabulary: token id -> string to show, length d_vocab.
        row_columns: name -> array [n_rows]; strings as object or `U` arrays.
        token_columns: name -> array [n_tokens], aligned with `tokens.ids`.
        columns: what each of those is.
        targets: for set models, the complete set of each row (what the model should output), or None.
        pad_id: id used to pad a batch, or None.
        facts: how it was made (source, seed, sizes, digests of files): JSON types.
    """

    name: str
    kind: CorpusKind
    tokens: Ragged
    vocabulary: tuple[str, ...]
    row_columns: dict[str, np.ndarray] = field(default_factory=dict)
    token_columns: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    targets: Ragged | None = None
    pad_id: int | None = None
    facts: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.tokens)

    @property
    def n_tokens(self) -> int:
        """Number of tokens in all rows."""
        return len(self.tokens.ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over tokens, targets, vocabulary and every column (not over `facts`); one pass, once."""
        parts: dict[str, object] = {"kind": self.kind, "vocabulary": list(self.vocabulary), "pad_id": self.pad_id}
        parts["columns"] = {name: column.to_json() for name, column in self.columns.items()}
        arrays = {"ids": self.tokens.ids, "indptr": self.tokens.indptr, **self.row_columns, **self.token_columns}
        if self.targets is not None:
            arrays |= {"target.ids": self.targets.ids, "target.indptr": self.targets.indptr}
        parts["arrays"] = {name: _array_digest(array) for name, array in arrays.items()}
        return digest_of(parts)

    def names_with_role(self, role: ColumnRole, level: Literal["row", "token"] | None = None) -> list[str]:
        """Names of the columns with a role, in order; `level` narrows it."""
        return [n for n, c in self.columns.items() if c.role == role and level in {None, c.level}]

    def column(self, name: str) -> np.ndarray:
        """A column by name, [n_rows] or [n_tokens]. Raises NotFoundError with the nearest name."""
        if name in self.row_columns:
            return self.row_columns[name]
        if name in self.token_columns:
            return self.token_columns[name]
        raise unknown_name("column", name, [*self.row_columns, *self.token_columns])

    def select(self, rows: np.ndarray) -> Corpus:
        """The corpus of the given rows (int64 indices), in that order, with its columns."""
        at = token_positions(self.tokens.indptr[rows], self.tokens.lengths[rows])
        return Corpus(
            name=self.name,
            kind=self.kind,
            tokens=self.tokens.select(rows),
            vocabulary=self.vocabulary,
            row_columns={name: values[rows] for name, values in self.row_columns.items()},
            token_columns={name: values[at] for name, values in self.token_columns.items()},
            columns=self.columns,
            targets=None if self.targets is None else self.targets.select(rows),
            pad_id=self.pad_id,
            facts=self.facts,
        )


def _array_digest(array: np.ndarray) -> str:
    if array.dtype.kind in "OU":
        return digest_of([str(value) for value in array.tolist()])
    return digest_bytes(array.dtype.str.encode() + np.ascontiguousarray(array).tobytes())


def _check(corpus: Corpus) -> None:
    if corpus.n_rows == 0 or corpus.n_tokens == 0:
        raise BadDataError(
            f"corpus {corpus.name!r} has {corpus.n_rows} rows and {corpus.n_tokens} tokens",
            expected="at least one row with one token",
            todo="check the files and filters it was made from",
        )
    low, high = int(corpus.tokens.ids.min()), int(corpus.tokens.ids.max())
    if low < 0 or high >= len(corpus.vocabulary):
        raise BadDataError(
            f"corpus {corpus.name!r} has token ids from {low} to {high}",
            expected=f"ids in 0..{len(corpus.vocabulary) - 1}, the size of its vocabulary",
            todo="tokenise it with the vocabulary that belongs to it",
        )
    sizes = {"row": corpus.n_rows, "token": corpus.n_tokens}
    held = {**corpus.row_columns, **corpus.token_columns}
    for name in sorted(set(held) ^ set(corpus.columns)):
        raise BadDataError(
            f"column {name!r} of corpus {corpus.name!r} is only " + ("described" if name in corpus.columns else "held"),
            expected="every column both held and described",
            todo="add what is missing",
        )
    for name, column in corpus.columns.items():
        if len(held[name]) != sizes[column.level]:
            raise BadDataError(
                f"column {name!r} of corpus {corpus.name!r} has {len(held[name])} values",
                expected=f"{sizes[column.level]}, one a {column.level}",
                todo="make the column anew for these rows",
            )
