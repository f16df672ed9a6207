"""The observed side of an experiment: rows grouped by a level they have, adjusted, and held against an intervention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mechscope.core import UsageError, numpy_generator
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.observing.adjusting import LevelContrasts, contrast_levels
from mechscope.experiments.observing.confounders import confounders_of
from mechscope.experiments.observing.slicing import Slice
from mechscope.experiments.tables import ResultTable

__all__ = [
    "ONLY_DONE",
    "ONLY_SEEN",
    "OPPOSITE",
    "ObservedLevels",
    "Side",
    "difference_of",
    "disagreement",
    "observe_levels",
    "rows_holding_constant",
]

ALPHA = 0.05
NAMES = ("crude", "stratified", "adjusted")
OPPOSITE = "observation and intervention point in opposite directions"
ONLY_DONE = "the intervention changes what the rows do not show"
ONLY_SEEN = "rows differ though the intervention changes nothing that could be measured"
ONLY_CRUDE = (
    "rows differ only until what goes with it is adjusted for, and the intervention changes nothing that could be "
    "measured"
)


@dataclass(frozen=True, eq=False)
class ObservedLevels:
    """Observed contrasts of levels with a reference.

    Attributes:
        levels: in order. contrasts: over all rows.
        words: the confounders adjusted for. contrast_halves: what measures `halves`.
    """

    levels: tuple[int, ...]
    reference: int
    contrasts: LevelContrasts
    words: str
    contrast_halves: Callable[[], tuple[LevelContrasts, LevelContrasts]]

    columns: ClassVar[tuple[str, ...]] = (
        "n", "n_reference", "crude", "crude_low", "crude_high", "stratified", "stratified_low", "stratified_high",
        "n_matched", "adjusted", "adjusted_low", "adjusted_high", "p", "p_corrected", "effect", "flag",
    )  # fmt: skip

    @cached_property
    def halves(self) -> tuple[LevelContrasts, LevelContrasts]:
        """Over the selecting half and over the held-out half; measured on first use."""
        return self.contrast_halves()

    @property
    def caption(self) -> str:
        """What the table of rows holds."""
        return (
            f"OBSERVATIONAL: mean activation of rows at a level minus that at level {self.reference}, zeros included. "
            f"stratified: within groups; adjusted: least squares for {self.words}; p of the adjusted, corrected over "
            "the levels; effect: Cohen's d of the crude difference."
        )

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A row a level, the level under `name`. Levels of fewer than 5 rows keep n and the crude difference alone."""
        return [{name: level, **self._row(index)} for index, level in enumerate(self.levels)]

    def as_cells(self, name: str = "rung") -> list[dict[str, Any]]:
        """Rows in the columns of interventional cells, with the adjusted contrast as the difference."""
        found = []
        for row in self.rows(name):
            low, high = row["adjusted_low"], row["adjusted_high"]
            error = None if low is None or np.isnan(low) else (high - low) / (2 * 1.959964)
            cell = {key: row[key] for key in ("n", "p", "p_corrected", "effect", "flag")}
            found.append(
                {name: row[name], "mean_delta": row["adjusted"], "std_error": error, "low": low, "high": high, **cell}
            )
        return found

    def confirmed_threshold(self, min_effect: float) -> int | None:
        """Index of the lowest level of `confirmed_levels`; None without one."""
        return next(iter(self.confirmed_levels(min_effect)), None)

    def confirmed_levels(self, min_effect: float) -> list[int]:
        """Indices of the levels that one half selects and the other confirms in direction, ascending.

        The other half's p is corrected over the levels, since a higher level may be taken where a lower one fails.
        """
        first, second = self.halves
        moving = (first.p_corrected < ALPHA) & (np.abs(first.adjusted) >= min_effect) & (first.n >= FEW)
        is_same = np.sign(first.adjusted) == np.sign(second.adjusted)
        found: list[int] = np.flatnonzero(moving & is_same & (second.p_corrected < ALPHA) & (second.n >= FEW)).tolist()
        return found

    def _row(self, index: int) -> dict[str, Any]:
        contrasts = self.contrasts
        n = int(contrasts.n[index])
        row: dict[str, Any] = {"n": n, "n_reference": contrasts.n_reference, "flag": flag_of(n)}
        row["crude"] = contrasts.crude[index]
        if n >= FEW:
            for name in NAMES:
                row |= {key: getattr(contrasts, key)[index] for key in (name, f"{name}_low", f"{name}_high")}
            row |= {key: getattr(contrasts, key)[index] for key in ("n_matched", "p", "p_corrected", "effect")}
        else:
            lacking = [key for key in self.columns if key not in row]
            row |= dict.fromkeys(lacking)
        return row


