"""Texts of the agreement language, with what is true at each token as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mechscope.core import SILENT, Progress, Spec, numpy_generator
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora.corpus import Column, Corpus, Ragged
from mechscope.corpora.domains.agreement import (
    CONCEPTS,
    PAD_ID,
    TRUTH_COLUMNS,
    WORDS,
    Plan,
    Truth,
    concept_columns,
    encode_words,
    write_text,
)

__all__ = ["AgreementSource"]

SPLITS = ("train", "valid", "test")
SPLIT_SHARES = (0.8, 0.1, 0.1)
REPORT_EVERY = 256

ROW_COLUMNS: dict[str, Column] = {
    "topic_of_text": Column(level="row", role="group", description="topic of the text"),
    "sentiment_of_text": Column(level="row", description="sentiment of the text"),
    "register": Column(
        level="row",
        role="nuisance",
        description="casual or formal: goes with sentiment (75 % of positive texts are casual, 25 % of the others) and "
        "changes only degree words and full stops",
    ),
    "n_names": Column(level="row", role="nuisance", description="name pairs that the text may use, 0 to 3"),
    "template": Column(level="row", description="shape of the first clause: its distractors / its predicate"),
    "split": Column(level="row", role="split", description="train, valid or test, drawn for each text"),
    "document": Column(level="row", role="document", description="one text, one document"),
}


@dataclass(frozen=True)
class _Text:
    truth: Truth
    plan: Plan
    shapes: list[str]
    split: str


@CORPUS_SOURCES.register("agreement")
class AgreementSource(Spec):
    """English-like texts with planted syntax and meaning: agreement, tense, topic, sentiment, names that come again.

    Text `i` depends on `seed` and `i` alone, so that a longer corpus begins with the shorter one. Building costs about
    0.3 ms a text.

    Args:
        n_rows: number of texts (2 to 4 sentences, 8 to 64 tokens each).
        seed: root seed.
    """

    n_rows: Annotated[int, Field(gt=0)] = 6000
    seed: int = 0

    def build(self, progress: Progress = SILENT) -> Corpus:
        """The corpus: tokens, truth and concepts at token level, plan of the text at row level."""
        texts = []
        with progress.task("write texts", total=self.n_rows, unit="texts") as task:
            for index in range(self.n_rows):
                texts.append(_draw(self.seed, index))
                if len(texts) % REPORT_EVERY == 0:
                    task.advance(REPORT_EVERY)
            task.advance(self.n_rows % REPORT_EVERY)
        token_columns = _token_columns(texts)
        return Corpus(
            name="agreement",
            kind="text",
            tokens=Ragged.from_rows([encode_words(text.truth.words) for text in texts]),
            vocabulary=WORDS,
            row_columns=_row_columns(texts),
            token_columns=token_columns,
            columns={**ROW_COLUMNS, **_token_column_kinds()},
            pad_id=PAD_ID,
            facts={
                "source": "agreement",
                "spec": self.to_json(),
                "spec_digest": self.digest,
                **_base_rates(token_columns),
            },
        )


def _draw(seed: int, index: int) -> _Text:
    rng = numpy_generator(seed, "agreement", index)
    split = SPLITS[int(np.searchsorted(np.cumsum(SPLIT_SHARES), rng.random(), side="right"))]
    return _Text(*write_text(rng), split)


def _row_columns(texts: Sequence[_Text]) -> dict[str, np.ndarray]:
    plans = [text.plan for text in texts]
    return {
        "topic_of_text": np.array([plan.topic.name for plan in plans]),
        "sentiment_of_text": np.array([plan.sentiment for plan in plans]),
        "register": np.array(["casual" if plan.casual else "formal" for plan in plans]),
        "n_names": np.array([len(plan.names) for plan in plans], dtype=np.int8),
        "template": np.array([text.shapes[0] for text in texts]),
        "split": np.array([text.split for text in texts]),
        "document": np.arange(len(texts), dtype=np.int32),
    }


def _token_columns(texts: Sequence[_Text]) -> dict[str, np.ndarray]:
    truth = {name: np.array([v for text in texts for v in text.truth.columns[name]]) for name in TRUTH_COLUMNS}
    truth["n_distractors"] = truth["n_distractors"].astype(np.int8)
    truth["next_is_verb"] = np.append(truth["is_verb"][1:], False)
    return {**truth, **concept_columns(truth)}


def _token_column_kinds() -> dict[str, Column]:
    kinds = {name: Column(level="token", description=text) for name, text in TRUTH_COLUMNS.items()}
    kinds["next_is_verb"] = Column(
        level="token", description="whether the next token is the finite verb of a main clause"
    )
    concepts = {c.name: Column(level="token", role="concept", description=c.description) for c in CONCEPTS}
    return {**kinds, **concepts}


def _base_rates(token_columns: dict[str, np.ndarray]) -> dict[str, object]:
    return {"concept_base_rates": {c.name: round(float(token_columns[c.name].mean()), 6) for c in CONCEPTS}}
