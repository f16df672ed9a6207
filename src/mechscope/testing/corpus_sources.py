"""The contract of a corpus source: what every source must do, checked on a small instance of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora import Corpus, CorpusSpec, load_corpus, make_corpus, save_corpus

__all__ = ["check_corpus_source"]

SPLITS = {"train", "valid", "test"}


def check_corpus_source(name: str, options: dict[str, Any], folder: Path) -> Corpus:
    """Assert the contract for source `name` with small `options`; `folder` is scratch. Returns the corpus.

    Checked: the key is stable and holds every default; two builds are equal; columns are described, concepts are
    boolean and neither always on nor always off; a split column, when there is one, has known values and keeps
    documents whole; the saved corpus equals the built one and is reused; unknown options are refused.
    """
    spec = CorpusSpec(source=name, options=options)
    assert spec.key == CorpusSpec(source=name, options=spec.resolved().to_json()).key
    source = spec.resolved()
    first: Corpus = source.build()  # type: ignore[attr-defined]
    second: Corpus = CORPUS_SOURCES.get(name).parse(options).build()
    assert first.digest == second.digest, f"{name}: two builds of one spec differ"
    _check_columns(first)
    _check_split(first)
    save_corpus(first, folder / "saved", key=spec.key)
    assert load_corpus(folder / "saved").digest == first.digest
    made, place = make_corpus(spec, folder / "root")
    assert made.digest == first.digest
    again, same_place = make_corpus(spec, folder / "root")
    assert (again.digest, same_place) == (first.digest, place)
    return first


def _check_columns(corpus: Corpus) -> None:
    for concept in corpus.names_with_role("concept"):
        values = corpus.column(concept)
        assert values.dtype == bool, f"concept {concept} has dtype {values.dtype}"
        assert 0 < values.mean() < 1, f"concept {concept} is constant"
        assert corpus.columns[concept].description, f"concept {concept} is not described"
    for name in corpus.names_with_role("input"):
        assert corpus.column(name).dtype.kind == "i", f"input column {name} is not integer"
    if corpus.targets is not None:
        assert len(corpus.targets) == corpus.n_rows


def _check_split(corpus: Corpus) -> None:
    for split in corpus.names_with_role("split", "row"):
        values = corpus.column(split).astype(str)
        assert set(np.unique(values)) <= SPLITS
        for document in corpus.names_with_role("document", "row"):
            pairs = set(zip(corpus.column(document).astype(str), values, strict=True))
            assert len(pairs) == len({first for first, _ in pairs}), "a document is in two splits"
