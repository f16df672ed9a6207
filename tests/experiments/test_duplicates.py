"""Rows that repeat others are no new evidence: noise of the context, each row five times, has no claims."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model

from mechscope.corpora.same_rows import first_alike
from mechscope.experiments import ExperimentSpec, get_runner_for_type
from mechscope.features import FeatureInputs
from mechscope.testing.calibration import CLAIMING, hash_noise
from mechscope.testing.planted_features import plant_feature

FEATURE, N_ROWS, N_TIMES = 3, 400, 5
KINDS = ("shuffle_null", "split_half", "frequent_itemsets", "binary_presence", "token_influence")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    corpus = set_corpus().select(np.repeat(np.arange(N_ROWS), N_TIMES))
    with opened(set_model(), corpus, "pooled", tmp_path_factory.mktemp("same")) as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_repeated_rows_is_not_claimed(kind: str, inputs: FeatureInputs) -> None:
    n_claiming = 0
    for seed in range(4):
        context = plant_feature(inputs, FEATURE, hash_noise(seed + 100, 0.3))
        spec = ExperimentSpec.parse(
            {"type": kind, "feature_id": FEATURE, "mode": "observational", "dataset_slice": {}, "seed": seed,
             "variables": CLAIMING.get(kind, {})}
        )  # fmt: skip
        result = get_runner_for_type(kind).run(spec, context)
        n_claiming += bool(result.claims) or result.aggregates.custom.get("passes") is True
    assert n_claiming <= 1


def test_rows_alike_are_those_of_equal_tokens_and_inputs(inputs: FeatureInputs) -> None:
    context = plant_feature(inputs, FEATURE, hash_noise(1))
    known: dict[object, int] = {}
    bases = context.contexts_of(np.arange(inputs.corpus.n_rows))
    expected = np.array([known.setdefault(base.key, base.row) for base in bases])
    assert (context.clusters_of(np.arange(inputs.corpus.n_rows)) == expected).all()
    alone = np.unique(expected)
    assert context.clusters_of(alone) is alone
    assert first_alike(inputs.corpus.select(alone)) is None


def test_rows_of_other_inputs_or_order_are_not_alike() -> None:
    corpus = set_corpus().select(np.zeros(2, np.int64))
    assert first_alike(corpus) is not None
    corpus.row_columns["weapon_ids"] = corpus.row_columns["weapon_ids"] + np.arange(2)
    assert first_alike(corpus) is None
