"""Least squares against numpy and scipy, the sandwich written out, and planted effects."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from mechscope.core import UsageError
from mechscope.stats import adjusted_difference, adjusted_group_effects, dummies, least_squares, mean_interval


def planted(seed: int = 0, n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    columns = generator.normal(size=(n, 2))
    clusters = generator.integers(0, 15, n)
    shared = generator.normal(size=15)[clusters]
    return 1 + columns @ [2, -1] + shared + generator.normal(size=n), columns, clusters


@pytest.mark.parametrize("is_clustered", [False, True])
def test_coefficients_and_sandwich_equal_the_slow_version(is_clustered: bool) -> None:
    values, columns, clusters = planted()
    fit = least_squares(values, columns, names=["a", "b"], clusters=clusters if is_clustered else None)
    design = np.column_stack([np.ones(90), columns])
    expected, *_ = np.linalg.lstsq(design, values, rcond=None)
    np.testing.assert_allclose(fit.values, expected, rtol=1e-10)
    groups = clusters if is_clustered else np.arange(90)
    bread, meat = np.linalg.inv(design.T @ design), np.zeros((3, 3))
    for name in np.unique(groups):
        rows = groups == name
        score = design[rows].T @ (values - design @ expected)[rows]
        meat += np.outer(score, score)
    n_clusters = len(np.unique(groups))
    correction = n_clusters / (n_clusters - 1) * 89 / 87
    np.testing.assert_allclose(fit.covariance, correction * bread @ meat @ bread, rtol=1e-8, atol=1e-14)
    assert fit.freedom == (n_clusters - 1 if is_clustered else 87)
    found = fit.interval("a")
    step = scipy.stats.t.ppf(0.975, fit.freedom) * np.sqrt(fit.covariance[1, 1])
    assert (found.low, found.high) == pytest.approx((fit.values[1] - step, fit.values[1] + step))
    assert fit.has_few_clusters is is_clustered
    fitted = design @ expected
    assert fit.r_squared == pytest.approx(np.corrcoef(fitted, values)[0, 1] ** 2)


def test_an_intercept_alone_is_the_mean_with_its_t_interval() -> None:
    values, _, clusters = planted()
    fit = least_squares(values, np.ones((90, 1)), names=["mean"], clusters=clusters, has_intercept=False)
    mean = mean_interval(values, clusters=clusters)
    found = fit.interval("mean")
    assert (found.value, found.low, found.high) == pytest.approx((mean.value, mean.low, mean.high))


def test_clustered_intervals_cover_a_planted_effect_and_plain_ones_do_not() -> None:
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(50), 6)
    covered = np.zeros(2)
    for _ in range(300):
        label = np.repeat(generator.random(50) < 0.5, 6)
        covariate = label + generator.normal(size=300)
        values = 0.5 * label + covariate + np.repeat(generator.normal(size=50), 6) + generator.normal(size=300)
        for i, names in enumerate((clusters, None)):
            found = adjusted_difference(values, label, covariate[:, None], clusters=names)
            covered[i] += found.low < 0.5 < found.high
    assert 300 * (0.95 - 0.038) <= covered[0] <= 300 * (0.95 + 0.038)
    assert covered[1] < 300 * 0.8


def test_adjustment_removes_what_the_covariate_explains() -> None:
    generator = np.random.default_rng(2)
    label = generator.random(400) < 0.5
    covariate = 2 * label + generator.normal(size=400)
    values = covariate + generator.normal(size=400)
    raw = adjusted_group_effects(values, np.where(label, "b", "a"), reference="a").interval("b")
    adjusted = adjusted_difference(values, label, covariate[:, None])
    assert raw.value == pytest.approx(values[label].mean() - values[~label].mean())
    assert raw.low > 1.5
    assert adjusted.low < 0 < adjusted.high
    assert adjusted.n == label.sum()


def test_group_effects_are_coefficients_of_dummies() -> None:
    values, columns, clusters = planted(3)
    groups = np.array(["c", "a", "b"] * 30)
    found = adjusted_group_effects(values, groups, columns, clusters=clusters, reference="a")
    indicators, names = dummies(groups)
    fit = least_squares(values, np.column_stack([indicators, columns]), names=[*names, "x", "y"], clusters=clusters)
    assert found.names == names == ("b", "c")
    np.testing.assert_allclose(found.values, fit.values[1:3])
    np.testing.assert_allclose(found.standard_errors, fit.standard_errors[1:3])
    np.testing.assert_allclose(found.p, fit.p[1:3])
    assert list(found.counts) == [30, 30]


def test_effects_against_the_mean_of_all_cancel() -> None:
    values, columns, _ = planted(4)
    groups = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 30)
    plain = adjusted_group_effects(values, groups)
    np.testing.assert_allclose(plain.values, [values[groups == g].mean() - values.mean() for g in "abc"])
    adjusted = adjusted_group_effects(values, groups, columns)
    assert adjusted.values @ adjusted.counts == pytest.approx(0, abs=1e-9)
    assert adjusted.names == ("a", "b", "c")


def test_columns_of_very_different_size_are_no_problem() -> None:
    values, columns, _ = planted(5)
    plain = least_squares(values, columns, names=["a", "b"])
    scaled = least_squares(values, columns * [1e8, 1e-8], names=["a", "b"])
    np.testing.assert_allclose(scaled.values[1:] * [1e8, 1e-8], plain.values[1:], rtol=1e-7)
    np.testing.assert_allclose(scaled.p, plain.p, rtol=1e-6)


def test_bad_input_is_refused() -> None:
    values, columns, _ = planted()
    with pytest.raises(UsageError, match="make up"):
        least_squares(values, np.column_stack([columns, columns.sum(1)]), names=["a", "b", "c"])
    with pytest.raises(UsageError, match="make up"):
        adjusted_difference(values, columns[:, 0] > 0, (columns[:, :1] > 0).astype(float))
    with pytest.raises(UsageError, match="make up"):
        least_squares(values, np.ones((90, 1)), names=["one"])
    with pytest.raises(UsageError, match="for 2 columns"):
        least_squares(values, columns, names=["a", "a"])
    with pytest.raises(UsageError, match="2 samples for 3"):
        least_squares(values[:2], columns[:2], names=["a", "b"])
    with pytest.raises(UsageError, match="reference 'z'"):
        adjusted_group_effects(values, np.array(["a", "b"] * 45), reference="z")
    with pytest.raises(UsageError, match="columns of shape"):
        least_squares(values, columns[:50], names=["a", "b"])
