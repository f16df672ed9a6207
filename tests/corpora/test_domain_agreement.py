from __future__ import annotations

import itertools
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora import Corpus, Ragged
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_rows import row_contexts
from mechscope.corpora.domains.agreement import BOS_ID, EOS_ID, WORD_IDS, WORDS
from mechscope.corpora.domains.agreement import lexicon as lx
from mechscope.corpora.domains.agreement.domain import AgreementDomain
from mechscope.corpora.domains.agreement.reading import read_words
from mechscope.corpora.domains.agreement.trees import write_words
from mechscope.corpora.sources.agreement import AgreementSource

DOMAIN = AgreementDomain()
CORPUS = AgreementSource(n_rows=500, seed=3).build()
CONTEXTS = row_contexts(CORPUS, np.arange(CORPUS.n_rows))
NUMBERS: tuple[lx.Number, ...] = ("singular", "plural")


def either(options: object) -> str:
    return "(?:" + "|".join(re.escape(str(option)) for option in sorted(set(options))) + ")"  # type: ignore[call-overload]


@cache
def sentence_pattern(tense: lx.Tense) -> re.Pattern[str]:
    """One sentence of a tense as a regular expression over its words: the grammar without any of the package's code."""
    verbs = [verb for topic in lx.TOPICS for verb in topic.verbs]
    people = [noun for topic in lx.TOPICS for noun in topic.people]
    adjectives = [w for group in lx.GENERAL_ADJECTIVES.values() for w in group]
    adjectives += [w for topic in lx.TOPICS for w in (*topic.positive, *topic.negative)]
    adjective = either(adjectives)
    degree = f"(?:{either((*lx.CASUAL_DEGREES, *lx.FORMAL_DEGREES))} )?"
    adverb = f"(?: {either(w for group in lx.ADVERBS.values() for w in group)})?"
    name = f"{either(lx.GIVEN_NAMES)} {either(lx.SURNAMES)}"
    det = {n: either(("the", *lx.DETERMINERS[n])) for n in NUMBERS}
    any_noun = {n: either(noun.form(n) for noun in lx.ALL_NOUNS) for n in NUMBERS}
    person = {n: either(noun.form(n) for noun in people) for n in NUMBERS}
    rel = {n: either(verb.form(tense, n) for verb in lx.RELATIVE_VERBS) for n in NUMBERS}
    np_any = "(?:" + "|".join(f"{det[n]} {any_noun[n]}" for n in NUMBERS) + ")"
    that = "(?:" + "|".join(f"that {det[n]} {person[n]} {rel[n]}" for n in NUMBERS) + ")"
    phrase = f"(?:{either(lx.PREPOSITIONS)} {np_any}|{that})"
    obj = "(?:" + "|".join([name, *(f"{det[n]} (?:{adjective} )?{any_noun[n]}" for n in NUMBERS)]) + ")"
    copula = {"present": {"singular": "is", "plural": "are"}, "past": {"singular": "was", "plural": "were"}}

    def predicate(number: lx.Number) -> str:
        be = "will be" if tense == "future" else copula[tense][number]
        if tense == "present":
            do = either(verb.present(number) for verb in verbs)
        elif tense == "past":
            do = f"{be} {either(verb.ing for verb in verbs)}"
        else:
            do = f"will {either(verb.base for verb in verbs)}"
        return f"(?:{be} {degree}{adjective}|{do} {obj}{adverb})"

    def clause(most: int) -> str:
        ways = [f"{name} {predicate('singular')}"]
        for n in NUMBERS:
            free = either(noun.form(n) for noun in people if noun.held_out == "no")
            bare = either(noun.form(n) for noun in people if noun.held_out == "bare")
            who = f"who {rel[n]} {np_any}"
            begin = f"{det[n]} (?:{adjective} )?"
            dressed = f"(?: (?:{who}|{phrase})(?: {phrase}){{0,{most - 1}}})?"
            ways.append(f"{begin}(?:{free}{dressed}|{bare}) {predicate(n)}")
        return "(?:" + "|".join(ways) + ")"

    two = f"{clause(1)} {either(lx.CONNECTIVES)} {clause(3)}"
    return re.compile(f"(?:{clause(3)}|{two}) [.!]")


