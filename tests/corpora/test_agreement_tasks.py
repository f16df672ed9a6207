"""Minimal pairs and the tokenizer."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domains.agreement import (
    PROBING_TASKS,
    UNK_ID,
    WORDS,
    AgreementTaskSpec,
    agreement_items,
    encode_words,
    make_tokenizer,
    minimal_pairs,
    probing_samples,
)
from mechscope.corpora.domains.agreement import lexicon as words
from mechscope.corpora.domains.agreement.lexicon import HeldOut
from mechscope.corpora.sources.agreement import AgreementSource

NUMBER_OF = {
    form: number for noun in words.ALL_NOUNS for form, number in ((noun.singular, "singular"), (noun.plural, "plural"))
}
HELD_OUT = {form: noun.held_out for noun in words.ALL_NOUNS for form in (noun.singular, noun.plural)}


def test_the_members_of_a_pair_differ_in_the_head_noun_alone_and_swap_their_verbs() -> None:
    pairs = minimal_pairs(AgreementTaskSpec(n_pairs=25, seed=1))
    assert len(pairs) == 100
    for pair in pairs:
        one, many = pair.singular, pair.plural
        differing = [i for i, (a, b) in enumerate(zip(one.words, many.words, strict=True)) if a != b]
        assert differing == [one.head_position] == [many.head_position]
        assert (one.correct_id, one.incorrect_id) == (many.incorrect_id, many.correct_id)
        assert (one.number, many.number) == ("singular", "plural")


@pytest.mark.parametrize("heads", ["no", "bare", "relative"])
def test_items_have_the_heads_and_the_distractors_that_were_asked_for(heads: HeldOut) -> None:
    items = agreement_items(AgreementTaskSpec(n_pairs=20, heads=heads, distractors="other", seed=2))
    for item in items:
        nouns = [word for word in item.words if word in NUMBER_OF]
        assert HELD_OUT[item.head] == heads
        assert item.head == nouns[0]
        assert len(nouns) - 1 == item.n_distractors
        assert all(NUMBER_OF[noun] != item.number for noun in nouns[1:])
        assert item.words[item.head_position - 1] == "the"
        assert "who" not in item.words
        assert item.ids == tuple(encode_words(item.words))
    assert {item.n_distractors for item in items} == {0, 1, 2, 3}


def test_the_correct_form_has_the_number_of_the_head() -> None:
    singular_forms = {"is", "was"} | {verb.third for topic in words.TOPICS for verb in topic.verbs}
    for item in agreement_items(AgreementTaskSpec(n_pairs=30, seed=3)):
        assert (WORDS[item.correct_id] in singular_forms) == (item.number == "singular")
        assert (WORDS[item.incorrect_id] in singular_forms) == (item.number == "plural")
        assert (WORDS[item.correct_id] in {"was", "were"}) == (item.tense == "past")


def test_the_same_spec_gives_the_same_items() -> None:
    spec = AgreementTaskSpec(n_pairs=5, seed=7)
    assert agreement_items(spec) == agreement_items(spec)
    assert agreement_items(spec) != agreement_items(spec.updated(seed=8))


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one pair"):
        minimal_pairs(AgreementTaskSpec(n_pairs=0))


def test_the_tokenizer_splits_at_spaces_and_knows_every_word() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.encode(" ".join(WORDS), add_special_tokens=False).ids == list(range(len(WORDS)))
    assert tokenizer.encode("the xylophone").ids == [*encode_words(["<bos>", "the"]), UNK_ID]


def test_an_unknown_word_is_refused_by_the_word_list() -> None:
    with pytest.raises(BadDataError, match="xylophone"):
        encode_words(["the", "xylophone"])


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return AgreementSource(n_rows=400, seed=6).build()


@pytest.mark.parametrize("name", sorted(PROBING_TASKS))
def test_probing_samples_are_where_their_columns_say(corpus: Corpus, name: str) -> None:
    samples = probing_samples(corpus, name)
    values = corpus.column(PROBING_TASKS[name].column)
    for row, pos, label, token_id in zip(samples.row, samples.pos, samples.label, samples.token_id, strict=True):
        assert str(values[corpus.tokens.indptr[row] + pos]) == label
        assert corpus.tokens[row][pos] == token_id
    assert np.array_equal(samples.document, corpus.column("document")[samples.row])
    assert len(set(samples.label)) >= 2
    assert "none" not in samples.label
    assert (samples.split == "test").sum() > 20


@pytest.mark.parametrize("name", sorted(PROBING_TASKS))
def test_no_probing_label_is_read_off_the_token(corpus: Corpus, name: str) -> None:
    """The commonest label of each token type leaves a clear share of the positions wrong."""
    samples = probing_samples(corpus, name)
    n_best = sum(
        np.unique(samples.label[samples.token_id == token], return_counts=True)[1].max()
        for token in np.unique(samples.token_id)
    )
    assert n_best / len(samples.label) < 0.9


def test_an_unknown_probing_task_is_named_with_the_nearest(corpus: Corpus) -> None:
    with pytest.raises(NotFoundError, match="sentiment"):
        probing_samples(corpus, "sentimant")
