"""The clustered mean against closed forms and against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mechscope.models.lens.tuned_scores import clustered_mean


def test_rows_of_one_size_give_students_interval_of_the_row_means() -> None:
    generator = torch.Generator().manual_seed(1)
    row_means = torch.randn(12, generator=generator, dtype=torch.float64)
    found = clustered_mean(row_means * 7, torch.full((12,), 7.0, dtype=torch.float64))
    told = stats.t.interval(0.95, 11, loc=float(row_means.mean()), scale=stats.sem(row_means.numpy()))
    assert (found.low, found.high) == pytest.approx(told, rel=1e-9)
    assert found.mean == pytest.approx(float(row_means.mean()))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    n_hits, n_trials = 0, 600
    for _ in range(n_trials):
        sizes = generator.integers(3, 20, size=40)
        centres = generator.normal(2.0, 1.0, size=40)  # what readings of one row share
        sums = [
            float(generator.normal(centre, 1.0, size=size).sum()) for centre, size in zip(centres, sizes, strict=True)
        ]
        found = clustered_mean(torch.tensor(sums, dtype=torch.float64), torch.tensor(sizes, dtype=torch.float64))
        n_hits += found.low <= 2.0 <= found.high
    assert stats.binomtest(n_hits, n_trials, 0.95).pvalue > 1e-3
