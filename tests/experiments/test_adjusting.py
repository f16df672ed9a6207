"""Observed contrasts against least squares with every dummy written out, planted confounding, and their own null."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.core.kept import Kept, rows_key
from mechscope.experiments.observing import designs
from mechscope.experiments.observing.adjusting import LevelContrasts, contrast_flags, contrast_levels
from mechscope.experiments.observing.designs import Design, KeptDesigns
from mechscope.experiments.observing.moments import Columns, Moments, outcome_sums


def drawn(seed: int, *, n: int = 400, effect: float = 0.5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    strata = generator.integers(0, 7, n)
    covariate = generator.normal(size=(n, 2)) + strata[:, None] / 3
    level = generator.binomial(2, 1 / (1 + np.exp(-covariate[:, 0])))
    y = effect * (level == 2) + 0.3 * strata + covariate @ [0.8, -0.4] + generator.normal(0, 0.5, n)
    return {"y": y, "level": level, "strata": strata, "covariates": covariate, "clusters": np.arange(n)}


def contrasted(data: dict[str, np.ndarray], seed: int = 0) -> LevelContrasts:
    return contrast_levels(
        data["y"], data["level"], (1, 2), reference=0, seed=seed, strata=data["strata"],
        covariates=data["covariates"], clusters=data["clusters"],
    )  # fmt: skip


def test_the_adjusted_contrast_is_least_squares_with_all_dummies() -> None:
    data = drawn(1)
    n = len(data["y"])
    dummies = [(data["level"] == one).astype(float) for one in (1, 2)]
    dummies += [(data["strata"] == one).astype(float) for one in range(7)]
    design = np.column_stack([*dummies, data["covariates"]])
    beta, *_ = np.linalg.lstsq(design, data["y"], rcond=None)
    bread = np.linalg.inv(design.T @ design)
    residual = data["y"] - design @ beta
    sandwich = bread @ (design.T * residual**2) @ design @ bread * n / (n - 1)
    found = contrasted(data)
    np.testing.assert_allclose(found.adjusted, beta[:2], rtol=1e-9)
    np.testing.assert_allclose(
        found.adjusted_high - found.adjusted_low, 2 * 1.959964 * np.sqrt(np.diag(sandwich)[:2]), rtol=1e-9
    )


def test_clusters_widen_as_if_each_row_were_written_twice() -> None:
    data = drawn(2)
    twice = {name: np.concatenate([values, values]) for name, values in data.items()}
    once, both = contrasted(data), contrasted(twice)
    np.testing.assert_allclose(both.adjusted, once.adjusted, rtol=1e-9)
    np.testing.assert_allclose(both.adjusted_low, once.adjusted_low, rtol=1e-9)


def test_the_stratified_contrast_is_the_weighted_mean_over_strata() -> None:
    data = drawn(3, n=60)
    for at, one in enumerate((1, 2)):
        total, weight = 0.0, 0
        for stratum in range(7):
            inside = data["strata"] == stratum
            here, reference = data["y"][inside & (data["level"] == one)], data["y"][inside & (data["level"] == 0)]
            if len(here) and len(reference) > 1:
                total += len(here) * (here.mean() - reference.mean())
                weight += len(here)
        found = contrasted(data)
        assert found.n_matched[at] == weight < found.n[at] or found.n_matched[at] == found.n[at]
        assert found.stratified[at] == pytest.approx(total / weight)


def test_a_planted_confounder_is_taken_out_and_the_effect_stays() -> None:
    data = drawn(4, n=4000)
    found = contrasted(data)
    assert found.crude[0] > 0.3  # level 1 does nothing; what it goes with does
    assert found.adjusted_low[0] < 0 < found.adjusted_high[0]
    assert found.adjusted_low[1] < 0.5 < found.adjusted_high[1]
    assert found.p_corrected[1] < 0.001
    assert found.p_corrected[0] >= found.p[0] > 0.01


def test_nothing_is_claimed_under_the_null_more_often_than_stated() -> None:
    hits = sum(bool(np.nanmin(contrasted(drawn(seed, effect=0.0), seed).p_corrected) < 0.05) for seed in range(300))
    assert hits <= 28  # 15 expected; 99.9 % of such counts are below 29


def test_a_level_that_a_stratum_determines_has_no_coefficient() -> None:
    data = drawn(5)
    data["strata"] = np.where(data["level"] == 1, 9, data["strata"])
    found = contrasted(data)
    assert np.isnan(found.adjusted[0])
    assert np.isnan(found.p_corrected[0])
    assert found.n_matched[0] == 0
    assert np.isfinite(found.adjusted[1])
    assert np.isfinite(found.crude).all()


def test_flags_with_one_regression_equal_a_regression_each() -> None:
    data = drawn(6)
    generator = np.random.default_rng(7)
    flags = generator.random((400, 3)) < 1 / (1 + np.exp(-data["covariates"][:, :1]))
    flags[:, 2] |= flags[:, 0] & (generator.random(400) < 0.5)
    found, covariance = contrast_flags(
        data["y"], flags, strata=data["strata"], covariates=data["covariates"], clusters=data["clusters"], seed=0
    )
    for at, one in enumerate(found):
        others = np.column_stack([np.delete(flags, at, axis=1), data["covariates"]])
        level = flags[:, at].astype(np.int64)
        alone = contrast_levels(
            data["y"], level, (1,), reference=0, strata=data["strata"], covariates=others, clusters=data["clusters"],
            seed=0,
        )  # fmt: skip
        for name in ("n", "crude", "crude_high", "stratified", "adjusted", "adjusted_low", "effect", "p"):
            np.testing.assert_allclose(getattr(one, name), getattr(alone, name), rtol=1e-9)
        assert covariance[at, at] == pytest.approx(alone.covariance[0, 0], rel=1e-9)


@pytest.mark.parametrize("k", [1, 30])
def test_moments_without_written_out_indicators_are_those_of_the_whole_design(k: int) -> None:
    generator = np.random.default_rng(11)
    n = 9000  # more than two blocks
    place, strata = generator.integers(-1, k, n), generator.integers(0, 5, n)
    covariates = generator.integers(0, 4, (n, 3)).astype(np.int8)
    y = generator.normal(size=n) + covariates @ [0.2, 0.0, -0.1] + 0.3 * (place == 0)
    design = np.column_stack([place[:, None] == np.arange(k), covariates]).astype(float)
    columns = Columns(place, k, covariates)
    by_stratum, by_column = outcome_sums(columns, y, strata, 5)
    np.testing.assert_allclose(by_column, design.T @ y, rtol=1e-9)
    np.testing.assert_allclose(by_stratum, np.bincount(strata, weights=y), rtol=1e-9)
    found = Moments.of(columns, strata, 5)
    np.testing.assert_allclose(found.products, design.T @ design, rtol=1e-9)
    for at in range(5):
        np.testing.assert_allclose(found.sums[at], design[strata == at].sum(axis=0), rtol=1e-9)
    worked = Design(columns, strata, 5)
    fit = worked.fit(y)
    means = np.array([design[strata == at].mean(axis=0) for at in range(5)])[strata]
    residual = y - (by_stratum / found.counts)[strata] - (design - means) @ fit.beta
    influence = residual[:, None] * ((design - means) @ worked.directions)
    covariance, n_clusters = fit.covariance(np.arange(n))
    assert n_clusters == n
    np.testing.assert_allclose(covariance, influence.T @ influence, rtol=1e-8, atol=1e-12)
    pairs = np.arange(n) // 2
    summed = influence[::2] + influence[1::2]
    np.testing.assert_allclose(fit.covariance(pairs)[0], summed.T @ summed, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("most", [0, 1 << 22])
def test_designs_kept_for_the_next_outcome_change_nothing(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(designs, "MOST_ALONG", most)
    kept = Kept[Design](1 << 24)

    def found(data: dict[str, np.ndarray], levels: tuple[int, ...], where: KeptDesigns | None) -> LevelContrasts:
        return contrast_levels(
            data["y"], data["level"], levels, reference=0, seed=0, strata=data["strata"],
            covariates=data["covariates"], clusters=data["clusters"], kept=where,
        )  # fmt: skip

    for seed in (1, 2):
        data = drawn(3) | {"y": drawn(seed)["y"]}
        for rows in (np.arange(400), np.arange(50, 350)):
            part = {name: values[rows] for name, values in data.items()}
            where = KeptDesigns(kept, ("a",), rows_key(rows, 400))
            for levels in ((1, 2), (2,)):
                alone, again = found(part, levels, None), found(part, levels, where)
                for name in ("n", "crude", "adjusted", "adjusted_low", "p", "p_corrected", "covariance", "stratified"):
                    np.testing.assert_array_equal(getattr(again, name), getattr(alone, name))
    assert len(kept.keys) == 4  # rows and levels tell them apart, outcomes do not


def test_rounding_is_no_standard_error() -> None:
    """Outcomes that the levels determine leave no residuals: where there is no difference none comes of rounding."""
    for seed in range(200):
        generator = np.random.default_rng(seed)
        n = int(generator.integers(100, 2000))
        level = generator.integers(0, 4, n)
        found = contrast_levels(
            1.0 + 2.0 * (level >= 2),
            level,
            (1, 2, 3),
            reference=0,
            strata=np.zeros(n, np.int64),
            covariates=np.zeros((n, 0)),
            clusters=np.arange(n),
            seed=seed,
        )
        np.testing.assert_allclose([found.adjusted, found.crude], [[0, 2, 2]] * 2, atol=1e-12)
        assert found.adjusted_low[0] < 0 < found.adjusted_high[0]
        assert found.p_corrected[0] > 0.9
        assert (found.p_corrected[1:] < 0.001).all()
