"""Areas against closed forms, slow versions and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from mechscope.core import UsageError
from mechscope.stats.areas import area_difference, measure_area


def slow_area(scores: np.ndarray, labels: np.ndarray) -> float:
    wins = [(p > n) + (p == n) / 2 for p in scores[labels] for n in scores[~labels]]
    return float(np.mean(wins))


def slow_delong_variance(scores: np.ndarray, labels: np.ndarray) -> float:
    wins = np.array([[(p > n) + (p == n) / 2 for n in scores[~labels]] for p in scores[labels]])
    return float(wins.mean(1).var(ddof=1) / wins.shape[0] + wins.mean(0).var(ddof=1) / wins.shape[1])


@pytest.mark.parametrize("seed", range(4))
def test_area_and_its_interval_equal_the_slow_versions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.random(80) < 0.3
    scores = np.round(generator.normal(size=80) + labels, 1)
    area = measure_area(scores, labels)
    assert area.value == pytest.approx(slow_area(scores, labels), abs=1e-12)
    u = mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert area.value == pytest.approx(u / (labels.sum() * (~labels).sum()), abs=1e-12)
    logit = np.log(area.value / (1 - area.value))
    step = 1.959963984540054 * np.sqrt(slow_delong_variance(scores, labels)) / (area.value * (1 - area.value))
    assert area.low == pytest.approx(1 / (1 + np.exp(step - logit)), abs=1e-9)
    assert area.low < area.value < area.high


def test_the_interval_covers_the_truth_and_clusters_widen_it() -> None:
    generator = np.random.default_rng(0)
    n_covered = n_clustered = 0
    for _ in range(300):
        labels = np.repeat(generator.random(40) < 0.5, 5)
        scores = np.repeat(generator.normal(size=40), 5) + 0.1 * generator.normal(size=200) + 1.19 * labels
        clusters = np.repeat(np.arange(40), 5)
        naive, clustered = measure_area(scores, labels), measure_area(scores, labels, clusters=clusters)
        truth = 0.7987  # P(difference of two such normals, shifted by 1.19, is positive)
        n_covered += naive.low < truth < naive.high
        n_clustered += clustered.low < truth < clustered.high
    assert n_covered < 240  # five copies counted as five samples promise too much
    assert n_clustered > 272


def test_a_perfect_area_still_has_an_interval() -> None:
    labels = np.arange(40) < 20
    area = measure_area(labels.astype(float), labels)
    assert (area.value, area.high) == (1.0, 1.0)
    assert area.low == pytest.approx(0.025 ** (1 / 20))
    worst = measure_area(-labels.astype(float), labels)
    assert worst.value == worst.low == 0 < worst.high


def test_one_sample_with_a_label_says_nothing() -> None:
    scores = np.random.default_rng(2).normal(size=50)
    scores[0] = 0.3
    area = measure_area(scores, np.arange(50) == 0)
    assert (area.low, area.high) == (0.0, 1.0)
    assert 0 < area.value < 1
    clusters = np.arange(50) // 5
    clustered = measure_area((np.arange(50) < 5).astype(float), np.arange(50) < 5, clusters=clusters)
    assert clustered.low == pytest.approx(0.025)  # five copies of one success


def test_paired_differences() -> None:
    generator = np.random.default_rng(1)
    labels = generator.random(400) < 0.5
    scores = generator.normal(size=400) + labels
    first, same = measure_area(scores, labels), measure_area(scores * 2, labels)
    assert area_difference(first, same, labels) == (0, 0, 0)
    noise = measure_area(generator.normal(size=400), labels)
    difference, low, high = area_difference(first, noise, labels)
    assert 0 < low < difference < high


def test_one_class_is_refused() -> None:
    with pytest.raises(UsageError, match="0 positive"):
        measure_area(np.ones(3), np.zeros(3, bool))
