"""Build the feature store: the dense cache streams through the dictionary, one shard at a time, into the writer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations import ActivationCache, Shard
from mechscope.core import SILENT, BadDataError, Progress
from mechscope.corpora import Corpus
from mechscope.dictionaries import Codes, Dictionary
from mechscope.features.decoder import write_influences
from mechscope.features.samples import SampleTokens
from mechscope.models import Model
from mechscope.store.sparse import CompressedRows, FeatureStore, FeatureStoreWriter, StoreSpec, write_tensors

__all__ = ["build_features", "store_key"]

FORMAT = 2
EXTRAS = ("samples.safetensors", "tokens.safetensors", "decoder.safetensors")


def store_key(
    cache: ActivationCache, corpus: Corpus, dictionary: Dictionary, *, model: Model | None = None
) -> dict[str, Any]:
    """What a feature store is made from, as JSON types."""
    return {
        "format": FORMAT,
        "activations": cache.key_digest,
        "site": str(cache.site),
        "corpus": corpus.digest,
        "dictionary": dictionary.digest,
        "model": None if model is None else model.weights_digest,
    }


def build_features(
    cache: ActivationCache,
    corpus: Corpus,
    dictionary: Dictionary,
    folder: Path,
    *,
    model: Model | None = None,
    spec: StoreSpec | None = None,
    progress: Progress = SILENT,
) -> FeatureStore:
    """Encode every cached sample and store the codes sparsely, with statistics; returns the open store.

    A finished store of the same inputs is opened as it is; an interrupted one goes on at the next shard. When another
    process builds in this folder, this one waits until it is done.

    Args:
        cache: activations at one site.
        corpus: the corpus they were collected from.
        dictionary: takes raw activations of that site.
        folder: folder of the store; each key has its own generation inside.
        model: when given, the outputs that each decoder row promotes and suppresses are stored too.
        spec: build options.
        progress: told of every shard and merged file.

    Raises:
        BadDataError: NaN or infinity in the activations (shard and sample are named), a corpus that is not theirs, or
            a dictionary of another width; the last two before anything is written.
        ConflictError: the disk is full.

    Cost: one pass over the cache and one matrix product a shard; never a dense [n_samples, n_features].
    """
    _require_fit(cache, corpus, dictionary)
    key = store_key(cache, corpus, dictionary, model=model)
    tell = partial(progress.say, f"another process is building the feature store in {folder}; waiting for it")
    builder = FeatureStoreWriter(folder, key=key, n_features=dictionary.n_features, spec=spec, on_wait=tell)
    if not builder.is_finished:
        with builder as writer:
            if not writer.is_finished:  # else it was finished by the process that held the lock
                _write_store(writer, cache, corpus, dictionary, model, progress)
                return FeatureStore.open(folder)
    progress.say(f"feature store reused: {folder}")
    return FeatureStore.open(folder)


def _require_fit(cache: ActivationCache, corpus: Corpus, dictionary: Dictionary) -> None:
    if cache.key["corpus"] != corpus.digest:
        raise BadDataError(
            f"the activations in {cache.folder} were collected from corpus {str(cache.key['corpus'])[:12]}…",
            expected=f"corpus {corpus.name!r} ({corpus.digest[:12]}…)",
            todo="give the corpus that they were collected from, or collect activations from this one",
        )
    if cache.d_in != dictionary.spec.d_in:
        raise BadDataError(
            f"the activations in {cache.folder} are {cache.d_in} wide",
            expected=f"{dictionary.spec.d_in}, the width of the dictionary",
            todo=f"give the dictionary that was trained at site {cache.site}",
        )


def _write_store(
    writer: FeatureStoreWriter,
    cache: ActivationCache,
    corpus: Corpus,
    dictionary: Dictionary,
    model: Model | None,
    progress: Progress,
) -> None:
    _write_samples(cache, corpus, writer.path)
    write_influences(writer.path / "decoder.safetensors", dictionary, model, site=str(cache.site))
    with progress.task("encode features", total=cache.n_samples, unit="samples") as task:
        for index, shard in enumerate(cache.shards()):
            if shard.first_sample >= writer.next_sample:
                writer.add(shard.first_sample, _encode(shard, index, dictionary))
            task.advance(len(shard.row))
    facts = {"site": str(cache.site), "corpus_name": corpus.name}
    writer.finish(n_samples=cache.n_samples, facts=facts, extras=EXTRAS, progress=progress)


def inverse_document_frequency(n_rows_with: np.ndarray, n_rows: int) -> np.ndarray:
    """ln((1 + n_rows) / (1 + rows that hold the token)) + 1: smooth, at least 1, largest for unseen tokens."""
    idf: np.ndarray = np.log((1 + n_rows) / (1 + n_rows_with)) + 1
    return idf


def _encode(shard: Shard, index: int, dictionary: Dictionary) -> CompressedRows:
    _require_finite(shard.acts, shard, index)
    codes: Codes = dictionary.encode(shard.acts)
    indptr, features = codes.indptr.cpu().numpy(), codes.features.cpu().numpy().astype(np.uint32)
    return CompressedRows(indptr, features, codes.values.detach().float().cpu().numpy())


def _require_finite(acts: Float[Tensor, "n d_in"], shard: Shard, index: int) -> None:
    if bool(torch.isfinite(acts.sum())):  # one pass without a mask; a finite sum has only finite terms
        return
    is_bad = ~torch.isfinite(acts).all(dim=1)
    if not bool(is_bad.any()):
        return
    at = int(is_bad.nonzero()[0])
    raise BadDataError(
        f"shard {index} holds NaN or infinity at sample {shard.first_sample + at} (row {shard.row[at]}, position "
        f"{shard.pos[at]}; {int(is_bad.sum())} such samples in the shard)",
        expected="finite activations",
        todo="collect them again in float32; when it repeats, look at the model's input in that row",
    )


def _write_samples(cache: ActivationCache, corpus: Corpus, folder: Path) -> None:
    row, pos = cache.sample_rows(), cache.sample_positions()
    tokens = SampleTokens.of(corpus, row, pos)
    n_rows_with = np.bincount(tokens.tokens.ids, minlength=tokens.d_vocab)
    arrays = {
        "n_rows_with": n_rows_with.astype(np.int64),
        "n_samples_with": tokens.counts(np.arange(tokens.n_samples)).astype(np.int64),
        "idf": inverse_document_frequency(n_rows_with, corpus.n_rows),
    }
    write_tensors(folder / "samples.safetensors", {"row": row.astype(np.int32), "pos": pos.astype(np.int32)}, {})
    write_tensors(folder / "tokens.safetensors", arrays, {"n_rows": corpus.n_rows})
