"""Small real inputs: gear builds through an untrained set model, and sentences through an untrained language model."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from mechscope.activations import ActivationCache, CollectSpec, collect
from mechscope.corpora import Corpus
from mechscope.corpora.sources.agreement import AgreementSource
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.features.build import build_features
from mechscope.features.inputs import FeatureInputs
from mechscope.models import Model
from mechscope.models.set_transformer import SetTransformer, SetTransformerConfig
from mechscope.store.sparse import StoreSpec

N_FEATURES = 48
SPEC = StoreSpec(block_nonzeros=2000, file_nonzeros=9000)


def set_model() -> Model:
    torch.manual_seed(0)
    config = SetTransformerConfig(d_model=16, n_layers=1, n_heads=2, d_mlp=32, n_inducing=4)
    return Model.open(SetTransformer(config).eval())


def set_corpus() -> Corpus:
    return SplatoonSource(n_rows=1500, seed=1).build()


def text_model(d_vocab: int) -> Model:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=d_vocab,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=96,
    )
    return Model.open(GPTNeoXForCausalLM(config).eval())


def text_corpus() -> Corpus:
    return AgreementSource(n_rows=120, seed=1).build()


def dictionary_for(cache: ActivationCache) -> Dictionary:
    spec = DictionarySpec(architecture="topk", d_in=cache.d_in, n_features=N_FEATURES, k=6)
    dictionary = Dictionary.random(spec, seed=0)
    with torch.no_grad():
        dictionary.b_dec.copy_(cache.read(torch.arange(cache.n_samples).numpy()).mean(0))
    return dictionary


def collected(model: Model, corpus: Corpus, site: str, root: Path) -> ActivationCache:
    spec = CollectSpec(sites=[site], batch_tokens=512, shard_bytes=30_000)
    return next(iter(collect(model, corpus, spec, root).values()))


def opened(model: Model, corpus: Corpus, site: str, root: Path) -> FeatureInputs:
    cache = collected(model, corpus, site, root / "activations")
    dictionary = dictionary_for(cache)
    build_features(cache, corpus, dictionary, root / "store", model=model, spec=SPEC).close()
    return FeatureInputs.open(root / "store", corpus, dictionary, model=model, cache=cache)
