"""Two sets of rows, named by values of one column: a group, an attribute, a nuisance, a family, a binary, a concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError, unknown_name
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["NamedColumn", "RowSets", "named_column", "row_sets"]

PRESENT, ABSENT = "present", "absent"


@dataclass(frozen=True, eq=False)
class NamedColumn:
    """A column as names.

    Attributes:
        name: as the domain or the corpus spells it.
        names: what its rows are named, str [k]. index: the place of every row's name among them, integers [n_rows].
        kind: "family" (its values are rungs, "0" absent), "binary", "concept", or the column's role in the corpus
            ("group" for an attribute of the domain).
        decided_by: the group that decides it and that the domain can set (the weapon decides its sub; the weapon
            itself); None where there is none.
        is_inert: whether the corpus declares it a nuisance: no input of the model, and nothing that one is made of.
    """

    name: str
    names: np.ndarray
    index: np.ndarray
    kind: str
    decided_by: str | None = None
    is_inert: bool = False

    @property
    def known(self) -> list[str]:
        """The names that some row has."""
        found: list[str] = self.names[np.bincount(self.index, minlength=len(self.names)) > 0].tolist()
        return found

    def rows_named(self, names: Sequence[str]) -> np.ndarray:
        """Which rows have one of some names, boolean [n_rows]."""
        found: np.ndarray = np.isin(self.names, names)[self.index]
        return found


@dataclass(frozen=True, eq=False)
class RowSets:
    """Names of either side, in order, and the masks of their rows, boolean [n_rows]. `rest`: second is all others."""

    column: NamedColumn
    first: tuple[str, ...]
    second: tuple[str, ...]
    is_first: np.ndarray
    is_second: np.ndarray
    rest: bool

    @property
    def words(self) -> tuple[str, str]:
        """Either side in words."""
        other = f"any other {self.column.name}" if self.rest else self._side(self.second)
        return self._side(self.first), other

    def _side(self, names: tuple[str, ...]) -> str:
        if self.column.kind == "family":
            said = "absent" if names == ("0",) else "at " + " or ".join(names)
        else:
            said = " or ".join(names)
        return f"{self.column.name} {said}"


def named_column(context: ExperimentContext, name: str) -> NamedColumn:
    """A column of the corpus, an attribute, a family or a binary. Raises NotFoundError with the nearest name."""
    domain, corpus = context.domain, context.corpus
    asked = name.strip().lower()
    families = {alias.lower(): f.name for f in domain.families.values() for alias in (f.name, f.short_name) if alias}
    binaries = {binary.lower(): binary for binary in domain.binaries}
    concepts = {concept.lower(): concept for concept in corpus.names_with_role("concept", "row")}
    if asked in families:
        ladder = np.array([str(rung) for rung in (0, *domain.families[families[asked]].rungs)])
        return NamedColumn(families[asked], ladder, context.family_places(families[asked]), "family")
    is_there = np.array([ABSENT, PRESENT])
    if asked in binaries:
        has = context.rows_with(domain.binaries[binaries[asked]])
        return NamedColumn(binaries[asked], is_there, has.astype(np.int8), "binary")
    if asked in concepts:
        has = corpus.column(concepts[asked]).astype(bool)
        return NamedColumn(concepts[asked], is_there, has.astype(np.int8), "concept")
    known = {column.lower(): column for column in (*corpus.row_columns, *domain.attributes)}
    if asked not in known:
        raise unknown_name("column", name, [*known.values(), *domain.families, *domain.binaries])
    found = known[asked]
    names, index = context.group_codes(found)
    role = corpus.columns[found].role if found in corpus.columns else "group"
    return NamedColumn(found, names, index, role, _decided_by(context, found), is_inert=role == "nuisance")


def _decided_by(context: ExperimentContext, column: str) -> str | None:
    """The settable group of which each name has one value of the column only."""
    for base in context.domain.settable_groups:
        if base == column:
            return base
        names, group = context.group_codes(base)
        known, value = context.group_codes(column)
        n_pairs = np.count_nonzero(np.bincount(group * len(known) + value))
        if n_pairs == len(names) < len(value) / 2:
            return base
    return None


def row_sets(
    context: ExperimentContext, column: NamedColumn, first: Sequence[str], second: Sequence[str], among: np.ndarray
) -> RowSets:
    """The two sets of a column, over all rows of the corpus.

    Args:
        context: the subject.
        column: what the names are of.
        first: names; "present" and "absent" are known for families too. Empty takes "present", or the commonest name.
        second: names; empty takes every other one.
        among: rows that say which name is the commonest, int64.

    Raises:
        NotFoundError: an unknown name, with the nearest one. UsageError: a name on both sides, or nothing on one.
    """
    del context
    known = column.known
    if first:
        left = _resolved(column, first, known)
    elif column.kind in {"family", "binary", "concept"}:
        left = _resolved(column, [PRESENT], known)
    else:
        counts = np.bincount(column.index[among], minlength=len(column.names))
        left = (str(column.names[np.argmax(np.where(column.names == "", -1, counts))]),)
    right = _resolved(column, second, known) if second else tuple(n for n in known if n not in left and n != "")
    if both := sorted(set(left) & set(right)):
        raise UsageError(
            f"{column.name} {both[0]} on both sides", expected="two sets apart", todo="leave it out of one"
        )
    if not left or not right:
        raise UsageError(
            f"no {column.name} on one side", expected="at least one name on each", todo=f"choose among {known[:20]}"
        )
    is_first, is_second = (column.rows_named(names) for names in (left, right))
    return RowSets(column, left, right, is_first, is_second, rest=not second and column.kind in _MANY)


_MANY = {"group", "nuisance", "metadata", "split", "document"}


def _resolved(column: NamedColumn, names: Sequence[str], known: list[str]) -> tuple[str, ...]:
    by_folded = {name.lower(): name for name in known}
    found: list[str] = []
    for name in names:
        asked = name.strip().lower()
        if column.kind == "family" and asked == PRESENT:
            found += [rung for rung in sorted(known, key=int) if rung != "0"]
        elif column.kind == "family" and asked == ABSENT:
            found.append("0")
        elif asked in by_folded:
            found.append(by_folded[asked])
        else:
            raise unknown_name(column.name, name, known)
    return tuple(dict.fromkeys(found))