def slow_legality(said: list[str]) -> bool:
    """The grammar by regular expressions and sets of words, sentence by sentence."""
    tense: lx.Tense | None = None
    sentences = re.findall(r"[^.!]*[.!]", " ".join(said) + " ")
    if not 1 <= len(sentences) <= 4 or "".join(sentences).strip() != " ".join(said) or len(said) > 62:
        return False
    for sentence in sentences:
        first, _, rest = sentence.strip().partition(" ")
        found = [t for t in lx.TENSES if first in lx.TIME_ADVERBS[t]]
        tense, sentence = (found[0], rest) if found else (tense, sentence.strip())
        if tense is None or not sentence_pattern(tense).fullmatch(sentence):
            return False
    topical = [
        {form for noun in (*t.people, *t.things) for form in (noun.singular, noun.plural)}
        | {form for verb in t.verbs for form in (verb.base, verb.third, verb.ing)}
        | {*t.positive, *t.negative}
        for t in lx.TOPICS
    ]
    evaluating = [{*lx.GENERAL_ADJECTIVES[s], *lx.ADVERBS[s]} for s in lx.SENTIMENTS]
    evaluating[0] |= {w for t in lx.TOPICS for w in t.positive}
    evaluating[1] |= {w for t in lx.TOPICS for w in t.negative}
    pairs = {(a, b) for a, b in itertools.pairwise(said) if a in lx.GIVEN_NAMES}
    names_hold = len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) <= 3
    counts = [sum(not words.isdisjoint(said) for words in groups) for groups in (topical, evaluating)]
    return names_hold and max(counts) <= 1


def words_of(context: Context) -> list[str]:
    return [WORDS[token] for token in context.tokens[1:-1]]


def test_every_row_is_legal_and_reads_back() -> None:
    for context in CONTEXTS:
        assert DOMAIN.faults(context) == []
        assert slow_legality(words_of(context))
        assert write_words(read_words(words_of(context))) == words_of(context)
        assert DOMAIN.parse(DOMAIN.render(context)) == context
        assert DOMAIN.group(context, "template") == CORPUS.column("template")[context.row]
        assert DOMAIN.group(context, "topic_of_text") in {"", CORPUS.column("topic_of_text")[context.row]}
        sentiment = CORPUS.column("sentiment_of_text")[context.row]
        shown = DOMAIN.families["sentiment"].rung_name(DOMAIN.rung(context, "sentiment"))
        assert shown in {"absent", sentiment}


def test_rungs_agree_with_the_truth_written_while_the_text_was_made() -> None:
    truth = {name: CORPUS.column(name) for name in ("head_number", "tense", "n_distractors", "is_verb", "expects")}
    for context in CONTEXTS:
        start, end = CORPUS.tokens.indptr[context.row : context.row + 2]
        verb = start + int(np.argmax(truth["is_verb"][start:end]))
        assert DOMAIN.families["number"].rung_name(DOMAIN.rung(context, "number")) == truth["head_number"][verb]
        assert DOMAIN.families["tense"].rung_name(DOMAIN.rung(context, "tense")) == truth["tense"][verb]
        assert DOMAIN.rung(context, "distractors") == truth["n_distractors"][verb - 1]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_the_acceptor_agrees_with_a_regular_expression_on_broken_texts(data: st.DataObject) -> None:
    said = words_of(CONTEXTS[data.draw(st.integers(0, len(CONTEXTS) - 1))])
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(said) - 1))
        change = data.draw(st.sampled_from(["swap", "kin", "drop", "repeat", "move"]))
        if change == "swap":
            said[at] = data.draw(st.sampled_from(WORDS[4:]))
        elif change == "kin":  # a word near it in the lexicon: another form, number, tense or sentiment
            said[at] = WORDS[min(max(4, WORD_IDS[said[at]] + data.draw(st.integers(-3, 3))), len(WORDS) - 1)]
        elif change == "drop" and len(said) > 1:
            del said[at]
        elif change == "repeat":
            said.insert(at, said[at])
        else:
            said.insert(data.draw(st.integers(0, len(said) - 1)), said.pop(at))
    context = DOMAIN.parse(" ".join(said))
    assert DOMAIN.is_legal(context) == slow_legality(said), DOMAIN.faults(context)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_neighbour_is_legal_and_differs_as_its_name_says(data: st.DataObject) -> None:
    context = CONTEXTS[data.draw(st.integers(0, len(CONTEXTS) - 1))]
    found = dict(DOMAIN.neighbours(context))
    assert {"! off -> on", "! on -> off"} & set(found)
    assert len(set(found.values())) == len(found)
    for step, neighbour in found.items():
        assert slow_legality(words_of(neighbour)), (step, DOMAIN.render(neighbour))
        assert neighbour != context
        assert neighbour.row == context.row
        what, change = step.split(" ", 1)
        before, after = change.split(" -> ")
        for family in DOMAIN.families.values():
            rungs = [family.rung_name(DOMAIN.rung(c, family.name)) for c in (context, neighbour)]
            assert rungs == ([before, after] if family.name == what else [rungs[0]] * 2), step
        for binary in DOMAIN.binaries:
            assert (DOMAIN.has(context, binary) != DOMAIN.has(neighbour, binary)) == (binary == what)
        topics = [DOMAIN.group(c, "topic_of_text") for c in (context, neighbour)]
        if what == "topic_of_text":
            assert topics == [before, after]
        elif topics[0] not in {"", topics[1]}:  # its topic lay in its adjectives alone, and no neutral one has any
            assert (what, after, topics[1]) == ("sentiment", "neutral", "")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_there_and_back(data: st.DataObject) -> None:
    context = CONTEXTS[data.draw(st.integers(0, len(CONTEXTS) - 1))]
    family = data.draw(st.sampled_from(["number", "tense", "sentiment", "distractors"]))
    here = DOMAIN.rung(context, family)
    there = data.draw(st.sampled_from(DOMAIN.families[family].rungs))
    try:
        changed = DOMAIN.substitute(context, rungs={family: there})
    except UsageError:
        return
    assert slow_legality(words_of(changed))
    assert DOMAIN.rung(changed, family) == there
    back = DOMAIN.substitute(changed, rungs={family: here})
    assert DOMAIN.rung(back, family) == here
    gains = family == "distractors" and there < here  # the distractors that went were others than those that come
    narrows = family == "sentiment" and 2 in {here, there}  # six neutral adjectives stand against seven
    assert back == context or gains or narrows


