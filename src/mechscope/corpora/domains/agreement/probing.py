"""Probing tasks of the agreement language: a label at chosen token positions, with what a control needs.

Each task says at which positions it asks, so that the label is known there but is not read off the token itself. Beside
the labels come the token (its type: what a control task assigns random labels to), the document (what a split must
keep together) and the row's split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mechscope.core import unknown_name
from mechscope.corpora.corpus import Corpus

__all__ = ["PROBING_TASKS", "ProbingSamples", "ProbingTask", "probing_samples"]

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ProbingTask:
    """A question about a token column; `where` gives the positions at which it is asked."""

    name: str
    description: str
    column: str
    where: Callable[[Columns], np.ndarray]


@dataclass(frozen=True)
class ProbingSamples:
    """The positions of a task in corpus order, all of length n.

    Attributes:
        row: row of the corpus. pos: position in the row.
        label: the answer, text.
        token_id: the token at the position.
        document: document of the row; rows of one document are not independent.
        split: "train", "valid" or "test".
    """

    row: np.ndarray
    pos: np.ndarray
    label: np.ndarray
    token_id: np.ndarray
    document: np.ndarray
    split: np.ndarray


PROBING_TASKS: dict[str, ProbingTask] = {
    task.name: task
    for task in (
        ProbingTask(
            "head_number",
            "number of the head noun where its verb may follow, across one distractor or more",
            "head_number",
            lambda c: (c["expects"] == "verb") & (c["n_distractors"] > 0),
        ),
        ProbingTask(
            "n_distractors",
            "how many distractors stand between the head noun and here, where its verb may follow",
            "n_distractors",
            lambda c: c["expects"] == "verb",
        ),
        ProbingTask(
            "tense",
            "tense in force where a verb may follow",
            "tense",
            lambda c: np.isin(c["expects"], ["verb", "relative_verb"]),
        ),
        ProbingTask(
            "topic",
            "topic at determiners and other words that open a noun phrase",
            "topic",
            lambda c: (c["expects"] == "noun") & (c["topic"] != "none"),
        ),
        ProbingTask(
            "sentiment",
            "sentiment where an evaluating adjective must follow",
            "sentiment",
            lambda c: (c["expects"] == "evaluation") & (c["sentiment"] != "none"),
        ),
        ProbingTask(
            "induction",
            "whether a given name came before in its text",
            "induction",
            lambda c: c["induction"] != "none",
        ),
    )
}


def probing_samples(corpus: Corpus, name: str) -> ProbingSamples:
    """The samples of a task in an `agreement` corpus. Raises NotFoundError for an unknown task or a missing column."""
    if name not in PROBING_TASKS:
        raise unknown_name("probing task", name, PROBING_TASKS)
    task = PROBING_TASKS[name]
    columns = {known: corpus.column(known) for known in {task.column, "expects", "n_distractors", "topic", "sentiment"}}
    at = np.flatnonzero(task.where(columns))
    row = np.searchsorted(corpus.tokens.indptr, at, side="right") - 1
    return ProbingSamples(
        row=row,
        pos=at - corpus.tokens.indptr[row],
        label=columns[task.column][at].astype(str),
        token_id=corpus.tokens.ids[at],
        document=corpus.column("document")[row],
        split=corpus.column("split")[row],
    )
