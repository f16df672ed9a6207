"""Whether the slots of a gear set can carry given rungs, some slots left empty.

A rung stands for a bucket of points ([12, 15) for rung 12), so a legal build must be searched for: each family takes
the cheapest pairs (mains, subs) of its bucket, and the pairs of sums within 3 mains and 9 subs are kept. Only pairs
that no other pair undercuts matter, since an empty slot is always allowed. The answer depends on the rungs as a
multiset and on how many mains are taken, so that the contexts of a sweep share nearly all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mechscope.corpora.domains.splatoon.points import BUDGET, MAIN_POINTS, N_MAINS, N_SUBS, POSSIBLE_POINTS, slots_of

__all__ = ["Bucket", "bucket_of", "cheapest_slots", "slot_faults"]

Bucket = tuple[int, int]
"""The least points of a rung, and the first points beyond it."""

Pair = tuple[int, int]


def bucket_of(rung: int, rungs: tuple[int, ...]) -> Bucket:
    """The bucket of a rung among the rungs that the vocabulary has, in rising order."""
    return rung, min((other for other in rungs if other > rung), default=BUDGET + 1)


@lru_cache(maxsize=65536)
def slot_faults(buckets: tuple[Bucket, ...], n_main_only: int) -> tuple[str, ...]:
    """Why no gear set has these rungs, in words; empty when one has.

    Args:
        buckets: one of each family that is there, sorted.
        n_main_only: main slots that main-only abilities take.
    """
    reachable: tuple[Pair, ...] = ((n_main_only, 0),)
    for bucket in buckets:
        sums = ((m + mains, s + subs) for m, s in reachable for mains, subs in cheapest_slots(bucket))
        reachable = _undercut_by_none(pair for pair in sums if pair[0] <= N_MAINS and pair[1] <= N_SUBS)
    if n_main_only <= N_MAINS and reachable:
        return ()
    least = MAIN_POINTS * n_main_only + sum(low for low, _ in buckets)
    if least > BUDGET:
        return (f"its rungs need at least {least} AP, and the AP budget is {BUDGET}",)
    beside = f" beside {n_main_only} main-only abilit{'y' if n_main_only == 1 else 'ies'}" if n_main_only else ""
    return (f"no {N_MAINS} main slots of 10 AP and {N_SUBS} sub slots of 3 AP give these rungs{beside}",)


@lru_cache(maxsize=1024)
def cheapest_slots(bucket: Bucket) -> tuple[Pair, ...]:
    """The pairs (mains, subs) whose points lie in a bucket and that no other such pair undercuts."""
    low, end = bucket
    slots = [slots_of(points) for points in POSSIBLE_POINTS if low <= points < end]
    return _undercut_by_none((slot.mains, slot.subs) for slot in slots)


def _undercut_by_none(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    kept: list[Pair] = []
    for mains, subs in sorted(set(pairs)):
        if not kept or subs < kept[-1][1]:
            kept.append((mains, subs))
    return tuple(kept)
