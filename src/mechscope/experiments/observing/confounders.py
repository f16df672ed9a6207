"""What else differs between rows: the named confounders of an observed difference, as strata and covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import NotFoundError, unknown_name
from mechscope.core.errors import nearest_name
from mechscope.core.kept import Kept, rows_key
from mechscope.corpora.domain import Domain, Family
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.observing.designs import Design, KeptDesigns

__all__ = ["Confounders", "confounders_of", "find_family"]


@dataclass(frozen=True, eq=False)
class Confounders:
    """Adjusted for.

    Attributes:
        names: in words, for the report. strata: combination of the groups, integers from 0, [n_rows].
        covariates: of families (place on the ladder of rungs, and present or not) and binaries, small integers
            [n_rows, m]. designs: where regressions on them are kept.
    """

    names: tuple[str, ...]
    strata: np.ndarray
    covariates: np.ndarray
    designs: Kept[Design]

    @property
    def words(self) -> str:
        """The names in a row, or "nothing"."""
        return ", ".join(self.names) or "nothing"

    @property
    def n_bytes(self) -> int:
        """Of strata and covariates."""
        return int(self.strata.nbytes + self.covariates.nbytes)

    def of_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Strata and covariates of corpus rows (int64, rising, none twice); those of all rows are not copied."""
        if len(rows) == len(self.strata):
            return self.strata, self.covariates
        return self.strata[rows], self.covariates[rows]

    def kept(self, rows: np.ndarray, *beside: str) -> KeptDesigns:
        """Where the designs of these rows (as in `of_rows`) are kept; `beside` names covariates that are added."""
        return KeptDesigns(self.designs, (*self.names, *beside), rows_key(rows, len(self.strata)))


def find_family(domain: Domain, name: str) -> Family:
    """A family by name or short name. Raises NotFoundError with the nearest, or with what a binary is asked by."""
    by_name = {alias.lower(): f for f in domain.families.values() for alias in (f.name, f.short_name) if alias}
    wanted = name.strip().lower()
    if wanted in by_name:
        return by_name[wanted]
    if wanted in {binary.lower() for binary in domain.binaries}:
        raise NotFoundError(
            f"{name} is a binary, no family: it is there or not, and has no rungs",
            expected="a family",
            todo="ask `mechscope experiment binary`, or take it as an axis of a heatmap",
        )
    near = nearest_name(wanted, by_name)
    if near is None:
        raise unknown_name("family", name, domain.families)
    family = by_name[near]
    short = f" ({family.short_name})" if family.short_name else ""
    raise NotFoundError(
        f"unknown family {name!r}",
        expected=f"one of: {', '.join(sorted(domain.families))}",
        todo=f"did you mean {family.name!r}{short}?",
    )


def confounders_of(
    context: ExperimentContext, *, leave_out: Sequence[str] = (), names: Sequence[str] | None = None
) -> Confounders:
    """The confounders that a spec names, or the domain's own.

    Args:
        context: the subject.
        leave_out: families, binaries and groups that are what is looked at (or that it decides).
        names: groups, attributes, families and binaries; None takes the group that the model is given (the weapon),
            every other family and every binary.

    Raises NotFoundError for an unknown name.
    """
    every = _default(context) if names is None else list(names)
    chosen = tuple(name for name in every if name not in leave_out)
    return context.confounders.get(chosen, lambda: _read(context, chosen), lambda found: found.n_bytes)


def _read(context: ExperimentContext, chosen: tuple[str, ...]) -> Confounders:
    groups = tuple(name for name in chosen if name not in {*context.domain.families, *context.domain.binaries})
    columns = [column for name in chosen if name not in groups for column in _columns(context, name)]
    # row by row in memory, since a slice takes rows
    covariates = np.empty((context.corpus.n_rows, len(columns)), np.result_type(np.int8, *columns))
    for at, column in enumerate(columns):
        covariates[:, at] = column
    return Confounders(chosen, _strata(context, groups), covariates, context.designs)


def _columns(context: ExperimentContext, name: str) -> list[np.ndarray]:
    if name in context.domain.binaries:
        return [context.rows_with(context.domain.binaries[name])]
    place = context.family_places(name)
    return [place, place > 0]


def _strata(context: ExperimentContext, groups: Sequence[str]) -> np.ndarray:
    strata = np.zeros(context.corpus.n_rows, np.int64)
    for at, name in enumerate(groups):
        _, index = context.group_codes(name)
        if not at:
            strata = index
            continue
        _, strata = np.unique(strata * (int(index.max()) + 1) + index, return_inverse=True)
    return strata.reshape(-1)


def _default(context: ExperimentContext) -> list[str]:
    domain = context.domain
    held = context.corpus.names_with_role("group", "row")
    base = domain.attribute_group or next((name for name in domain.settable_groups if name in held), None)
    groups = [base] if base is not None and base in held else held[:1]
    return [*groups, *domain.families, *domain.binaries]
