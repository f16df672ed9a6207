"""Planted concepts of the agreement language: what a good feature of the model should stand for.

Each is a combination or a context, never one token; each can be known from the tokens up to its position; and each
narrows down what may follow, so that a model trained on these texts has a reason to represent it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["CONCEPTS", "Concept", "concept_columns"]

Columns = Mapping[str, np.ndarray]
Flags = np.ndarray


@dataclass(frozen=True)
class Concept:
    """A named truth about a token position; `rule` makes a boolean array from the token columns."""

    name: str
    description: str
    rule: Callable[[Columns], np.ndarray]


def _all(*flags: Flags) -> Flags:
    joined: Flags = np.logical_and.reduce(flags)
    return joined


def _pending(c: Columns, head: str, last: str) -> Flags:
    numbers = (c["head_number"] == head, c["last_noun_number"] == last)
    return _all(c["expects"] == "verb", c["n_distractors"] > 0, *numbers)


def _head_in(c: Columns, number: str, tense: str) -> Flags:
    return _all(c["expects"] == "verb", c["head_number"] == number, c["tense"] == tense)


def _content_due(c: Columns, topic: str) -> Flags:
    return _all(c["expects"] == "noun", c["topic"] == topic)


def _evaluation_due(c: Columns, sentiment: str) -> Flags:
    return _all(c["expects"] == "evaluation", c["sentiment"] == sentiment)


CONCEPTS: tuple[Concept, ...] = (
    Concept(
        "plural_across_singular",
        "a plural subject waits for its verb and the latest noun, a distractor, is singular",
        lambda c: _pending(c, "plural", "singular"),
    ),
    Concept(
        "singular_across_plural",
        "a singular subject waits for its verb and the latest noun, a distractor, is plural",
        lambda c: _pending(c, "singular", "plural"),
    ),
    Concept(
        "plural_subject_past",
        "in a past sentence a plural subject may now get its verb",
        lambda c: _head_in(c, "plural", "past"),
    ),
    Concept(
        "singular_subject_present",
        "in a present sentence a singular subject may now get its verb",
        lambda c: _head_in(c, "singular", "present"),
    ),
    Concept(
        "subject_future",
        "in a future sentence a subject of either number may now get its verb",
        lambda c: (c["expects"] == "verb") & (c["tense"] == "future"),
    ),
    Concept(
        "relative_past_verb_due",
        "inside a relative clause of a past sentence whose verb comes next",
        lambda c: (c["expects"] == "relative_verb") & (c["tense"] == "past"),
    ),
    Concept(
        "relative_plural_verb_due",
        "inside a relative clause whose verb comes next and must be plural, in a sentence that is not past",
        lambda c: (
            (c["expects"] == "relative_verb") & (c["relative_subject_number"] == "plural") & (c["tense"] != "past")
        ),
    ),
    Concept(
        "two_distractors_open",
        "the subject waits for its verb across two or more distractors",
        lambda c: (c["expects"] == "verb") & (c["n_distractors"] >= 2),
    ),
    Concept(
        "name_repeated",
        "a given name met earlier in the text has come again: its surname is known",
        lambda c: c["induction"] == "repeat",
    ),
    Concept(
        "name_first",
        "a given name has come for the first time in the text: its surname is anyone's guess",
        lambda c: c["induction"] == "first",
    ),
    Concept(
        "sea_negative",
        "the topic is known to be the sea and the sentiment to be negative",
        lambda c: (c["topic"] == "sea") & (c["sentiment"] == "negative"),
    ),
    Concept(
        "kitchen_content_due",
        "in a text about the kitchen a noun phrase has begun without its noun: a word of the kitchen may follow",
        lambda c: _content_due(c, "kitchen"),
    ),
    Concept(
        "music_content_due",
        "in a text about music a noun phrase has begun without its noun: a word of music may follow",
        lambda c: _content_due(c, "music"),
    ),
    Concept(
        "negative_evaluation_due",
        "in a text known to be negative an evaluating adjective must follow",
        lambda c: _evaluation_due(c, "negative"),
    ),
    Concept(
        "positive_evaluation_due",
        "in a text known to be positive an evaluating adjective must follow",
        lambda c: _evaluation_due(c, "positive"),
    ),
)


def concept_columns(columns: Columns) -> dict[str, np.ndarray]:
    """Every concept as a boolean array [n_tokens], from the token columns named in `truth.TRUTH_COLUMNS`."""
    return {concept.name: concept.rule(columns) for concept in CONCEPTS}
