"""Reads a text of the agreement language back into its tree: the acceptor of the grammar, one word ahead."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NoReturn

from mechscope.core import BadDataError
from mechscope.corpora.domains.agreement import lexicon as words
from mechscope.corpora.domains.agreement.grammar import DistractorKind
from mechscope.corpora.domains.agreement.lexicon import Number, RelativeVerb, Tense, Verb
from mechscope.corpora.domains.agreement.trees import Clause, Name, NounPhrase, Phrase, Sentence, Text, tense_at

__all__ = ["read_words"]

NUMBERS: tuple[Number, ...] = ("singular", "plural")
NOUNS = {noun.form(number): (noun, number) for noun in words.ALL_NOUNS for number in NUMBERS}
FORMS = {number: frozenset(noun.form(number) for noun in words.ALL_NOUNS) for number in NUMBERS}
VERBS = tuple(verb for topic in words.TOPICS for verb in topic.verbs)
ADJECTIVES = frozenset(
    word
    for group in (
        *words.GENERAL_ADJECTIVES.values(),
        *(t.positive for t in words.TOPICS),
        *(t.negative for t in words.TOPICS),
    )
    for word in group
)
ADVERBS = frozenset(word for group in words.ADVERBS.values() for word in group)
TIME_ADVERBS = frozenset(word for group in words.TIME_ADVERBS.values() for word in group)
DETERMINER_NUMBERS: dict[str, Number | None] = {
    "the": None,
    **{word: number for number in NUMBERS for word in words.DETERMINERS[number]},
}
DEGREES = frozenset({*words.CASUAL_DEGREES, *words.FORMAL_DEGREES})
OPENERS: dict[str, DistractorKind] = {
    **dict.fromkeys(words.PREPOSITIONS, "prepositional"),
    "that": "object_relative",
    "who": "subject_relative",
}
COPULAS = {"past": {"was": "singular", "were": "plural"}, "present": {"is": "singular", "are": "plural"}}
RELATIVE_FORMS = {
    (tense, number): {verb.form(tense, number): verb for verb in words.RELATIVE_VERBS}
    for tense in words.TENSES
    for number in NUMBERS
}
INGS = {verb.ing: verb for verb in VERBS}
BASES = {verb.base: verb for verb in VERBS}
AFTER_WILL = frozenset({*BASES, "be"})
THIRDS = {verb.third: verb for verb in VERBS}


def read_words(said: Sequence[str]) -> Text:
    """The tree of a text without begin and end marks.

    Raises BadDataError at the first word that the grammar does not let follow; its number is said, from 1.
    """
    return _Reader(said).text()


class _Reader:
    def __init__(self, said: Sequence[str]) -> None:
        self.said, self.at = said, 0
        self.tense: Tense = "present"

    @property
    def next(self) -> str:
        return self.said[self.at] if self.at < len(self.said) else ""

    def fail(self, expected: str) -> NoReturn:
        seen = f"word {self.at + 1} is {self.next!r}" if self.next else f"it ends after {len(self.said)} words"
        raise BadDataError(f"{seen} where {expected} must stand", expected=expected, todo="correct the text")

    def take(self, known: Container[str], expected: str) -> str:
        word = self.next
        if not word or word not in known:
            self.fail(expected)
        self.at += 1
        return word

    def maybe(self, known: Container[str]) -> str:
        word = self.next
        if not word or word not in known:
            return ""
        self.at += 1
        return word

    def text(self) -> Text:
        sentences = [self.sentence(is_first=True)]
        while self.next:
            sentences.append(self.sentence(is_first=False))
        return Text(tuple(sentences))

    def sentence(self, *, is_first: bool) -> Sentence:
        adverb = self.take(TIME_ADVERBS, "a time adverb") if is_first else self.maybe(TIME_ADVERBS)
        self.tense = tense_at(adverb, self.tense)
        clauses = [self.clause()]
        connective = self.maybe(words.CONNECTIVES)
        if connective:
            clauses.append(self.clause())
        return Sentence(adverb, tuple(clauses), connective, self.take((".", "!"), "the end of the sentence"))

    def clause(self) -> Clause:
        subject = self.noun_or_name()
        phrases: list[Phrase] = []
        number: Number = "singular" if isinstance(subject, Name) else subject.number
        while self.next in OPENERS:
            phrases.append(self.phrase(number))
        verb = self.verb(number)
        if verb is None:
            degree = self.maybe(DEGREES)
            return Clause(subject, tuple(phrases), None, degree, self.take(ADJECTIVES, "an adjective"))
        return Clause(subject, tuple(phrases), verb, object=self.noun_or_name(), adverb=self.maybe(ADVERBS))

    def noun_or_name(self) -> Name | NounPhrase:
        given = self.maybe(words.GIVEN_NAMES)
        if given:
            return Name(given, self.take(words.SURNAMES, "a surname"))
        return self.noun_phrase("a determiner or a name", may_have_adjective=True)

    def noun_phrase(self, expected: str, *, may_have_adjective: bool) -> NounPhrase:
        determiner = self.take(DETERMINER_NUMBERS, expected)
        adjective = self.maybe(ADJECTIVES) if may_have_adjective else ""
        shown = DETERMINER_NUMBERS[determiner]
        kind = "a noun" if shown is None else f"a {shown} noun after {determiner!r}"
        noun, number = NOUNS[self.take(NOUNS if shown is None else FORMS[shown], kind)]
        return NounPhrase(determiner, adjective, noun, number)

    def phrase(self, head_number: Number) -> Phrase:
        word = self.next
        self.at += 1
        kind = OPENERS[word]
        verb = self.relative_verb(head_number) if kind == "subject_relative" else None
        noun_phrase = self.noun_phrase("a determiner", may_have_adjective=False)
        if kind == "object_relative":
            verb = self.relative_verb(noun_phrase.number)
        return Phrase(kind, word, noun_phrase, verb)

    def relative_verb(self, number: Number) -> RelativeVerb:
        forms = RELATIVE_FORMS[self.tense, number]
        form = "past" if self.tense == "past" else number
        return forms[self.take(forms, f"a relative clause's {form} verb")]

    def verb(self, number: Number) -> Verb | None:
        """The verb group of a main clause; None for the copula."""
        expected = f"a {self.tense} verb of a {number} subject"
        if self.tense == "future":
            self.take(("will",), expected)
            base = self.take(AFTER_WILL, "a verb after 'will'")
            return None if base == "be" else BASES[base]
        copulas = [word for word, of_number in COPULAS[self.tense].items() if of_number == number]
        present = THIRDS if number == "singular" else BASES
        finite = self.take([*copulas, *(present if self.tense == "present" else ())], expected)
        if self.tense == "present":
            return None if finite in copulas else present[finite]
        ing = self.maybe(INGS)
        return INGS[ing] if ing else None
