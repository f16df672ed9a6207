"""The corpus: columns against the words, concepts against slow readings, splits and determinism."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.core import UsageError
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domains.agreement import CONCEPTS, PAD_ID
from mechscope.corpora.sources.agreement import AgreementSource


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return AgreementSource(n_rows=1200, seed=4).build()


def test_it_is_found_by_name() -> None:
    assert CORPUS_SOURCES.get("agreement") is AgreementSource
    with pytest.raises(UsageError):
        AgreementSource.parse({"n_rows": 0})


def test_rows_are_texts_of_words(corpus: Corpus) -> None:
    assert corpus.kind == "text"
    assert corpus.pad_id == PAD_ID
    assert corpus.n_rows == 1200
    assert PAD_ID not in corpus.tokens.ids
    assert corpus.tokens.lengths.max() <= 64
    assert 35 < corpus.tokens.lengths.mean() < 50


def test_concepts_are_boolean_described_and_neither_rare_nor_common(corpus: Corpus) -> None:
    names = corpus.names_with_role("concept", "token")
    assert names == [concept.name for concept in CONCEPTS]
    assert len(names) >= 10
    for name in names:
        values = corpus.column(name)
        assert values.dtype == bool
        assert 0.008 < values.mean() < 0.15, name
        assert len(corpus.columns[name].description) > 20


def test_no_concept_is_one_token(corpus: Corpus) -> None:
    """However it is chosen, a single current token is far from being the concept."""
    for name in corpus.names_with_role("concept", "token"):
        values = corpus.column(name)
        n_inside = np.bincount(corpus.tokens.ids[values], minlength=len(corpus.vocabulary))
        n_all = np.bincount(corpus.tokens.ids, minlength=len(corpus.vocabulary))
        hits, alarms = n_inside / values.sum(), (n_all - n_inside) / (~values).sum()
        assert (0.5 + (hits - alarms) / 2).max() < 0.8, name


def test_concepts_follow_from_the_tokens_up_to_their_position(corpus: Corpus) -> None:
    """Rows that begin alike have the same concepts as far as they are alike."""
    names = corpus.names_with_role("concept", "token")
    flags = np.stack([corpus.column(name) for name in names], axis=1)
    known: dict[tuple[int, ...], tuple[bool, ...]] = {}
    n_met_again = 0
    for row in range(corpus.n_rows):
        ids = corpus.tokens[row].tolist()
        for at in range(len(ids)):
            truth = tuple(flags[corpus.tokens.indptr[row] + at].tolist())
            n_met_again += tuple(ids[: at + 1]) in known
            assert known.setdefault(tuple(ids[: at + 1]), truth) == truth
    assert n_met_again > 1000


def test_next_is_verb_looks_one_token_ahead(corpus: Corpus) -> None:
    is_verb, next_is_verb = corpus.column("is_verb"), corpus.column("next_is_verb")
    assert np.array_equal(next_is_verb[:-1], is_verb[1:])
    assert not next_is_verb[corpus.tokens.indptr[1:] - 1].any()


def test_the_nuisance_goes_with_sentiment(corpus: Corpus) -> None:
    casual = corpus.column("register") == "casual"
    positive = corpus.column("sentiment_of_text") == "positive"
    assert casual[positive].mean() > 0.65
    assert casual[~positive].mean() < 0.35


def test_splits_are_drawn_for_each_text(corpus: Corpus) -> None:
    shares = {split: float((corpus.column("split") == split).mean()) for split in ("train", "valid", "test")}
    assert shares["train"] == pytest.approx(0.8, abs=0.05)
    assert shares["valid"] == pytest.approx(0.1, abs=0.04)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_same_spec_gives_the_same_corpus_and_a_longer_one_begins_with_it(corpus: Corpus) -> None:
    shorter, again = (AgreementSource(n_rows=150, seed=4).build() for _ in range(2))
    other = AgreementSource(n_rows=150, seed=5).build()
    assert again.digest == shorter.digest
    assert shorter.digest == corpus.select(np.arange(150)).digest
    assert other.digest != shorter.digest