BASE = "today the cook near two plates is so happy ! zora grunard stirs the tasty pans ."


def swapped(adverb: str, copula: str, verb: str) -> str:
    return BASE.replace("today", adverb).replace(" is ", f" {copula} ").replace("stirs", verb)


def changed(**changes: Any) -> str:
    return DOMAIN.render(DOMAIN.substitute(DOMAIN.parse(BASE), **changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rungs": {"number": 2}}, BASE.replace("cook near two plates is", "cooks near two plates are")),
        ({"rungs": {"tense": 1}}, swapped("yesterday", "was", "was stirring")),
        ({"rungs": {"tense": 3}}, swapped("tomorrow", "will be", "will stir")),
        ({"rungs": {"distractors": 0}}, BASE.replace("near two plates ", "")),
        ({"rungs": {"distractors": 2}}, BASE.replace("two plates ", "two plates beside the plate ")),
        ({"rungs": {"sentiment": 1}}, BASE.replace("happy", "sad").replace("tasty", "rotten")),
        ({"rungs": {"sentiment": 2}}, BASE.replace("happy", "young").replace("tasty", "usual")),
        ({"binaries": {"!": False}}, BASE.replace("!", ".")),
        ({"binaries": {"so": False}}, BASE.replace("so ", "")),
        ({"binaries": {"so": False, "quite": True}}, BASE.replace("so ", "quite ")),
        ({"tokens_off": [WORD_IDS["so"]], "tokens_on": [WORD_IDS["rather"]]}, BASE.replace("so ", "rather ")),
        (
            {"groups": {"topic_of_text": "sea"}},
            "today the sailor near two nets is so happy ! zora grunard steers the calm ropes .",
        ),
    ],
)  # fmt: skip
def test_words_are_swapped_in_place(changes: dict[str, Any], expected: str) -> None:
    assert changed(**changes) == expected


