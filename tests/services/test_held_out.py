"""The control beside FVU: principal components, on activations whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mechscope.activations import CollectSpec, collect
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.models import Model
from mechscope.services.held_out import evaluate_held_out, held_out_rows, train_rows


def test_the_pca_control_equals_numpys_and_stands_beside_the_dictionary(tmp_path: Path) -> None:
    corpus = SplatoonSource(n_rows=900, seed=4).build()
    (cache,) = collect(Model.open("splatoon"), corpus, CollectSpec(sites=["pooled"]), tmp_path).values()
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=cache.d_in, n_features=96, k=6), seed=0)
    found = evaluate_held_out(dictionary, cache, corpus)
    control = found.control
    assert control is not None
    assert control.n_components == 6
    assert control.n_measured == found.evaluation.n_samples == int(held_out_rows(corpus).sum())
    acts = torch.cat([shard.acts for shard in cache.shards()]).double().numpy()
    train, test = acts[train_rows(corpus)], acts[held_out_rows(corpus)]
    _, _, basis = np.linalg.svd(train - train.mean(0), full_matrices=False)
    centred = test - train.mean(0)
    rest = centred - centred @ basis[:6].T @ basis[:6]
    assert control.fvu == pytest.approx((rest**2).sum() / ((test - test.mean(0)) ** 2).sum(), rel=1e-6)
    # An untrained dictionary reconstructs worse than the same number of principal components.
    assert found.evaluation.fvu > control.fvu
    assert found.clustered_by == "row"
