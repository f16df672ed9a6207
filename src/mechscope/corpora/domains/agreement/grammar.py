"""The probabilistic grammar of the agreement language.

    text      -> sentence sentence [sentence [sentence]]          one topic, sentiment and register a text
    sentence  -> [time adverb] clause [connective clause] end     the latest time adverb fixes the tense
    clause    -> subject predicate
    subject   -> determiner [adjective] noun distractor{0..3} | given-name surname
    distractor-> preposition np | "that" np verb | "who" verb np  "who ..." only right after the head
    predicate -> be [degree] adjective | verb object [adverb]     finite verb agrees with the head noun

The finite verb agrees with the head noun, whatever stands between. A given name is always followed by the surname it
had at its first mention in the same text. Adjectives, adverbs: one sentiment a text; nouns, verbs: one topic a text.
Register (casual or formal) is a planted nuisance: it goes with sentiment, and changes only degree words and full stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from mechscope.corpora.domains.agreement import lexicon as words
from mechscope.corpora.domains.agreement.lexicon import Noun, Number, Sentiment, Tense, Topic
from mechscope.corpora.domains.agreement.truth import Truth

__all__ = ["MAX_TOKENS", "Dice", "Distractor", "Plan", "Subject", "write_subject", "write_text", "write_verb"]

T = TypeVar("T")

MAX_TOKENS = 64
DISTRACTOR_SHARES = (0.40, 0.28, 0.19, 0.13)
DistractorKind = Literal["prepositional", "object_relative", "subject_relative"]


@dataclass(frozen=True)
class Dice:
    """Random choices from one generator."""

    rng: np.random.Generator

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return float(self.rng.random()) < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self.rng.random() * len(options))]

    def draw(self, options: Sequence[T], shares: Sequence[float]) -> T:
        """One of the options, `shares` their probabilities."""
        at = int(np.searchsorted(np.cumsum(shares), float(self.rng.random()) * sum(shares), side="right"))
        return options[min(at, len(options) - 1)]

    def number(self) -> Number:
        """Singular or plural, each as likely."""
        return "singular" if self.chance(0.5) else "plural"


@dataclass(frozen=True)
class Plan:
    """What one text is about. `names` are its (given name, surname) pairs."""

    topic: Topic
    sentiment: Sentiment
    casual: bool
    tense: Tense
    names: tuple[tuple[str, str], ...] = ()

    @classmethod
    def draw(cls, dice: Dice) -> Plan:
        """A random plan."""
        sentiment = dice.draw(words.SENTIMENTS, (0.4, 0.4, 0.2))
        n_names = dice.draw((0, 1, 2, 3), (0.30, 0.20, 0.30, 0.20))
        given = dice.rng.permutation(len(words.GIVEN_NAMES))[:n_names]
        surnames = dice.rng.permutation(len(words.SURNAMES))[:n_names]
        return cls(
            topic=dice.pick(words.TOPICS),
            sentiment=sentiment,
            casual=dice.chance(0.75 if sentiment == "positive" else 0.25),
            tense=dice.draw(words.TENSES, (0.4, 0.4, 0.2)),
            names=tuple((words.GIVEN_NAMES[a], words.SURNAMES[b]) for a, b in zip(given, surnames, strict=True)),
        )


@dataclass(frozen=True)
class Distractor:
    """A phrase between head noun and verb. `word` opens it; `verb` is the verb of a relative clause."""

    kind: DistractorKind
    word: str
    noun: Noun
    number: Number
    verb: words.RelativeVerb


@dataclass(frozen=True)
class Subject:
    """A subject with a head noun. `determiner` "" stands for one drawn to fit the number."""

    head: Noun
    number: Number
    determiner: str = ""
    adjective: str = ""
    distractors: tuple[Distractor, ...] = ()

    @classmethod
    def draw(cls, dice: Dice, plan: Plan) -> Subject:
        """A random subject that keeps the held-out nouns out of the constructions they are held out of."""
        n_distractors = dice.draw((0, 1, 2, 3), DISTRACTOR_SHARES)
        allowed = {"no", "bare"} if n_distractors == 0 else {"no"}
        number = dice.number()
        return cls(
            head=dice.pick([noun for noun in plan.topic.people if noun.held_out in allowed]),
            number=number,
            determiner=draw_determiner(dice, number),
            adjective=draw_adjective(dice, plan) if dice.chance(0.2) else "",
            distractors=tuple(draw_distractor(dice, plan, is_first=i == 0) for i in range(n_distractors)),
        )


def draw_determiner(dice: Dice, number: Number) -> str:
    """`the` most often, else one that shows the number."""
    return "the" if dice.chance(0.6) else dice.pick(words.DETERMINERS[number])


def draw_adjective(dice: Dice, plan: Plan) -> str:
    """An adjective of the text's sentiment: of its topic, or general."""
    topical = plan.topic.positive if plan.sentiment == "positive" else plan.topic.negative
    use_topical = plan.sentiment != "neutral" and dice.chance(0.6)
    return dice.pick(topical if use_topical else words.GENERAL_ADJECTIVES[plan.sentiment])


