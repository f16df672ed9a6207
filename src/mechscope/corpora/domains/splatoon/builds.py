"""A build: what fills the slots of three gear pieces, and when that is legal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mechscope.core import BadDataError, unknown_name
from mechscope.corpora.domains.splatoon.abilities import FAMILIES, MAIN_ONLY, MAIN_ONLY_PIECE
from mechscope.corpora.domains.splatoon.points import (
    BUDGET,
    MAIN_POINTS,
    N_MAINS,
    N_SUBS,
    POSSIBLE_POINTS,
    Slots,
    slots_of,
)

__all__ = ["Build", "faults", "is_legal", "require_legal"]


@dataclass(frozen=True)
class Build:
    """Points of each family and the main-only abilities of one gear set.

    Attributes:
        points: family -> ability points above 0; absent families have 0.
        main_only: names of the main-only abilities, each 10 AP in one main slot.
    """

    points: Mapping[str, int]
    main_only: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.points:
            if name not in FAMILIES:
                raise unknown_name("ability family", name, FAMILIES)
        for name in self.main_only:
            if name not in MAIN_ONLY:
                raise unknown_name("main-only ability", name, MAIN_ONLY)
        kept = {family: int(self.points[family]) for family in FAMILIES if self.points.get(family, 0)}
        object.__setattr__(self, "points", kept)

    def __hash__(self) -> int:
        return hash((tuple(self.points.items()), self.main_only))

    @property
    def total_points(self) -> int:
        """Ability points of everything, main-only abilities included."""
        return sum(self.points.values()) + MAIN_POINTS * len(self.main_only)

    @property
    def slots(self) -> Slots:
        """Slots that are filled. Raises UsageError when a family has points that no slots give."""
        filled = [slots_of(points) for points in self.points.values()]
        return Slots(sum(s.mains for s in filled) + len(self.main_only), sum(s.subs for s in filled))


def faults(build: Build, *, complete: bool = True) -> list[str]:
    """What is wrong with a build, in words; an empty list means that it is legal.

    Args:
        build: the build.
        complete: ask for all 12 slots (57 AP). Otherwise empty slots are allowed.
    """
    found = [
        f"{family} has {points} AP, which no slots give"
        for family, points in build.points.items()
        if points not in POSSIBLE_POINTS
    ]
    by_piece: dict[str, list[str]] = {}
    for name in sorted(build.main_only):
        by_piece.setdefault(MAIN_ONLY_PIECE[name], []).append(name)
    found += [f"{' and '.join(names)} both need the {p} main slot" for p, names in by_piece.items() if len(names) > 1]
    if found:
        return found
    slots = build.slots
    if slots.mains > N_MAINS or slots.subs > N_SUBS:
        found.append(f"it fills {slots.mains} mains and {slots.subs} subs of {N_MAINS} and {N_SUBS}")
    elif complete and slots != Slots(N_MAINS, N_SUBS):
        found.append(f"it fills {slots.mains} mains and {slots.subs} subs: {build.total_points} AP, not {BUDGET}")
    return found


def is_legal(build: Build, *, complete: bool = True) -> bool:
    """Whether a gear set can carry the build; `complete` asks for all 57 AP."""
    return not faults(build, complete=complete)


def require_legal(build: Build, *, complete: bool = True) -> Build:
    """The build itself. Raises BadDataError with every fault."""
    if wrong := faults(build, complete=complete):
        raise BadDataError(
            "illegal build: " + "; ".join(wrong),
            expected=f"{N_MAINS} mains of 10 AP and {N_SUBS} subs of 3 AP, one main-only ability a gear piece",
            todo="correct the points, or pass complete=False for a build with empty slots",
        )
    return build
