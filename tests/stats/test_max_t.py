"""Max-T against its definition written out, and by the error it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mechscope.core import UsageError
from mechscope.stats import max_t

tables = arrays(float, st.tuples(st.integers(1, 12), st.just(5)), elements=st.integers(0, 4).map(float))


def slow_max_t(observed: np.ndarray, rearranged: np.ndarray, *, is_step_down: bool) -> np.ndarray:
    order = sorted(range(len(observed)), key=lambda c: -observed[c])
    adjusted, running = np.empty(len(observed)), 0.0
    for rank, cell in enumerate(order):
        rivals = order[rank:] if is_step_down else order
        hits = sum(max(row[c] for c in rivals) >= observed[cell] for row in rearranged)
        running = max(running, (1 + hits) / (1 + len(rearranged)))
        adjusted[cell] = running
    return adjusted


@pytest.mark.parametrize("is_step_down", [False, True])
@given(observed=arrays(float, 5, elements=st.integers(0, 5).map(float)), rearranged=tables)
def test_max_t_equals_its_definition(is_step_down: bool, observed: np.ndarray, rearranged: np.ndarray) -> None:
    expected = slow_max_t(observed, rearranged, is_step_down=is_step_down)
    np.testing.assert_allclose(max_t(observed, [rearranged], is_step_down=is_step_down), expected)
    halves = [rearranged[: len(rearranged) // 2], rearranged[len(rearranged) // 2 :]]
    np.testing.assert_allclose(max_t(observed, halves, is_step_down=is_step_down), expected)


@given(observed=arrays(float, 5, elements=st.integers(0, 5).map(float)), rearranged=tables)
def test_stepping_down_is_never_weaker(observed: np.ndarray, rearranged: np.ndarray) -> None:
    assert (max_t(observed, [rearranged]) <= max_t(observed, [rearranged], is_step_down=False)).all()


def test_cells_without_a_statistic_are_out_of_the_family() -> None:
    observed = np.array([2.0, np.nan, 1.0])
    rearranged = np.array([[1.0, np.nan, 1.5], [3.0, 9.0, 0.0], [0.0, 9.0, 0.0]])
    np.testing.assert_allclose(max_t(observed, [rearranged]), [0.5, np.nan, 0.5])


def test_tiny_statistics_are_compared_by_their_own_size() -> None:
    null = np.random.default_rng(0).random((99, 1)) * 1e-15
    assert max_t(np.array([2e-15]), [null])[0] == 0.01
    assert max_t(np.array([0.5e-15]), [null])[0] > 0.3


def test_thirteen_correlated_null_layers() -> None:
    generator = np.random.default_rng(1)
    n_raw = n_joint = 0
    for _ in range(400):
        null = np.abs(0.8 * generator.normal(size=(200, 1)) + 0.6 * generator.normal(size=(200, 13)))
        adjusted = max_t(null[0], [null[1:]])
        n_joint += bool((adjusted <= 0.05).any())
        n_raw += bool(((1 + (null[1:] >= null[0]).sum(0)) / 200 <= 0.05).any())
    assert n_joint / 400 <= 0.05 + 0.02
    assert n_raw / 400 > 0.15


def test_bad_blocks_are_refused() -> None:
    for blocks in ([], [np.ones((3, 2))], [np.full((3, 1), np.nan)], [np.ones(3)]):
        with pytest.raises(UsageError):
            max_t(np.ones(1), blocks)