def draw_distractor(dice: Dice, plan: Plan, *, is_first: bool, reveals_head: bool = True) -> Distractor:
    """A random distractor phrase.

    Args:
        dice: where the choices come from.
        plan: gives the topic of its noun.
        is_first: whether it stands right after the head noun; only there can it be a subject relative clause.
        reveals_head: False leaves out subject relative clauses, whose verb shows the number of the head.
    """
    kinds: tuple[DistractorKind, ...] = ("prepositional", "object_relative", "subject_relative")
    kind = dice.draw(kinds, (0.48, 0.32, 0.20) if is_first and reveals_head else (0.6, 0.4, 0.0))
    prefer_people = kind == "object_relative" or dice.chance(0.5)
    opener = {"prepositional": dice.pick(words.PREPOSITIONS), "object_relative": "that", "subject_relative": "who"}
    return Distractor(
        kind=kind,
        word=opener[kind],
        noun=dice.pick(plan.topic.people if prefer_people else plan.topic.things),
        number=dice.number(),
        verb=dice.pick(words.RELATIVE_VERBS),
    )


def write_subject(text: Truth, dice: Dice, subject: Subject, topic: str, tense: Tense, sentiment: Sentiment) -> None:
    """Write a subject with a head noun and its distractors."""
    determiner = subject.determiner or "the"
    shown: Number | Literal["none"] = "none" if determiner == "the" else subject.number
    text.say(determiner, expects="noun", head_number=shown, last_noun_number="none")
    if subject.adjective:
        _say_adjective(text, subject.adjective, topic, sentiment, expects="noun")
    head = subject.head.form(subject.number)
    text.say(head, expects="verb", head_number=subject.number, last_noun_number=subject.number, topic=topic)
    for distractor in subject.distractors:
        _write_distractor(text, dice, distractor, tense)
        text.state.in_distractor = False


def _write_distractor(text: Truth, dice: Dice, distractor: Distractor, tense: Tense) -> None:
    determiner = draw_determiner(dice, distractor.number)
    noun = distractor.noun.form(distractor.number)
    seen = {"n_distractors": text.state.n_distractors + 1, "last_noun_number": distractor.number}
    if distractor.kind == "prepositional":
        text.say(distractor.word, in_distractor=True, open_phrase="prepositional", expects="determiner")
        text.say(determiner, expects="noun")
        text.say(noun, open_phrase="none", expects="verb", **seen)
    elif distractor.kind == "object_relative":
        verb = distractor.verb.form(tense, distractor.number)
        text.say(distractor.word, in_distractor=True, open_phrase="relative", expects="determiner")
        text.say(determiner, expects="noun")
        text.say(noun, expects="relative_verb", relative_subject_number=distractor.number, **seen)
        text.say(verb, open_phrase="none", expects="verb", relative_subject_number="none")
    else:
        head_number = text.state.head_number
        verb = distractor.verb.form(tense, "plural" if head_number == "plural" else "singular")
        opened = {"in_distractor": True, "open_phrase": "relative", "relative_subject_number": head_number}
        text.say(distractor.word, expects="relative_verb", **opened)
        text.say(verb, expects="determiner", relative_subject_number="none")
        text.say(determiner, expects="noun")
        text.say(noun, open_phrase="none", expects="verb", **seen)


def _say_adjective(text: Truth, adjective: str, topic: str, sentiment: Sentiment, **changes: object) -> None:
    is_general = any(adjective in group for group in words.GENERAL_ADJECTIVES.values())
    text.say(adjective, sentiment=sentiment, **(changes if is_general else {**changes, "topic": topic}))


def finite_verb(tense: Tense, number: Number, verb: words.Verb | None) -> str:
    """The agreeing word of a main clause: of `verb` in the present, else an auxiliary; `verb` None is the copula."""
    if tense == "past":
        return "was" if number == "singular" else "were"
    if tense == "future":
        return "will"
    if verb is None:
        return "is" if number == "singular" else "are"
    return verb.present(number)


def write_verb(text: Truth, tense: Tense, number: Number, verb: words.Verb | None, topic: str) -> None:
    """Write the verb group of a main clause; `verb` None is the copula."""
    follows = "evaluation" if verb is None else "object"
    opens = "auxiliary" if tense != "present" else follows
    known = {"topic": topic} if verb is not None and tense == "present" else {}
    text.say(finite_verb(tense, number, verb), is_verb=True, expects=opens, n_distractors=0, **known)
    if tense == "future":
        text.say("be" if verb is None else verb.base, expects=follows, **({} if verb is None else {"topic": topic}))
    elif tense == "past" and verb is not None:
        text.say(verb.ing, expects=follows, topic=topic)


