"""The activation cache is a sample source: collect, train on one split, evaluate and splice on the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from mechscope.activations import CollectSpec, collect
from mechscope.corpora import Corpus, Ragged
from mechscope.models import Model
from mechscope.training import SampleSource, SpliceSpec, TrainSpec, cluster_labels, evaluate, evaluate_splice, train


def test_main_job_from_model_to_evaluated_dictionary(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    model = Model.open(GPTNeoXForCausalLM(config).eval())
    rows = [*np.random.default_rng(0).integers(0, 30, (150, 12))]
    corpus = Corpus("random", "text", Ragged.from_rows(rows), tuple(f"w{i}" for i in range(30)))
    caches = collect(model, corpus, CollectSpec(sites=["resid_post:1"], batch_tokens=256), tmp_path / "acts")
    (cache,) = caches.values()
    is_train = np.arange(150) < 120
    source: SampleSource = cache.restricted(is_train)
    spec = TrainSpec(architecture="topk", k=8, n_features=64, epochs=20, batch_size=128, n_threads=1)
    result = train(source, spec, tmp_path / "dictionary")
    assert train(source, spec, tmp_path / "dictionary").was_reused

    held_out = evaluate(result.dictionary, cache.restricted(~is_train))
    assert held_out.n_samples == 30 * 12
    assert held_out.fvu < 0.3
    assert held_out.n_clusters is None
    view = cache.restricted(~is_train)
    unit, labels = cluster_labels(corpus, view.sample_rows())
    clustered = evaluate(result.dictionary, view, clusters=labels)
    assert (unit, clustered.n_clusters, clustered.n_samples) == ("row", 30, 360)
    assert abs(clustered.fvu - held_out.fvu) < 1e-6
    spliced = evaluate_splice(
        result.dictionary,
        model,
        corpus=corpus,
        rows=np.flatnonzero(~is_train),
        site=model.parse_sites("resid_post:1")[0],
        settings=SpliceSpec(n_bootstrap=100),
    )
    assert spliced.n_predictions == 30 * 11
    assert spliced.kl is not None
    assert spliced.kl.value >= 0
