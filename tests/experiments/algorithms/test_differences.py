import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.experiments.algorithms.differences import (
    corner_sets,
    corner_signs,
    diagnose_floor,
    on_scale,
    take_differences,
)


def test_corners_hold_all_combinations_and_leave_the_rest() -> None:
    contexts = np.random.default_rng(0).random((5, 6)) < 0.5
    corners = corner_sets(contexts, [4, 1])
    assert corners.shape == (5, 4, 6)
    assert [(int(c[4]), int(c[1])) for c in corners[0]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    for other in (0, 2, 3, 5):
        np.testing.assert_array_equal(corners[:, :, other], np.repeat(contexts[:, other][:, None], 4, axis=1))


def test_second_and_third_difference_by_their_definitions() -> None:
    f = np.random.default_rng(1).random((7, 2, 2, 2))  # [context, i, j, k]
    second = f[:, 1, 1, 0] - f[:, 1, 0, 0] - f[:, 0, 1, 0] + f[:, 0, 0, 0]
    with_third = f[:, 1, 1, 1] - f[:, 1, 0, 1] - f[:, 0, 1, 1] + f[:, 0, 0, 1]
    corners = f.transpose(0, 3, 2, 1).reshape(7, 8)  # bit 0 is i
    np.testing.assert_allclose(take_differences(corners[:, :4]), second)
    np.testing.assert_allclose(take_differences(corners), with_third - second)
    assert corner_signs(1).tolist() == [-1, 1]


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 1), (3, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        take_differences(np.zeros(shape))


def test_scales() -> None:
    activations = np.array([0.0, 1.0, 3.0])
    assert on_scale(activations, "activation").tolist() == [0, 1, 3]
    assert on_scale(activations, "log1p").tolist() == pytest.approx([0, np.log(2), np.log(4)])
    assert on_scale(activations, "pre_relu", pre_relu=np.array([-1.0, 1.0, 3.0])).tolist() == [-1, 1, 3]
    with pytest.raises(UsageError, match="pre_relu"):
        on_scale(activations, "pre_relu")
    with pytest.raises(UsageError, match="log1p"):
        on_scale(-activations, "log1p")


def additive(starts: np.ndarray, first: float, second: float) -> np.ndarray:
    corners: np.ndarray = starts[:, None] + np.array([0.0, first, second, first + second])
    return corners


def test_synergy_that_the_floor_makes_is_called_so() -> None:
    pre = additive(np.full(50, -2.0), 1.5, 1.5)  # -2, -.5, -.5, 1: adds up, but starts below zero
    seen = diagnose_floor(np.maximum(pre, 0), pre_relu=pre)
    assert list(seen.zero_share_by_corner) == [1, 1, 1, 0]
    assert seen.zero_share == 0.75
    assert seen.touched_share == 1
    assert seen.mean_by_scale == {"activation": 1, "log1p": pytest.approx(np.log(2)), "pre_relu": 0}
    assert seen.mean_untouched is None
    assert seen.is_floor_made
    assert diagnose_floor(np.maximum(pre, 0)).is_floor_made is None


def test_an_interaction_above_the_floor_is_not() -> None:
    pre = additive(np.full(50, 1.0), 1.5, 1.5)
    pre[:, 3] += 2
    seen = diagnose_floor(np.maximum(pre, 0), pre_relu=pre)
    assert seen.zero_share == seen.touched_share == 0
    assert seen.mean_untouched == seen.mean_by_scale["activation"] == 2
    assert seen.is_floor_made is False


def test_part_of_the_contexts_touch_the_floor() -> None:
    pre = additive(np.array([-2.0, 1.0, 1.0, 1.0]), 1.5, 1.5)
    seen = diagnose_floor(np.maximum(pre, 0), pre_relu=pre)
    assert seen.touched_share == 0.25
    assert seen.mean_untouched == 0
    assert seen.mean_by_scale["activation"] == 0.25
    assert seen.is_floor_made


def test_signs_that_depend_on_the_scale_are_reported() -> None:
    corners = np.array([[1.0, 4.0, 4.0, 9.0]])  # 1 + 3 + 3 < 9, but 2 x 2.5 x 2.5 > 10
    seen = diagnose_floor(corners, pre_relu=corners)
    assert seen.mean_by_scale["activation"] == 2
    assert seen.mean_by_scale["log1p"] == pytest.approx(np.log(2 * 10 / 25))
    assert seen.sign_changes == (("activation", "log1p"), ("log1p", "pre_relu"))
    assert seen.is_floor_made is False


def test_no_context_is_refused() -> None:
    with pytest.raises(UsageError, match="no context"):
        diagnose_floor(np.zeros((0, 4)))
