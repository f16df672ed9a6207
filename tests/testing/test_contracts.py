"""Every plug-in meets the contract of its kind; a new one is covered without a new test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mechscope.activations import CollectSpec, collect
from mechscope.core.kinds import CORPUS_SOURCES, FAMILIES, KINDS, SIMILARITIES
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.features import FeatureInputs, build_features
from mechscope.models import Model
from mechscope.services.shipped import shipped_folder
from mechscope.testing.corpus_sources import check_corpus_source
from mechscope.testing.similarities import check_similarity


def small_options(name: str, folder: Path) -> dict[str, Any]:
    """Options that make a source small; a source that is not listed is built with its defaults."""
    if name == "text":
        for number in range(60):
            (folder / f"note{number:02}.txt").write_text(f"The cat number {number} sat on a mat. " * 12)
        return {"paths": [str(folder)], "tokenizer": "pydocs", "block_length": 32}
    if name == "builds_csv":
        corpus = SplatoonSource(n_rows=60, seed=2).build()
        lines = [f'"{corpus.tokens[row].tolist()}",{int(corpus.column("weapon_ids")[row])}' for row in range(60)]
        (folder / "builds.csv").write_text("\n".join(["ability_ids,weapon_id", *lines]))
        vocabularies = {key: str(shipped_folder("splatoon") / f"{key}.json") for key in ("vocab", "weapon_vocab")}
        return {"csv": str(folder / "builds.csv"), **vocabularies}
    known = {
        "splatoon": {"n_rows": 1500, "seed": 3},
        "agreement": {"n_rows": 300, "seed": 3},
        "pydocs": {"n_rows": 40, "blocks_per_document": 2},
    }
    return known.get(name, {})


@pytest.mark.parametrize("name", CORPUS_SOURCES.names())
def test_every_corpus_source_keeps_its_contract(name: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    check_corpus_source(name, small_options(name, tmp_path / "files"), tmp_path / "scratch")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> FeatureInputs:
    """A small store over shipped parts."""
    root = tmp_path_factory.mktemp("store")
    corpus = SplatoonSource(n_rows=400, seed=1).build()
    (cache,) = collect(Model.open("splatoon"), corpus, CollectSpec(sites=["pooled"]), root / "acts").values()
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=cache.d_in, n_features=24, k=4), seed=0)
    build_features(cache, corpus, dictionary, root / "store").close()
    return FeatureInputs.open(root / "store", corpus, dictionary)


@pytest.mark.parametrize("name", SIMILARITIES.names())
def test_every_similarity_keeps_its_contract(name: str, inputs: FeatureInputs) -> None:
    check_similarity(name, inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_loads_and_says_what_it_is(kind: str) -> None:
    for name, entry in KINDS[kind].entries().items():
        assert KINDS[kind].get(name) is not None
        assert entry.summary, f"{kind} {name} has no docstring"


def test_every_shipped_model_stands_at_every_site() -> None:
    assert {"gpt2", "gpt_neox", "llama", "bert"} <= set(FAMILIES.names())
    for name in ("splatoon", "agreement", "pydocs"):
        model = Model.open(name)
        assert not model.verification.failed
        assert all(check.passed for check in model.verification.checks)
        assert torch.isfinite(next(model.module.parameters())).all()
        assert np.prod(model.site_shape(model.sites()[0])) > 0