@dataclass
class _Author:
    """Writes one text from its plan."""

    dice: Dice
    plan: Plan
    text: Truth = field(default_factory=Truth)
    tense: Tense = "present"
    met: set[str] = field(default_factory=set)
    shapes: list[str] = field(default_factory=list)

    def write(self) -> Truth:
        """The whole text: begin and end marks included, at most MAX_TOKENS tokens."""
        self.tense = self.plan.tense
        self.text.say("<bos>", expects="clause")
        for index in range(self.dice.draw((2, 3, 4), (0.25, 0.40, 0.35))):
            n_words, n_clauses, state = len(self.text.words), len(self.shapes), replace(self.text.state)
            self.sentence(has_adverb=index == 0 or self.dice.chance(0.35), is_first=index == 0)
            if len(self.text.words) >= MAX_TOKENS:
                self.text.cut(n_words, state)
                del self.shapes[n_clauses:]
                break
        self.text.state.expects = "clause"
        self.text.say("<eos>", head_number="none", last_noun_number="none")
        return self.text

    def sentence(self, *, has_adverb: bool, is_first: bool) -> None:
        """One sentence, with its end mark."""
        if has_adverb:
            self.tense = self.tense if is_first else self.dice.draw(words.TENSES, (0.4, 0.4, 0.2))
            self.text.say(self.dice.pick(words.TIME_ADVERBS[self.tense]), tense=self.tense, expects="subject")
        n_distractors = self.clause()
        if n_distractors < 2 and self.dice.chance(0.3):
            self._between(self.dice.pick(words.CONNECTIVES), "subject")
            self.clause()
        self._between("!" if self.dice.chance(0.7 if self.plan.casual else 0.05) else ".", "clause")

    def _between(self, word: str, expects: str) -> None:
        self.text.say(word, head_number="none", last_noun_number="none", n_distractors=0, expects=expects)

    def clause(self) -> int:
        """One clause; returns the number of its distractors."""
        plan, dice = self.plan, self.dice
        number: Number = "singular"
        distractors: tuple[Distractor, ...] = ()
        if plan.names and dice.chance(0.5):
            self.name(is_subject=True)
        else:
            subject = Subject.draw(dice, plan)
            number, distractors = subject.number, subject.distractors
            write_subject(self.text, dice, subject, plan.topic.name, self.tense, plan.sentiment)
        verb = None if dice.chance(0.45) else dice.pick(plan.topic.verbs)
        write_verb(self.text, self.tense, number, verb, plan.topic.name)
        if verb is None:
            self.evaluation()
        else:
            self.object()
        kinds = "+".join(distractor.kind for distractor in distractors) or "bare"
        self.shapes.append(f"{kinds}/{'copula' if verb is None else 'transitive'}")
        return len(distractors)

    def evaluation(self) -> None:
        """What follows the copula."""
        if self.dice.chance(0.75):
            casual = self.dice.chance(0.8 if self.plan.casual else 0.2)
            self.text.say(
                self.dice.pick(words.CASUAL_DEGREES if casual else words.FORMAL_DEGREES), expects="evaluation"
            )
        adjective = draw_adjective(self.dice, self.plan)
        _say_adjective(self.text, adjective, self.plan.topic.name, self.plan.sentiment, expects="end")

    def object(self) -> None:
        """What follows a verb: a name or a noun phrase, and perhaps an adverb."""
        dice, plan = self.dice, self.plan
        if plan.names and dice.chance(0.35):
            self.name(is_subject=False)
        else:
            number = dice.number()
            self.text.say(draw_determiner(dice, number), expects="noun")
            if dice.chance(0.2):
                adjective = draw_adjective(dice, plan)
                _say_adjective(self.text, adjective, plan.topic.name, plan.sentiment, expects="noun")
            noun = dice.pick(plan.topic.people if dice.chance(0.35) else plan.topic.things)
            self.text.say(noun.form(number), last_noun_number=number, topic=plan.topic.name, expects="end")
        if dice.chance(0.45):
            self.text.say(dice.pick(words.ADVERBS[plan.sentiment]), sentiment=plan.sentiment, expects="end")

    def name(self, *, is_subject: bool) -> None:
        """A given name and its surname."""
        given, surname = self.dice.pick(self.plan.names)
        known = {"last_noun_number": "singular", **({"head_number": "singular"} if is_subject else {})}
        mention = "repeat" if given in self.met else "first"
        self.met.add(given)
        self.text.say(given, expects="surname", induction=mention, **known)
        self.text.say(surname, expects="verb" if is_subject else "end")


def write_text(rng: np.random.Generator) -> tuple[Truth, Plan, list[str]]:
    """One random text: its words with their truth, its plan, and the shape of each clause ("bare/copula", ...)."""
    dice = Dice(rng)
    author = _Author(dice, Plan.draw(dice))
    return author.write(), author.plan, author.shapes
