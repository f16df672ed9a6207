"""Questions with known answers: agreement prefixes, minimal pairs, probing rows.

An `AgreementItem` is one sentence up to its verb, `<bos>` first, with the id of the correct and of the incorrect verb.
Its twin differs in the number of the head noun, so that correct and incorrect swap places. The head's determiner
is always `the` and no phrase has a verb that agrees with the head: nothing but the head noun shows its number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mechscope.core import Spec, UsageError, numpy_generator
from mechscope.corpora.domains.agreement import lexicon as words
from mechscope.corpora.domains.agreement.grammar import (
    Dice,
    Plan,
    Subject,
    draw_distractor,
    finite_verb,
    write_subject,
)
from mechscope.corpora.domains.agreement.lexicon import HeldOut, Number, Tense
from mechscope.corpora.domains.agreement.tokens import encode_words
from mechscope.corpora.domains.agreement.truth import Truth

__all__ = ["AgreementItem", "AgreementTaskSpec", "MinimalPair", "agreement_items", "minimal_pairs"]

MAX_DISTRACTORS = 3


class AgreementTaskSpec(Spec):
    """What to draw: `n_pairs` sentences for each number of distractors 0..3, each in both numbers.

    heads: "no" takes head nouns that training texts show in every construction; "bare" and "relative" take held-out
        ones (see `lexicon.Noun.held_out`): generated texts never show them as heads with distractors.
    distractors: numbers of the distractor nouns: at "random", or all "same" as or "other" than the head's. Only with
        "random" do the two members of a pair differ in one token alone.
    tenses: present or past; the future does not agree.
    """

    n_pairs: int = 200
    heads: HeldOut = "relative"
    distractors: Literal["random", "same", "other"] = "random"
    tenses: tuple[Literal["present", "past"], ...] = ("present", "past")
    seed: int = 0


@dataclass(frozen=True)
class AgreementItem:
    """A sentence up to its verb. `ids` are token ids; `correct_id` and `incorrect_id` are the two verb forms."""

    words: tuple[str, ...]
    ids: tuple[int, ...]
    correct_id: int
    incorrect_id: int
    number: Number
    n_distractors: int
    head: str
    head_position: int
    topic: str
    tense: Tense


@dataclass(frozen=True)
class MinimalPair:
    """The same sentence with a singular and with a plural head: equal length, one token apart."""

    singular: AgreementItem
    plural: AgreementItem


def minimal_pairs(spec: AgreementTaskSpec) -> list[MinimalPair]:
    """`4 * n_pairs` minimal pairs, by number of distractors. Raises UsageError when that makes none."""
    if spec.n_pairs < 1 or not spec.tenses:
        raise UsageError(
            f"n_pairs is {spec.n_pairs} and tenses are {list(spec.tenses)}",
            expected="at least one pair and one tense",
            todo="raise n_pairs, or name a tense",
        )
    return [
        _pair(spec, Dice(numpy_generator(spec.seed, "agreement", n_distractors, index)), n_distractors)
        for n_distractors in range(MAX_DISTRACTORS + 1)
        for index in range(spec.n_pairs)
    ]


def agreement_items(spec: AgreementTaskSpec) -> list[AgreementItem]:
    """Both members of every minimal pair, in order."""
    return [item for pair in minimal_pairs(spec) for item in (pair.singular, pair.plural)]


def _pair(spec: AgreementTaskSpec, dice: Dice, n_distractors: int) -> MinimalPair:
    plan = replace(Plan.draw(dice), tense=dice.pick(spec.tenses))
    head = dice.pick([noun for noun in plan.topic.people if noun.held_out == spec.heads])
    adverb = dice.pick(words.TIME_ADVERBS[plan.tense])
    verb = None if dice.chance(0.5) else dice.pick(plan.topic.verbs)
    drawn = tuple(draw_distractor(dice, plan, is_first=False) for _ in range(n_distractors))
    detail_seed = int(dice.rng.integers(2**31))
    numbers: tuple[Number, Number] = ("singular", "plural")
    singular, plural = (
        _item(spec, plan, Subject(head, number, "the", "", drawn), adverb, verb, detail_seed) for number in numbers
    )
    return MinimalPair(singular, plural)


def _item(
    spec: AgreementTaskSpec, plan: Plan, subject: Subject, adverb: str, verb: words.Verb | None, detail_seed: int
) -> AgreementItem:
    if spec.distractors != "random":
        number = subject.number if spec.distractors == "same" else _other(subject.number)
        fixed = tuple(replace(distractor, number=number) for distractor in subject.distractors)
        subject = replace(subject, distractors=fixed)
    text = Truth()
    text.say("<bos>")
    text.say(adverb, tense=plan.tense)
    dice = Dice(numpy_generator(detail_seed, "determiners"))
    write_subject(text, dice, subject, plan.topic.name, plan.tense, plan.sentiment)
    forms = [finite_verb(plan.tense, number, verb) for number in (subject.number, _other(subject.number))]
    correct_id, incorrect_id = encode_words(forms)
    head = subject.head.form(subject.number)
    return AgreementItem(
        words=tuple(text.words),
        ids=tuple(encode_words(text.words)),
        correct_id=correct_id,
        incorrect_id=incorrect_id,
        number=subject.number,
        n_distractors=len(subject.distractors),
        head=head,
        head_position=text.words.index(head),
        topic=plan.topic.name,
        tense=plan.tense,
    )


def _other(number: Number) -> Number:
    return "plural" if number == "singular" else "singular"
