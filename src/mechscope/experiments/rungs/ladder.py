"""Contrasts along a family's ladder of rungs: what a higher rung adds to a lower one, and whether steps are alike.

With f(r) the activation at rung r and s(r) its place on a scale (rungs of the family up to it, or its own number):

    increment(a, b)   f(b) - f(a)                                               what b adds once a is there
    bend(a, b)        (f(b) - f(a)) / (s(b) - s(a)) - (f(a) - f(0)) / (s(a) - s(0))
                      the mean step beyond a less the mean step up to it: 0 when rungs add up, below 0 when a rising
                      feature saturates

Both are weighted sums of the levels, so that paired contexts and regression coefficients share one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from mechscope.core import UsageError
from mechscope.corpora.domain import Family, settle_rungs

__all__ = ["Ladder", "LadderScale", "settle_ladder", "weighted_sums"]

LadderScale = Literal["step", "unit"]


@dataclass(frozen=True)
class Ladder:
    """Levels in rising order, the reference first, and the pairs of them that are looked at.

    Attributes:
        levels: at least two.
        places: of the levels on the scale, rising.
        scale: "step": a place counts the rungs of the family up to it, looked at or not; "unit": it is the rung itself.
        asked: pairs (lower, higher) above the reference; every one when empty.
    """

    levels: tuple[int, ...]
    places: tuple[int, ...]
    scale: LadderScale = "step"
    asked: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(
        cls, family: Family, levels: tuple[int, ...], scale: LadderScale, asked: tuple[tuple[int, int], ...] = ()
    ) -> Self:
        """The ladder of a family over these levels; 0 stands for absent."""
        whole = (0, *family.rungs)
        return cls(levels, levels if scale == "unit" else tuple(map(whole.index, levels)), scale, asked)

    @property
    def reference(self) -> int:
        """The lowest level."""
        return self.levels[0]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of levels above the reference."""
        rungs = self.levels[1:]
        return self.asked or tuple((a, b) for at, a in enumerate(rungs) for b in rungs[at + 1 :])

    @property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """Each level with the next one."""
        return tuple(zip(self.levels[:-1], self.levels[1:], strict=True))

    @property
    def increments(self) -> tuple[tuple[int, int], ...]:
        """Every increment that is tested: from the reference to each level, each step, each pair; each once."""
        from_reference = tuple((self.reference, level) for level in self.levels[1:])
        return tuple(dict.fromkeys((*from_reference, *self.steps, *self.pairs)))

    def increment_weights(self) -> np.ndarray:
        """Weights of the levels in each of `increments`, float64 [increments, levels]."""
        return np.stack([self._unit(b) - self._unit(a) for a, b in self.increments])

    def bend_weights(self) -> np.ndarray:
        """Weights of the levels in the bend of each of `pairs`, float64 [pairs, levels]."""
        up_to, beyond = self.step_weights()
        bends: np.ndarray = beyond - up_to
        return bends

    def step_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the levels in the mean step up to the lower of each of `pairs`, and beyond it."""
        none, base = np.zeros((0, len(self.levels))), self.reference
        up_to = [(self._unit(a) - self._unit(base)) / self._distance(base, a) for a, _ in self.pairs]
        beyond = [(self._unit(b) - self._unit(a)) / self._distance(a, b) for a, b in self.pairs]
        return (np.stack(up_to), np.stack(beyond)) if up_to else (none, none)

    def distances(self, lower: int, higher: int) -> tuple[float, float]:
        """From the reference to the lower of a pair, and from that to the higher."""
        return self._distance(self.reference, lower), self._distance(lower, higher)

    def without_reference(self) -> Ladder:
        """The ladder from its next level on. Raises UsageError when fewer than two levels are left."""
        levels = self.levels[1:]
        if len(levels) < 2:
            raise UsageError(
                f"rung {levels[0]} alone", expected="two rungs that contexts can have", todo="ask for more rungs"
            )
        return Ladder(levels, self.places[1:], self.scale, tuple(pair for pair in self.asked if pair[0] in levels[1:]))

    def _unit(self, level: int) -> np.ndarray:
        return np.array([float(known == level) for known in self.levels])

    def _distance(self, lower: int, higher: int) -> float:
        return float(self.places[self.levels.index(higher)] - self.places[self.levels.index(lower)])


def settle_ladder(
    family: Family,
    rungs: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    *,
    scale: LadderScale,
    has_absent: bool,
) -> tuple[Ladder, list[str]]:
    """The ladder asked for, and in words what was mapped to another rung: nothing is left untested in silence.

    Args:
        family: whose rungs. rungs: all of them when neither rungs nor pairs are named.
        pairs: (lower, higher), by default every pair of the rungs.
        scale: see `Ladder`. has_absent: count from absent, else from the lowest rung.

    Raises UsageError: rungs that do not exist, a pair that is one rung, fewer than two rungs.
    """
    notes: list[str] = []
    asked: list[tuple[int, int]] = []
    for lower, higher in pairs:
        settled = settle_rungs(family, (lower, higher), snap=True)
        notes += settled.notes
        found = tuple(rung for rung in settled.rungs if rung)
        if len(found) < 2:
            raise UsageError(
                f"{family.name} {lower} and {higher} are one rung, {found[0] if found else 0}",
                expected="two rungs that differ",
                todo=f"choose among {', '.join(map(str, family.rungs))}",
            )
        asked.append((found[0], found[1]))
    named = [rung for pair in asked for rung in pair]
    settled = settle_rungs(family, [*rungs, *named], snap=True)
    notes += settled.notes
    known = sorted({rung for rung in settled.rungs if rung})
    if len(known) < 2:
        raise UsageError(
            f"{len(known)} rungs of {family.name}", expected="at least two above absent", todo="ask for more rungs"
        )
    levels = (0, *known) if has_absent else tuple(known)
    kept = tuple(dict.fromkeys(pair for pair in asked if pair[0] != levels[0]))
    return Ladder.of(family, levels, scale, kept), notes


def weighted_sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each contrast in each context, float64 [n, contrasts]; NaN where a level it needs was not measured."""
    columns = [values[:, row != 0] @ row[row != 0] for row in weights]
    return np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))
