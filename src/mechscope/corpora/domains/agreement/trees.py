"""Texts of the agreement language as trees of lexical choices, and the words that a tree stands for.

A tree keeps words as lexical entries with their number, never as forms: number, tense and agreement are spelt when it
is written, so that a changed tree stays well-formed. What a tree can still break are the rules in `tree_faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mechscope.corpora.domains.agreement import lexicon as words
from mechscope.corpora.domains.agreement.grammar import MAX_TOKENS, DistractorKind, finite_verb
from mechscope.corpora.domains.agreement.lexicon import Noun, Number, RelativeVerb, Tense, Verb

__all__ = ["Clause", "Name", "NounPhrase", "Phrase", "Sentence", "Text", "tense_at", "tree_faults", "write_words"]

MAX_SENTENCES, MAX_PHRASES, MAX_NAMES = 4, 3, 3


@dataclass(frozen=True)
class Name:
    """A given name with its surname."""

    given: str
    surname: str


@dataclass(frozen=True)
class NounPhrase:
    """A noun with its determiner; `adjective` may be ""."""

    determiner: str
    adjective: str
    noun: Noun
    number: Number


@dataclass(frozen=True)
class Phrase:
    """A distractor between head noun and verb; `verb` is None in a prepositional one."""

    kind: DistractorKind
    word: str
    noun_phrase: NounPhrase
    verb: RelativeVerb | None


@dataclass(frozen=True)
class Clause:
    """A main clause: `verb` None is the copula with `degree` and `adjective`; else an object and perhaps an adverb."""

    subject: Name | NounPhrase
    phrases: tuple[Phrase, ...]
    verb: Verb | None
    degree: str = ""
    adjective: str = ""
    object: Name | NounPhrase | None = None
    adverb: str = ""

    @property
    def number(self) -> Number:
        """What the finite verb agrees with."""
        return "singular" if isinstance(self.subject, Name) else self.subject.number

    @property
    def shape(self) -> str:
        """Distractors / predicate, as in the corpus' column `template`."""
        kinds = "+".join(phrase.kind for phrase in self.phrases) or "bare"
        return f"{kinds}/{'copula' if self.verb is None else 'transitive'}"


@dataclass(frozen=True)
class Sentence:
    """One or two clauses. `time_adverb` is "" where the tense of the sentence before goes on."""

    time_adverb: str
    clauses: tuple[Clause, ...]
    connective: str
    end: str


@dataclass(frozen=True)
class Text:
    """One to four sentences."""

    sentences: tuple[Sentence, ...]

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """All clauses in order."""
        return tuple(clause for sentence in self.sentences for clause in sentence.clauses)


TENSE_OF = {adverb: tense for tense, adverbs in words.TIME_ADVERBS.items() for adverb in adverbs}


def tense_at(time_adverb: str, before: Tense) -> Tense:
    """The tense in a sentence with this time adverb ("" keeps the tense before)."""
    return TENSE_OF.get(time_adverb, before)


def write_words(text: Text) -> list[str]:
    """The words of a text, without begin and end marks."""
    said: list[str] = []
    tense: Tense = "present"
    for sentence in text.sentences:
        tense = tense_at(sentence.time_adverb, tense)
        said.append(sentence.time_adverb)
        for at, clause in enumerate(sentence.clauses):
            said += [sentence.connective] if at else []
            said += _clause_words(clause, tense)
        said.append(sentence.end)
    return [word for word in said if word]


def _clause_words(clause: Clause, tense: Tense) -> Iterator[str]:
    yield from _noun_words(clause.subject)
    for phrase in clause.phrases:
        yield phrase.word
        if phrase.kind == "subject_relative" and phrase.verb is not None:
            yield phrase.verb.form(tense, clause.number)
        yield from _noun_words(phrase.noun_phrase)
        if phrase.kind == "object_relative" and phrase.verb is not None:
            yield phrase.verb.form(tense, phrase.noun_phrase.number)
    yield finite_verb(tense, clause.number, clause.verb)
    if tense == "future":
        yield "be" if clause.verb is None else clause.verb.base
    elif tense == "past" and clause.verb is not None:
        yield clause.verb.ing
    if clause.object is not None:
        yield from _noun_words(clause.object)
    yield from (clause.degree, clause.adjective, clause.adverb)


def _noun_words(phrase: Name | NounPhrase) -> tuple[str, ...]:
    if isinstance(phrase, Name):
        return phrase.given, phrase.surname
    return phrase.determiner, phrase.adjective, phrase.noun.form(phrase.number)


def tree_faults(text: Text) -> list[str]:
    """Which rules of the language a tree breaks, in words: heads, number of distractors, names, length."""
    wrong = [fault for clause in text.clauses for fault in _head_faults(clause)]
    for sentence in text.sentences:
        if len(sentence.clauses) > 1 and len(sentence.clauses[0].phrases) > 1:
            n_phrases = len(sentence.clauses[0].phrases)
            wrong.append(f"a clause with {n_phrases} distractors goes before {sentence.connective!r}: at most one may")
    wrong += _name_faults(text)
    if len(text.sentences) > MAX_SENTENCES:
        wrong.append(f"it has {len(text.sentences)} sentences: at most {MAX_SENTENCES}")
    if (n_tokens := len(write_words(text)) + 2) > MAX_TOKENS:
        wrong.append(f"it has {n_tokens} tokens: at most {MAX_TOKENS}")
    return wrong


def _head_faults(clause: Clause) -> list[str]:
    kinds = [phrase.kind for phrase in clause.phrases]
    wrong = []
    if isinstance(clause.subject, Name):
        return [f"{clause.subject.given} is a name, and names have no distractors"] if kinds else []
    if len(kinds) > MAX_PHRASES:
        wrong.append(f"a subject has {len(kinds)} distractors: at most {MAX_PHRASES}")
    if "subject_relative" in kinds[1:]:
        wrong.append("a distractor with 'who' stands right after the head noun only")
    held_out, noun = clause.subject.noun.held_out, clause.subject.noun.singular
    if held_out == "relative" or not _is_person(clause.subject.noun):
        wrong.append(f"{noun!r} is never the head of a main clause")
    elif held_out == "bare" and kinds:
        wrong.append(f"{noun!r} is a head only without distractors (held out)")
    people = [phrase for phrase in clause.phrases if phrase.kind == "object_relative"]
    wrong += [
        f"{p.noun_phrase.noun.singular!r} is no person, and 'that' needs one"
        for p in people
        if not _is_person(p.noun_phrase.noun)
    ]
    return wrong


def _name_faults(text: Text) -> list[str]:
    nouns = [noun for clause in text.clauses for noun in (clause.subject, clause.object)]
    names = {noun for noun in nouns if isinstance(noun, Name)}
    wrong = []
    if len({name.given for name in names}) < len(names) or len({name.surname for name in names}) < len(names):
        wrong.append("a name comes again with another surname, or a surname with another name")
    elif len(names) > MAX_NAMES:
        wrong.append(f"it has {len(names)} names: at most {MAX_NAMES}")
    return wrong


_PEOPLE = frozenset(noun for topic in words.TOPICS for noun in topic.people)


def _is_person(noun: Noun) -> bool:
    return noun in _PEOPLE
