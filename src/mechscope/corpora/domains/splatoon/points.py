"""Ability points (AP): 3 main slots of 10 and 9 sub slots of 3, 57 in all.

A family that fills m mains and s subs has 10 m + 3 s points. With m in 0..3 and s in 0..9 the 40 pairs give 40
different sums, so points and slots determine each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from mechscope.core import UsageError

__all__ = [
    "BUDGET",
    "MAIN_POINTS",
    "N_MAINS",
    "N_SUBS",
    "POSSIBLE_POINTS",
    "SUB_POINTS",
    "THRESHOLDS",
    "Slots",
    "points_in_bucket",
    "rung",
    "slots_of",
    "thresholds_up_to",
]

N_MAINS, N_SUBS = 3, 9
MAIN_POINTS, SUB_POINTS = 10, 3
BUDGET = N_MAINS * MAIN_POINTS + N_SUBS * SUB_POINTS
THRESHOLDS: tuple[int, ...] = (3, 6, 12, 15, 21, 29, 38, 51, 57)


@dataclass(frozen=True, order=True)
class Slots:
    """How many main slots (10 AP each) and sub slots (3 AP each) something fills."""

    mains: int
    subs: int

    @property
    def points(self) -> int:
        """Ability points, 10 a main and 3 a sub."""
        return MAIN_POINTS * self.mains + SUB_POINTS * self.subs


_SLOTS = {
    slots.points: slots for slots in (Slots(mains, subs) for mains in range(N_MAINS + 1) for subs in range(N_SUBS + 1))
}

POSSIBLE_POINTS: tuple[int, ...] = tuple(sorted(_SLOTS))
"""The 40 values that one family can have, 0 and 57 included."""


def slots_of(points: int) -> Slots:
    """The one pair of slots with that many points. Raises UsageError when no slots give it."""
    if points not in _SLOTS:
        near = min(POSSIBLE_POINTS, key=lambda value: (abs(value - points), value))
        raise UsageError(
            f"{points} ability points",
            expected=f"10 a main (at most {N_MAINS}) and 3 a sub (at most {N_SUBS}): one of the 40 possible values",
            todo=f"the nearest possible value is {near}",
        )
    return _SLOTS[points]


def thresholds_up_to(points: int) -> tuple[int, ...]:
    """Every threshold that `points` reaches, in rising order: 12 reaches 3, 6 and 12."""
    return tuple(threshold for threshold in THRESHOLDS if threshold <= points)


def rung(points: int) -> int:
    """The largest threshold that `points` reaches, or 0."""
    return max(thresholds_up_to(points), default=0)


_BUCKETS = {
    threshold: tuple(points for points in POSSIBLE_POINTS if rung(points) == threshold)
    for threshold in (0, *THRESHOLDS)
}


def points_in_bucket(threshold: int) -> tuple[int, ...]:
    """The possible points whose largest threshold is `threshold` (0: below the first), in rising order."""
    if threshold not in _BUCKETS:
        raise UsageError(
            f"threshold {threshold}", expected=f"0 or one of {', '.join(map(str, THRESHOLDS))}", todo="choose one"
        )
    return _BUCKETS[threshold]
