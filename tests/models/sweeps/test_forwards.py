"""Which variants share a forward: the cheapest cut, against all cuts."""

from __future__ import annotations

from itertools import combinations

import pytest

from mechscope.models.sweeps.forwards import SHARE_OF_BLOCKS, join_starts
from mechscope.models.sweeps.settings import SweepSettings

N_TOKENS = 12


def cost(joined: list[list[int]], counts: dict[int, int], forward_tokens: int) -> float:
    rows = [(starts[0], sum(counts[start] for start in starts)) for starts in joined]
    return sum(forward_tokens + n * (N_TOKENS - first) * SHARE_OF_BLOCKS for first, n in rows)


@pytest.mark.parametrize("forward_tokens", [0, 3, 16, 10_000])
def test_starts_are_joined_at_the_least_cost_of_all_cuts(forward_tokens: int) -> None:
    counts = {0: 2, 3: 7, 4: 1, 7: 3, 8: 3, 11: 30}
    starts, settings = sorted(counts), SweepSettings(forward_tokens=forward_tokens)
    found = join_starts(counts, N_TOKENS, settings)
    assert [start for part in found for start in part] == starts
    cuts = [cut for n in range(len(starts)) for cut in combinations(range(1, len(starts)), n)]
    every = [[starts[a:b] for a, b in zip((0, *cut), (*cut, len(starts)), strict=True)] for cut in cuts]
    assert cost(found, counts, forward_tokens) == min(cost(one, counts, forward_tokens) for one in every)


def test_free_forwards_are_not_shared_and_dear_ones_all_are() -> None:
    counts = dict.fromkeys(range(6), 3)
    assert len(join_starts(counts, N_TOKENS, SweepSettings(forward_tokens=0))) == 6
    assert len(join_starts(counts, N_TOKENS, SweepSettings(forward_tokens=10_000))) == 1
