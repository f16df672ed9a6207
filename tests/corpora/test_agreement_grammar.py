"""The grammar against a second reading of its texts: a small parser that knows only the words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mechscope.core import numpy_generator
from mechscope.corpora.domains.agreement import MAX_TOKENS, TRUTH_COLUMNS, WORDS, Truth, write_text
from mechscope.corpora.domains.agreement import lexicon as words

N_TEXTS = 600
NUMBER_OF = {
    form: number for noun in words.ALL_NOUNS for form, number in ((noun.singular, "singular"), (noun.plural, "plural"))
}
NOUN_OF = {form: noun for noun in words.ALL_NOUNS for form in (noun.singular, noun.plural)}
TOPIC_OF = {
    word: topic.name
    for topic in words.TOPICS
    for word in (
        *(form for noun in (*topic.people, *topic.things) for form in (noun.singular, noun.plural)),
        *(form for verb in topic.verbs for form in (verb.base, verb.third, verb.ing)),
        *topic.positive,
        *topic.negative,
    )
}
SENTIMENT_OF = {
    **{word: "positive" for topic in words.TOPICS for word in topic.positive},
    **{word: "negative" for topic in words.TOPICS for word in topic.negative},
    **{word: kind for kind, group in words.GENERAL_ADJECTIVES.items() for word in group},
    **{word: kind for kind, group in words.ADVERBS.items() for word in group},
}
TENSE_OF = {word: tense for tense, group in words.TIME_ADVERBS.items() for word in group}
SINGULAR_VERBS = {"is", "was"} | {verb.third for topic in words.TOPICS for verb in topic.verbs}
PLURAL_VERBS = {"are", "were"} | {verb.base for topic in words.TOPICS for verb in topic.verbs}
PAST_RELATIVE = {verb.past for verb in words.RELATIVE_VERBS}
PRESENT_RELATIVE = {
    form: n for verb in words.RELATIVE_VERBS for form, n in ((verb.third, "singular"), (verb.base, "plural"))
}


@pytest.fixture(scope="module")
def texts() -> list[Truth]:
    return [write_text(numpy_generator(11, "test", index))[0] for index in range(N_TEXTS)]


def clauses(text: Truth) -> list[list[int]]:
    """Positions of each clause: split at end marks and connectives, time adverbs and marks left out."""
    found: list[list[int]] = [[]]
    for at, word in enumerate(text.words):
        if word in {".", "!", *words.CONNECTIVES}:
            found.append([])
        elif word not in {"<bos>", "<eos>"} and word not in TENSE_OF:
            found[-1].append(at)
    return [clause for clause in found if clause]


def test_every_word_is_in_the_vocabulary_once() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert 300 <= len(WORDS) <= 600


def test_texts_have_the_promised_shape(texts: list[Truth]) -> None:
    for text in texts:
        assert len(text.words) <= MAX_TOKENS
        assert (text.words[0], text.words[-1]) == ("<bos>", "<eos>")
        assert set(text.words) <= set(WORDS)
        assert {len(values) for values in text.columns.values()} == {len(text.words)}
        assert set(text.columns) == set(TRUTH_COLUMNS)
    sentences = Counter(sum(word in {".", "!"} for word in text.words) for text in texts)
    assert set(sentences) <= {1, 2, 3, 4}
    assert sentences[1] < 0.02 * N_TEXTS


def test_one_topic_and_one_sentiment_a_text_and_known_from_the_first_word_that_shows_them(texts: list[Truth]) -> None:
    for text in texts:
        for column, table in (("topic", TOPIC_OF), ("sentiment", SENTIMENT_OF)):
            known = "none"
            for at, word in enumerate(text.words):
                if word in table:
                    assert known in {"none", table[word]}
                    known = table[word]
                assert text.columns[column][at] == known


def test_the_latest_time_adverb_sets_the_tense(texts: list[Truth]) -> None:
    for text in texts:
        tense = "none"
        for at, word in enumerate(text.words):
            tense = TENSE_OF.get(word, tense)
            assert text.columns["tense"][at] == tense
            if text.columns["is_verb"][at]:
                assert (word in {"was", "were"}, word == "will") == (tense == "past", tense == "future")
            if word in PAST_RELATIVE | set(PRESENT_RELATIVE):
                assert (word in PAST_RELATIVE) == (tense == "past")


def test_the_verb_agrees_with_the_first_noun_of_its_clause_whatever_stands_between(texts: list[Truth]) -> None:
    seen: Counter[tuple[int, str]] = Counter()
    for text in texts:
        for clause in clauses(text):
            verb_at = next(at for at in clause if text.columns["is_verb"][at])
            subject = [text.words[at] for at in clause if at < verb_at]
            nouns = [word for word in subject if word in NUMBER_OF]
            number = NUMBER_OF[nouns[0]] if nouns else "singular"
            assert text.columns["head_number"][verb_at] == number
            if text.words[verb_at] != "will":
                assert text.words[verb_at] in (SINGULAR_VERBS if number == "singular" else PLURAL_VERBS)
            before = verb_at - 1
            assert text.columns["n_distractors"][before] == max(len(nouns) - 1, 0)
            assert text.columns["last_noun_number"][before] == (NUMBER_OF[nouns[-1]] if nouns else "singular")
            assert text.columns["expects"][before] == "verb"
            assert all(text.columns["n_distractors"][at] == 0 for at in clause if at >= verb_at)
            seen[len(nouns), number] += 1
    assert all(seen[n, number] > 10 for n in range(1, 5) for number in ("singular", "plural"))


def test_the_verb_of_a_relative_clause_agrees_with_its_own_subject(texts: list[Truth]) -> None:
    n_checked = 0
    for text in texts:
        for clause in clauses(text):
            spoken = [text.words[at] for at in clause]
            for i, word in enumerate(spoken):
                if word not in PRESENT_RELATIVE:
                    continue
                opener = max(j for j in range(i) if spoken[j] in {"who", "that"})
                before = spoken[:opener] if spoken[opener] == "who" else spoken[opener:i]
                subject = next(w for w in (before if spoken[opener] == "who" else reversed(before)) if w in NUMBER_OF)
                assert PRESENT_RELATIVE[word] == NUMBER_OF[subject]
                assert text.columns["relative_subject_number"][clause[i] - 1] == NUMBER_OF[subject]
                assert text.columns["expects"][clause[i] - 1] == "relative_verb"
                n_checked += 1
    assert n_checked > 50


def test_distractor_phrases_are_marked_from_their_first_word_to_their_last(texts: list[Truth]) -> None:
    for text in texts:
        for clause in clauses(text):
            verb_at = next(at for at in clause if text.columns["is_verb"][at])
            subject = [at for at in clause if at < verb_at]
            opened = [at for at in subject if text.words[at] in {"that", "who", *words.PREPOSITIONS}]
            marked = [at for at in clause if text.columns["in_distractor"][at]]
            assert marked == ([at for at in subject if at >= opened[0]] if opened else [])


def test_a_given_name_that_comes_again_brings_its_surname_again(texts: list[Truth]) -> None:
    mentions: Counter[str] = Counter()
    for text in texts:
        surname_of: dict[str, str] = {}
        for at, word in enumerate(text.words):
            if word in words.GIVEN_NAMES:
                mention = "repeat" if word in surname_of else "first"
                assert text.columns["induction"][at] == mention
                assert surname_of.setdefault(word, text.words[at + 1]) == text.words[at + 1]
                mentions[mention] += 1
            else:
                assert text.columns["induction"][at] == "none"
    assert min(mentions.values()) > 100


def test_held_out_nouns_stay_out_of_their_constructions(texts: list[Truth]) -> None:
    heads: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for text in texts:
        for clause in clauses(text):
            verb_at = next(at for at in clause if text.columns["is_verb"][at])
            nouns = [text.words[at] for at in clause if at < verb_at and text.words[at] in NOUN_OF]
            if nouns:
                held_out = NOUN_OF[nouns[0]].held_out
                heads[held_out] += 1
                assert held_out == "no" or (held_out == "bare" and len(nouns) == 1)
            others.update(NOUN_OF[word].held_out for word in nouns[1:])
    assert heads["bare"] > 20
    assert others["relative"] > 20


def test_a_text_depends_on_its_generator_alone() -> None:
    first, second = (write_text(np.random.default_rng(3)) for _ in range(2))
    assert first[0].words == second[0].words
    assert first[0].columns == second[0].columns
    assert first[2] == second[2]