def observe_levels(
    found: Slice,
    level: np.ndarray,
    context: ExperimentContext,
    *,
    levels: Sequence[int],
    reference: int,
    leave_out: Sequence[str],
    confounders: Sequence[str] | None,
    seed: int,
) -> ObservedLevels:
    """Contrast the rows of a slice by their level.

    Args:
        found: the rows. level: the level of each of them, int64 [n].
        context: the subject.
        levels, reference: what is contrasted with what.
        leave_out: no confounders: what is looked at, and what is held constant.
        confounders: what to adjust for; None for the domain's own.
        seed: of the halves and of the corrected p.

    Raises:
        UsageError: fewer than 5 rows at the reference or at every level.
        NotFoundError: an unknown confounder.
    """
    counts = [np.count_nonzero(level == one) for one in (reference, *levels)]
    if counts[0] < FEW or max(counts[1:]) < FEW:
        raise UsageError(
            f"{counts[0]} rows at level {reference}, and at most {max(counts[1:])} at another",
            expected=f"at least {FEW} of each",
            todo="widen the slice",
        )
    known = confounders_of(context, leave_out=leave_out, names=confounders)
    clusters = context.clusters_of(found.rows)

    def contrasted(keep: np.ndarray | slice) -> LevelContrasts:
        rows = found.rows[keep]
        strata, covariates = known.of_rows(rows)
        return contrast_levels(
            found.values[keep],
            level[keep],
            tuple(levels),
            reference=reference,
            strata=strata,
            covariates=covariates,
            clusters=clusters[keep],
            seed=seed,
            kept=known.kept(rows),
        )

    def halves() -> tuple[LevelContrasts, LevelContrasts]:
        second = second_half(clusters, seed)
        return contrasted(~second), contrasted(second)

    return ObservedLevels(tuple(levels), reference, contrasted(slice(None)), known.words, halves)


def second_half(clusters: np.ndarray, seed: int) -> np.ndarray:
    """Which rows belong to the half that confirms, boolean [n]; a cluster is never cut. Half of them, at random."""
    if (np.diff(clusters) > 0).all():
        return np.asarray(numpy_generator(seed, "halves").permutation(len(clusters)) % 2 == 1)
    _, index = np.unique(clusters, return_inverse=True)
    dealt: np.ndarray = numpy_generator(seed, "halves").permutation(int(index.max()) + 1) % 2 == 1
    return dealt[index.reshape(-1)]


def rows_holding_constant(found: Slice, context: ExperimentContext, held: Held) -> Slice:
    """The rows that have what an intervention would hold constant. Raises UsageError when none has."""
    keep = np.ones(len(found), bool)
    for family, rung in held.change.rungs.items():
        keep &= context.family_rungs(family)[found.rows] == rung
    for binary, is_there in held.change.binaries.items():
        keep &= context.rows_with(context.domain.binaries[binary])[found.rows] == is_there
    for token in held.change.tokens_on:
        keep &= context.rows_with(token)[found.rows]
    for column, name in (*held.change.groups.items(), *held.required.items()):
        keep &= (context.group_values(column) == context.known_group(column, name))[found.rows]
    if not keep.any():
        raise UsageError(
            f"no row of the slice has {held.words}",
            expected="rows that have it",
            todo="hold less constant, or intervene",
        )
    return found.only(keep)


def disagreement(observed: ObservedLevels, caused: ResultTable, *, min_effect: float) -> Iterator[str]:
    """Sentences on where what was observed and what the intervention did do not agree, levels named.

    Compared are the adjusted contrast and the intervention's mean weighted to the corpus, level by level, where both
    have at least 5 samples: opposite signs; an association whose intervention covers zero and stays below the least
    effect; an effect that the rows do not show. What is there has an interval away from zero, a corrected p below 0.05
    and at least the least effect. Where these two agree on no effect, a crude difference is named too: the rows differ
    by what goes with the level.
    """
    found: dict[str, list[str]] = {}
    for row, other in zip(observed.rows("level"), caused.rows, strict=True):
        seen = Side.of(row, "adjusted", "adjusted_low", "adjusted_high", row["p_corrected"])
        crude = Side.of(row, "crude", "crude_low", "crude_high")
        done = Side.of(other, "corpus_delta", "corpus_low", "corpus_high", other.get("p_corrected", 0.0))
        if seen is None or crude is None or done is None:
            continue
        kind, word = difference_of(seen, done, min_effect), "observed"
        if kind is None and difference_of(crude, done, min_effect) == ONLY_SEEN:
            kind, seen, word = ONLY_CRUDE, crude, "crude"
        if kind is not None:
            numbers = f"{row['level']} ({word} {seen.value:+.3g}, intervened {done.value:+.3g})"
            found.setdefault(kind, []).append(numbers)
    for kind, places in found.items():
        yield f"{kind} at {', '.join(places)}"


class Side(NamedTuple):
    """What one side says: a value, its interval, and its corrected p (0 where the interval alone decides)."""

    value: float
    low: float
    high: float
    p: float = 0.0

    @classmethod
    def of(cls, row: Mapping[str, Any], value: str, low: str, high: str, p: Any = 0.0) -> Side | None:
        """From the columns of a row; None where one of them, or p, is missing."""
        numbers = [row.get(value), row.get(low), row.get(high), p]
        if any(number is None or not np.isfinite(number) for number in numbers):
            return None
        return cls(*(float(number) for number in numbers))

    @property
    def moves(self) -> bool:
        """Whether it lies away from zero beyond chance."""
        return (self.low > 0 or self.high < 0) and self.p < ALPHA


def difference_of(seen: Side, done: Side, min_effect: float) -> str | None:
    """In words how an association and an intervention do not agree; None where nothing beyond chance says so."""
    counts = [side.moves and abs(side.value) >= min_effect for side in (seen, done)]
    if all(counts) and np.sign(seen.value) != np.sign(done.value):
        return OPPOSITE
    if counts[0] and not done.moves and abs(done.value) < min_effect:
        return ONLY_SEEN
    if counts[1] and not seen.moves and abs(seen.value) < min_effect:
        return ONLY_DONE
    return None
