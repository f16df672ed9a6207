"""One minimal sufficient set from a sufficient start: QuickXplain and ddmin, run in lockstep with others.

A search is a generator: it yields the sets it wants judged and is sent one boolean for each. `run_searches` advances
many searches together, so that what all of them ask for at one time is one batch of the set function.
QuickXplain (Junker 2004): to find what of C is needed beside a background B, split C in halves C1 and C2; find what of
C2 is needed beside B + C1, then what of C1 is needed beside B and that; when B alone suffices, nothing is. About
2 k log2(n / k) + 2 k tests for a core of k among n; right for monotone functions.
ddmin (Zeller and Hildebrandt 2002): cut the set into g parts; if one part suffices go on with it, else if the set
without one part does go on with that, else double g until each part is one player. Ends 1-minimal for ANY function.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence

from mechscope.experiments.algorithms.set_functions import Evaluator, as_set

__all__ = ["Search", "ddmin", "quickxplain", "run_searches"]

Search = Generator[list[int], list[bool], int]


def quickxplain(order: Sequence[int]) -> Search:
    """A core among the players of `order`, which suffice together while none of them do not; early ones are preferred.

    Every player of the result is needed where the function is monotone; verify it otherwise.
    """
    return (yield from _needed(0, False, list(order)))


def _needed(background: int, has_grown: bool, players: list[int]) -> Search:
    if has_grown and (yield [background])[0]:
        return 0
    if len(players) <= 1:
        return as_set(players)
    half = len(players) // 2
    first, second = players[:half], players[half:]
    of_second = yield from _needed(background | as_set(first), True, second)
    of_first = yield from _needed(background | of_second, of_second != 0, first)
    return of_first | of_second


def ddmin(order: Sequence[int]) -> Search:
    """A 1-minimal sufficient subset of the players of `order`, which suffice together while none of them do not."""
    players, n_parts = list(order), 2
    while len(players) > 1:
        n_parts = min(n_parts, len(players))
        ends = [len(players) * part // n_parts for part in range(n_parts + 1)]
        parts = [players[a:b] for a, b in itertools.pairwise(ends)]
        rests = [players[:a] + players[b:] for a, b in itertools.pairwise(ends)]
        verdicts = yield [as_set(s) for s in parts + rests]
        if True in verdicts[:n_parts]:
            players, n_parts = parts[verdicts.index(True)], 2
        elif True in verdicts[n_parts:]:
            players, n_parts = rests[verdicts.index(True) - n_parts], max(2, n_parts - 1)
        elif n_parts == len(players):
            break
        else:
            n_parts *= 2
    return as_set(players)


def run_searches(searches: Sequence[Search], evaluator: Evaluator, threshold: float) -> list[int]:
    """Results of all searches, in order; each step of those still going is one batch.

    Raises:
        BudgetSpentError: the next batch does not fit in the budget.
    """
    results = [0] * len(searches)
    wants: dict[int, list[int]] = {}
    _advance(searches, dict.fromkeys(range(len(searches))), wants, results)
    while wants:
        values = iter(evaluator([s for asked in wants.values() for s in asked]))
        verdicts = {index: [next(values) >= threshold for _ in asked] for index, asked in wants.items()}
        wants = {}
        _advance(searches, verdicts, wants, results)
    return results


def _advance(
    searches: Sequence[Search],
    verdicts: dict[int, None] | dict[int, list[bool]],
    wants: dict[int, list[int]],
    results: list[int],
) -> None:
    for index, verdict in verdicts.items():
        try:
            wants[index] = next(searches[index]) if verdict is None else searches[index].send(verdict)
        except StopIteration as end:
            results[index] = end.value