@pytest.mark.parametrize(
    ("text", "changes", "rule"),
    [
        ("today zora grunard is happy .", {"rungs": {"number": 2}}, "names are singular"),
        ("today zora grunard is happy .", {"rungs": {"distractors": 1}}, "names have no distractors"),
        ("today the maid is happy .", {"rungs": {"distractors": 1}}, "'maid' is a head only without distractors"),
        (
            "today a cook is sad and a cook is sad .",
            {"rungs": {"distractors": 2}},
            "goes before 'and': at most one may",
        ),
        ("today a cook stirs a pan .", {"rungs": {"sentiment": 3}}, "no adjective and no adverb"),
        ("today a cook stirs a pan .", {"rungs": {"tense": 0}}, "tense cannot be absent"),
        ("today a cook stirs a pan .", {"rungs": {"tense": 4}}, "tense has no rung 4"),
        ("today a cook stirs a pan .", {"binaries": {"so": True}}, "no such adjective"),
        (BASE, {"binaries": {"quite": True}}, "'so' stands there already"),
        (BASE, {"tokens_off": [WORD_IDS["cook"]]}, "'cook' cannot be switched"),
        (BASE, {"tokens_on": [5000]}, "'token 5000' cannot be switched"),
        (BASE, {"tokens_on": [WORD_IDS["so"]], "tokens_off": [WORD_IDS["so"]]}, "contradict each other"),
        (BASE, {"binaries": {"so": True}, "tokens_off": [WORD_IDS["so"]]}, "contradict each other"),
        ("today the cook are happy .", {"rungs": {"number": 2}}, "a present verb of a singular subject must stand"),
    ],
)
def test_illegal_changes_name_the_rule(text: str, changes: dict[str, Any], rule: str) -> None:
    for _ in range(2):  # the second time from memory
        with pytest.raises(UsageError) as caught:
            DOMAIN.substitute(DOMAIN.parse(text), **changes)
        assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("the cook is happy .", "a time adverb must stand"),
        ("today the cook is happy", "it ends after 5 words where the end of the sentence"),
        ("today these cook are happy .", "word 3 is 'cook' where a plural noun after 'these'"),
        ("today the cook likes the pan .", "word 4 is 'likes'"),
        ("today the oven is happy .", "'oven' is never the head"),
        ("today the guest is happy .", "'guest' is never the head"),
        ("today the cook near the pan who likes the pan is happy .", "'who' stands right after the head noun"),
        ("today the cook that the pan likes is happy .", "'pan' is no person"),
        ("today the cook pulls the pan .", "kitchen and sea"),
        ("today the cook is happy . the cook is sad .", "positive and negative words"),
        ("today zora grunard is happy . zora shevard is happy .", "another surname"),
        ("today the cook is happy . " + "the cook is happy . " * 4, "5 sentences: at most 4"),
        ("", "a time adverb must stand"),
    ],
)
def test_faults_are_said_in_words(text: str, fault: str) -> None:
    context = DOMAIN.parse(text)
    assert fault in "; ".join(DOMAIN.faults(context))
    assert not slow_legality(text.split())
    assert DOMAIN.parse(DOMAIN.render(context)) == context


def test_marks_and_strange_tokens() -> None:
    middle = DOMAIN.parse("today the cook is happy .").tokens[1:-1]
    for tokens in (middle, (BOS_ID, *middle), (*middle, EOS_ID), ()):
        assert "does not begin with <bos> and end with <eos>" in DOMAIN.faults(Context(tokens))[0]
    assert "no token 9999" in DOMAIN.faults(Context((BOS_ID, 9999, EOS_ID)))[0]
    assert DOMAIN.render(Context((BOS_ID, 9999, EOS_ID))) == "<9999>"
    with pytest.raises(UsageError, match="illegal"):
        DOMAIN.rung(Context(middle), "number")


def test_unknown_names_offer_the_nearest() -> None:
    context = DOMAIN.parse(BASE)
    with pytest.raises(NotFoundError, match="did you mean 'cook'"):
        DOMAIN.parse("today the coook is happy .")
    cases: list[dict[str, Any]] = [
        {"rungs": {"tenses": 1}},
        {"binaries": {"sso": True}},
        {"groups": {"topic_of_text": "see"}},
        {"groups": {"template": "bare/copula"}},
    ]
    for case in cases:
        with pytest.raises(NotFoundError):
            DOMAIN.substitute(context, **case)
    for ask in (DOMAIN.rung, DOMAIN.has, DOMAIN.group):
        with pytest.raises(NotFoundError):
            ask(context, "nothing_such")


def test_a_text_without_a_topic_has_none() -> None:
    context = DOMAIN.parse("today zora grunard is good .")
    assert DOMAIN.group(context, "topic_of_text") == ""
    assert DOMAIN.substitute(context, groups={"topic_of_text": "sea"}) == context
    assert not any(step.startswith("topic") for step, _ in DOMAIN.neighbours(context))


def test_only_its_own_vocabulary() -> None:
    assert AgreementDomain.of(CORPUS).families.keys() == DOMAIN.families.keys()
    with pytest.raises(BadDataError, match="vocabulary of 2 tokens"):
        AgreementDomain.of(Corpus("other", "text", Ragged.from_rows([[0]]), ("a", "b")))


def test_the_templates_are_all_there_are() -> None:
    assert len(DOMAIN.groups["template"]) == 44 == len(set(DOMAIN.groups["template"]))
    assert set(CORPUS.column("template").tolist()) <= set(DOMAIN.groups["template"])
