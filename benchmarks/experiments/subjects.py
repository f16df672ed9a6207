"""The subjects that experiments are timed on: the demo's, and one with a feature that is active in half of its rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from mechscope.activations import CollectSpec, collect
from mechscope.corpora.domain_for import domain_for
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.experiments import ExperimentContext
from mechscope.features import FeatureInputs, build_features
from mechscope.models import Model
from mechscope.services.shipped import shipped_folder
from mechscope.store.sparse import StoreSpec

__all__ = ["busy_features", "demo_workspace", "large_subject"]


def demo_workspace(folder: Path) -> Path:
    """What `mechscope demo --subject splatoon` makes; reused where it is there."""
    if not (folder / "mechscope.toml").is_file():
        command = [sys.executable, "-m", "mechscope", "demo", "--subject", "splatoon", "--workspace", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def large_subject(folder: Path, n_rows: int) -> ExperimentContext:
    """Builds of the generator through the shipped model; 8 of 16 random directions are active in every row, so that
    features have about half as many non-zeros as there are rows."""
    model = Model.open(str(shipped_folder("splatoon")))
    corpus = SplatoonSource(n_rows=n_rows, seed=5).build()
    cache = next(iter(collect(model, corpus, CollectSpec(sites=["pooled"]), folder / "activations").values()))
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=cache.d_in, n_features=16, k=8), seed=0)
    with torch.no_grad():
        dictionary.b_dec.copy_(cache.read(np.arange(min(10_000, n_rows))).mean(0))
    build_features(cache, corpus, dictionary, folder / "store", model=model, spec=StoreSpec()).close()
    inputs = FeatureInputs.open(folder / "store", corpus, dictionary)
    return ExperimentContext("large", inputs, domain_for(corpus))


def busy_features(context: ExperimentContext, n: int) -> list[int]:
    """Features that are active most often, ids in falling order of that."""
    found: list[int] = np.argsort(-context.inputs.store.counts(), kind="stable")[:n].tolist()
    return found
