"""A planted feature is reliable over halves; the same values shuffled over rows are not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model
from planted_rows import custom_of, plant_comeback_in_noise, rows_of
from scipy import sparse
from scipy.stats import ks_2samp

from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.features import FeatureInputs
from mechscope.stats import Shuffles, deal_blocks, dealt_sums, half_correlation, split_half
from mechscope.stats.block_sums import BlockSums
from mechscope.stats.reliability import draw_splits
from mechscope.testing.planted_features import plant_feature

FEATURE = 3


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("halves")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


def run(context: ExperimentContext, *, seed: int = 0, **variables: Any) -> ExperimentResult:
    spec = ExperimentSpec(type="split_half", feature_id=FEATURE, seed=seed, variables=variables)
    result = get_runner_for_type("split_half").run(spec, context)
    assert result.success, result.error_message
    return result


def test_a_planted_feature_passes_and_shuffled_ones_fail(inputs: FeatureInputs) -> None:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    context = plant_feature(inputs, FEATURE, lambda c: 1.0 + 3 * domain.has(c, "comeback"))
    result = run(context)
    assert result.evidence == "observational"
    assert custom_of(result)["passes"] is True
    assert len(result.claims) == 1
    values = context._row_activations[FEATURE].copy()
    for seed in range(8):
        context._row_activations[FEATURE] = np.random.default_rng(seed).permutation(values)
        result = run(context, seed=seed)
        assert custom_of(result)["passes"] is False
        assert result.claims == ()


@pytest.mark.parametrize("most_dealt", [100, 1200])  # of 1,500 rows, 900 active: drawn as normal, or the active dealt
def test_drawn_sums_tell_the_same(inputs: FeatureInputs, most_dealt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    context = plant_comeback_in_noise(inputs, FEATURE)
    real = run(context, n_shuffles=400, min_rows=100)
    monkeypatch.setattr(dealt_sums, "MOST_DEALT", most_dealt)
    drawn = run(context, n_shuffles=400, min_rows=100)
    assert "drawn" in drawn.tables["reliability"].caption
    assert "drawn" not in real.tables["reliability"].caption
    (row, control), (same, other) = rows_of(real, "reliability"), rows_of(drawn, "reliability")
    assert {**row, "p": 0} == {**same, "p": 0}
    assert same["p"] == pytest.approx(row["p"], abs=0.01)
    for end in ("reliability", "low", "high", "half_r"):
        assert other[end] == pytest.approx(control[end], abs=0.15 * (control["high"] - control["low"])), end
    context._row_activations[FEATURE] = np.random.default_rng(1).permutation(context._row_activations[FEATURE])
    assert custom_of(run(context, min_rows=100))["passes"] is False


def test_halves_of_drawn_sums_correlate_as_those_of_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, n = np.random.default_rng(11), 12_000
    held = generator.random((n, 60)) < np.geomspace(0.002, 0.6, 60) * generator.choice([0.3, 1.4], (n, 1))
    values = np.where(generator.random(n) < 0.4, generator.lognormal(0, 0.8, n), 0.0)
    table = BlockSums(sparse.csr_array(held.astype(np.int8)), deal_blocks(n, seed=0))
    splits, found = draw_splits(table.n_blocks, 20, seed=0), []
    for most in (n, 1000):
        monkeypatch.setattr(dealt_sums, "MOST_DEALT", most)
        dealing = dealt_sums.DealtSums(table, Shuffles(values), values[:, None])
        sums = np.concatenate([block[:, :-1, 0] for block in dealing.blocks(1500, seed=most)], axis=-1)
        halves = [half_correlation(one, table.counts[:, :-1], splits) for one in sums.transpose(2, 0, 1)]
        found.append(np.array(halves))
    assert dealing.way == "normal"
    # 0.06 is what two samples of 1,500 differ by at most in 99 of 100 cases
    assert ks_2samp(*found, method="asymp").statistic < 0.06
    ends = [np.quantile(halves, [0.025, 0.5, 0.975]) for halves in found]
    np.testing.assert_allclose(ends[1], ends[0], atol=0.1 * np.ptp(ends[0]))


def test_it_is_the_reliability_of_the_dense_table_and_its_control_that_of_shuffles(inputs: FeatureInputs) -> None:
    generator = np.random.default_rng(1)
    context = plant_feature(inputs, FEATURE, lambda _: 1.0)
    rows = context.rows_in_store
    held = np.stack([context.rows_with(token)[rows] for token in range(len(context.corpus.vocabulary))], axis=1)
    held = held[:, (held.sum(axis=0) >= 40) & ((~held).sum(axis=0) >= 40)]
    values = 5 + generator.normal(size=len(rows)) + held @ generator.normal(0, 0.12, held.shape[1])
    context._row_activations[FEATURE] = values
    result = run(context, min_rows=40, n_splits=30, n_shuffles=60)
    row, control = rows_of(result, "reliability")
    # the dense table under other halves: the same but for which halves were drawn
    dense = split_half(np.where(held, values[:, None], np.nan), seed=4, n_splits=100)
    assert row["n_tokens"] == held.shape[1]
    assert row["reliability"] == pytest.approx(dense.value, abs=0.05)
    assert row["high"] - row["low"] == pytest.approx(dense.high - dense.low, rel=0.5)
    shuffled = [
        split_half(np.where(held, generator.permutation(values)[:, None], np.nan), seed=seed, n_splits=20).half
        for seed in range(60)
    ]
    assert control["half_r"] == pytest.approx(np.median(shuffled), abs=4 * np.std(shuffled) / np.sqrt(60))
    assert custom_of(result)["p"] == 1 / 61
    assert custom_of(result)["beats_shuffled"] is True
    # 0.7 is a convention beside the control: a feature that beats its shuffles may still miss it
    assert custom_of(run(context, min_rows=40, least=1.0))["passes"] is False


def test_it_says_what_it_left_out_and_refuses_a_slice_without_tokens(inputs: FeatureInputs) -> None:
    context = plant_feature(inputs, FEATURE, lambda c: 1.0 + len(c.tokens))
    assert run(context, min_rows=100).diagnostics.dropped["tokens in fewer than 100 rows, or in all but fewer"] > 0
    spec = ExperimentSpec(type="split_half", feature_id=FEATURE, variables={"min_rows": 5000})
    refused = get_runner_for_type("split_half").run(spec, context)
    assert "lower min_rows" in str(refused.error_message)
