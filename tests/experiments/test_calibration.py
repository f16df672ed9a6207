"""Kinds of experiments on features that are noise: what they claim is false, and may not be more than alpha + 2 %.

`benchmarks/calibration.py` does the same with 200 null features each; docs/experiments.md has its table. Here there are
as many as a minute allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model
from scipy.stats import kstest

from mechscope.experiments import CAUSAL, OBSERVED, Mode, find_kind
from mechscope.features import FeatureInputs
from mechscope.testing.calibration import CLAIMING, NullSort, calibrate, hash_noise, null_features

FEATURE, ALLOWED, SEED = 3, 0.07, 2026
RUNS: list[tuple[str, Mode, NullSort, int]] = [
    ("family_1d_sweep", CAUSAL, "dense", 15),
    ("family_1d_sweep", CAUSAL, "sparse", 15),
    ("family_1d_sweep", OBSERVED, "sparse", 40),
    ("family_2d_heatmap", CAUSAL, "dense", 10),
    ("family_2d_heatmap", OBSERVED, "sparse", 20),
    ("weapon_sweep", OBSERVED, "shuffled", 6),
    ("weapon_sweep", CAUSAL, "sparse", 8),
    ("kit_sweep", OBSERVED, "shuffled", 6),
    ("kit_sweep", CAUSAL, "sparse", 8),
    ("binary_presence", CAUSAL, "dense", 8),
    ("binary_presence", CAUSAL, "sparse", 8),
    ("binary_presence", OBSERVED, "sparse", 8),
    ("core_coverage", OBSERVED, "sparse", 30),
    ("token_influence", CAUSAL, "dense", 3),
    ("token_influence", CAUSAL, "sparse", 4),
    ("token_influence", OBSERVED, "sparse", 10),
    ("group_contrast", OBSERVED, "shuffled", 10),
    ("group_contrast", CAUSAL, "sparse", 8),
    ("shuffle_null", OBSERVED, "shuffled", 40),
    ("split_half", OBSERVED, "sparse", 25),
    ("pairwise_interactions", CAUSAL, "dense", 3),
    ("pairwise_interactions", OBSERVED, "sparse", 12),
    ("conditional_interactions", CAUSAL, "dense", 3),
    ("conditional_interactions", OBSERVED, "sparse", 10),
    ("frequent_itemsets", OBSERVED, "sparse", 10),
    ("within_family_interference", CAUSAL, "dense", 6),
    ("within_family_interference", OBSERVED, "sparse", 10),
]
N_BASES = 40


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("null")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


@pytest.mark.parametrize(("kind", "mode", "sort", "n"), RUNS, ids=["-".join(run[:3]) for run in RUNS])
def test_noise_has_no_more_claims_than_chance_allows(
    kind: str, mode: Mode, sort: NullSort, n: int, inputs: FeatureInputs
) -> None:
    features = null_features(inputs, sort, n, seed=SEED, feature=FEATURE)
    # noise that is mostly zero needs the base contexts at zero, of which few would be a fifth of few
    n_bases = None if (mode, sort) == (CAUSAL, "sparse") else N_BASES
    found = calibrate(kind, mode, sort, features, feature=FEATURE, n_bases=n_bases)
    assert found.n_failed <= n / 10
    # the share itself, and not its interval: with few features a single claim may stand
    assert found.n_claiming <= max(1, ALLOWED * n), found.claims


def test_every_mode_of_every_kind_that_is_calibrated_is_run() -> None:
    assert {(kind, mode) for kind, mode, _, _ in RUNS} == {
        (kind, mode) for kind in CLAIMING for mode in find_kind(kind).modes
    }


def test_hash_noise_is_uniform_and_another_draw_for_every_change(inputs: FeatureInputs) -> None:
    context = next(iter(null_features(inputs, "dense", 1, seed=1, feature=FEATURE)))()
    bases = context.contexts_of(np.arange(1500))
    changed = [context.domain.substitute(base, groups={"weapon": "Splattershot"}) for base in bases[:600]]
    noise, other = hash_noise(7), hash_noise(8)
    values = np.array([noise(base) for base in {base.key: base for base in bases}.values()])
    assert kstest(values, "uniform").pvalue > 0.01
    pairs = [(noise(a), noise(b)) for a, b in zip(bases, changed, strict=False) if a.key != b.key]
    assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 4 / np.sqrt(len(pairs))
    assert abs(np.corrcoef(values, [other(base) for base in {b.key: b for b in bases}.values()])[0, 1]) < 0.11
    assert [noise(base) for base in bases] == [noise(base) for base in bases]
    sparse = np.array([hash_noise(9, 0.3)(base) for base in bases])
    assert abs((sparse > 0).mean() - 0.3) < 4 * np.sqrt(0.21 / 1500)
