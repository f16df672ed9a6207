"""Corrections over many overlapping signatures: against permutations, regressions and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from mechscope.experiments import ExperimentContext
from mechscope.experiments.algorithms.bitsets import pack_bits
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.binary_contrasts import influence, joint_p, observe_binaries
from mechscope.experiments.observing.enrichment import count_in_high, count_packed_in_high
from mechscope.experiments.observing.slicing import Slice
from mechscope.stats import max_t


def test_an_influence_is_the_share_of_its_cluster_in_the_coefficient() -> None:
    """Summed up they vanish; squared up they are the sandwich of the dummy regression written out."""
    generator = np.random.default_rng(8)
    n = 400
    strata, clusters = generator.integers(0, 6, n), generator.integers(0, 90, n)
    covariates = generator.normal(size=(n, 2))
    label = generator.random(n) < 0.3 + 0.1 * (strata > 2)
    y = 2.0 * label + covariates[:, 0] + strata + generator.normal(size=n)
    found = influence(y, label, covariates, strata, clusters)
    design = np.column_stack([label, covariates, strata[:, None] == np.arange(6)])
    bread = np.linalg.inv(design.T @ design)
    residual = y - design @ (bread @ design.T @ y)
    scores = np.array([(design * residual[:, None])[clusters == one].sum(axis=0) for one in range(90)])
    expected = scores @ bread[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_the_joint_p_is_that_of_sign_flipped_influences() -> None:
    generator = np.random.default_rng(2)
    shared = generator.normal(size=(300, 1))
    influences = 0.9 * shared + 0.4 * generator.normal(size=(300, 6))
    errors = np.sqrt((influences**2).sum(axis=0))
    estimates = errors * np.array([0.5, 1.0, 1.8, 2.2, 2.6, 3.2])
    p, corrected = joint_p(estimates, influences, seed=1)
    flips = generator.choice([-1.0, 1.0], size=(20_000, 300))
    flipped = np.abs(flips @ influences) / errors
    expected = max_t(estimates / errors, [flipped])
    np.testing.assert_allclose(corrected, expected, atol=0.015)
    assert (corrected >= p - 1e-12).all()
    assert corrected[3] < min(1.0, 6 * p[3])  # what Bonferroni would say: overlap is not paid for
    unknown = joint_p(np.array([1.0, 1.0]), np.column_stack([influences[:, 0], np.zeros(300)]), seed=1)[1]
    assert np.isnan(unknown[1])
    assert 0 < unknown[0] <= 1


def test_no_binary_is_claimed_of_noise_more_often_than_said(builds: ExperimentContext) -> None:
    """The least corrected p over all binaries is below 0.1 in about a tenth of 120 null features."""
    generator, least = np.random.default_rng(11), []
    names = list(builds.domain.binaries)
    rows = np.arange(builds.corpus.n_rows)
    known = np.stack([builds.rows_with(builds.domain.binaries[name]) for name in names])
    flat = np.zeros(len(rows), np.int64)
    for trial in range(120):
        values = np.maximum(generator.normal(size=len(rows)), 0)
        influences = np.stack([influence(values, has, known[:0].T, flat, rows) for has in known], axis=1)
        estimates = np.array([values[has].mean() - values[~has].mean() for has in known])
        least.append(np.nanmin(joint_p(estimates, influences, seed=trial)[1]))
    share = float(np.mean(np.array(least) < 0.1))
    assert 0.02 < share < 0.19  # 3 standard errors
    found = Slice(rows, np.maximum(generator.normal(size=len(rows)), 0))
    told = observe_binaries(
        found, builds, Findings(), names=names[:3], held=Held(), confounders=[], seed=0
    )  # fmt: skip
    for has, contrast in zip(known[:3], told, strict=True):
        assert contrast.row()["mean_delta"] == pytest.approx(found.values[has].mean() - found.values[~has].mean())
        assert contrast.p == pytest.approx(float(contrast.row()["p"]))


def test_enrichment_is_corrected_as_dealing_the_labels_anew_would() -> None:
    generator = np.random.default_rng(4)
    n, n_high = 4000, 600  # enough that counts lie close enough to be taken for normal
    base = generator.random(n)
    masks = np.stack([base < cut for cut in (0.6, 0.5, 0.45, 0.2)] + [generator.random(n) < 0.3], axis=1)
    masks = np.column_stack([masks, np.zeros(n, bool)])
    high = np.zeros(n, bool)
    weights = np.where(base < 0.5, 1.15, 1.0)
    high[generator.choice(n, n_high, replace=False, p=weights / weights.sum())] = True
    found = count_in_high(masks, high, seed=0)
    dealt = np.array([masks[generator.permutation(n)[:n_high]].sum(axis=0) for _ in range(8000)], float)
    held = masks.sum(axis=0)
    middle = n_high * held / n
    spread = np.sqrt(n_high * (n - n_high) / (n * (n - 1)) * (held - held**2 / n))[:5]
    size = np.abs(found["n_high_with"] - middle)[:5] / spread
    expected = max_t(size, [np.abs(dealt - middle)[:, :5] / spread])
    corrected = np.mean([count_in_high(masks, high, seed=seed)["p_corrected"][:5] for seed in range(10)], axis=0)
    np.testing.assert_allclose(corrected, np.maximum(expected, found["p"][:5]), atol=0.03)
    for at in range(5):
        k = int(found["n_high_with"][at])
        chance = hypergeom.pmf(np.arange(n_high + 1), n, held[at], n_high)
        assert found["p"][at] == pytest.approx(min(1.0, 2 * min(chance[: k + 1].sum(), chance[k:].sum())))
    assert np.isnan(found["p"][5])
    assert np.isnan(found["log_odds"][5])
    assert (found["p_corrected"][:5] >= found["p"][:5]).all()


def test_packed_rows_are_counted_as_masks_are() -> None:
    generator = np.random.default_rng(8)
    masks, high = generator.random((1000, 7)) < generator.random(7), generator.random(1000) < 0.2
    keep = generator.random(1000) < 0.6
    words, within = pack_bits(masks.T), pack_bits(keep[None])[0]
    packed = count_packed_in_high(words & within, pack_bits(high[None])[0] & within, int(keep.sum()), seed=1)
    for name, column in count_in_high(masks[keep], high[keep], seed=1).items():
        np.testing.assert_array_equal(packed[name], column)
