"""Where rows and an intervention do not agree: both sides must be beyond chance and beyond the least effect."""

from __future__ import annotations

import pytest

from mechscope.experiments.observing.levels import ONLY_DONE, ONLY_SEEN, OPPOSITE, Side, difference_of
from mechscope.experiments.rungs import disagreeing_pairs


def side(value: float, p: float = 0.001, width: float = 0.002) -> Side:
    return Side(value, value - width, value + width, p)


@pytest.mark.parametrize(
    ("seen", "done", "found"),
    [
        (side(-0.2), side(0.2), OPPOSITE),
        (side(-0.00683), side(0.0022, width=0.001), None),  # both far below the least effect
        (side(-0.2), side(0.01), None),
        (side(-0.2, p=0.0504), side(0.2), None),
        (side(-0.2), side(0.2, p=0.06), None),
        (side(0.2), side(0.01, width=0.02), ONLY_SEEN),
        (side(0.2, p=0.0504), side(0.01, width=0.02), None),
        (side(0.01, width=0.02), side(0.2), ONLY_DONE),
        (side(0.01, width=0.02), side(0.2, p=0.2), None),
        (side(0.3, width=0.4), side(0.2), None),  # rows are too few to tell
        (side(0.2), side(0.3), None),
    ],
)
def test_what_counts_as_a_disagreement(seen: Side, done: Side, found: str | None) -> None:
    assert difference_of(seen, done, 0.0463) == found


def test_pairs_of_rungs_follow_the_same_rule() -> None:
    def row(value: float, p: float) -> dict[str, float]:
        return {"mean_delta": value, "low": value - 0.01, "high": value + 0.01, "p_corrected": p}

    for p, n_found in ((0.0504, 0), (0.01, 1)):
        texts = list(disagreeing_pairs({(6, 15): row(-0.1, p)}, {(6, 15): row(0.1, 0.001)}, least=0.05))
        assert len(texts) == n_found
        assert all("6 -> 15 (observed -0.1, intervened +0.1)" in text for text in texts)
    assert not list(disagreeing_pairs({(6, 15): row(-0.04, 0.01)}, {(6, 15): row(0.1, 0.001)}, least=0.05))
    assert not list(disagreeing_pairs({}, {(6, 15): row(0.1, 0.001)}, least=0.05))
