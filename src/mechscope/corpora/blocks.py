"""From documents to a corpus: tokenise each one and cut it into blocks.

For each document, in the order given:
    tokens of the whole text, without special tokens
    cut every `block_length - specials` tokens; no block crosses two documents; the last, shorter block is kept
    put the tokenizer's own leading and trailing special tokens around each block
    every block becomes a row with the document's facts, its number and the document's split
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from pydantic import Field

from mechscope.core import SILENT, BadDataError, Progress, Spec, UsageError, numpy_generator
from mechscope.core.hugging_face import PreTrainedTokenizerBase
from mechscope.corpora.corpus import Column, Corpus, Ragged
from mechscope.corpora.documents import Document
from mechscope.corpora.splits import split_rows
from mechscope.corpora.tokenizers import shown_vocabulary, special_affixes

__all__ = ["BlockSpec", "block_rows", "text_corpus"]

ROW_COLUMNS = {
    "document": Column(level="row", role="document", description="the text that the block was cut from"),
    "block": Column(level="row", description="number of the block in its document, from 0"),
    "split": Column(
        level="row", role="split", description="train, valid or test; facts.split_unit says what was drawn"
    ),
}
SPECIAL_MARK = "special"


class BlockSpec(Spec):
    """How documents become rows.

    Attributes:
        block_length: most tokens in a row, special tokens counted.
        blocks_per_document: most rows of one document, drawn at random and kept in order; None keeps all.
        n_rows: stop after so many rows; None takes every document.
        seed: root of the draw of blocks.
        split_seed: root of the split.
        may_split_documents: where documents are too few to hold any out, hold out runs of blocks instead.
    """

    block_length: int = Field(default=128, ge=4)
    blocks_per_document: int | None = Field(default=None, ge=1)
    n_rows: int | None = Field(default=None, ge=1)
    seed: int = 0
    split_seed: int = 0
    may_split_documents: bool = False


def text_corpus(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    spec: BlockSpec,
    *,
    name: str,
    columns: Mapping[str, Column],
    facts: Mapping[str, object],
    n_found: int | None = None,
    progress: Progress = SILENT,
) -> Corpus:
    """A text corpus with columns `document`, `block`, `split`, and the documents' own facts and marks.

    Args:
        documents: read lazily, and only as many as `spec.n_rows` needs; all with the same facts and marks.
        tokenizer: a fast tokenizer (one with character offsets).
        spec: see `BlockSpec`.
        name: what people call the corpus.
        columns: describes every fact ("row") and mark ("token") of the documents.
        facts: how the documents came about; counts of what was cut and left out are added.
        n_found: how many `documents` there are, where that is known: recorded, and said when not all were read.
        progress: one bar of documents.

    Raises:
        UsageError: the tokenizer has no offsets, or block_length leaves no room beside its special tokens.
        BadDataError: no document gave a token, or two documents share a name.

    Cost: one pass; memory of the tokens and marks kept.
    """
    rows = _Rows(spec, tokenizer, [name for name, column in columns.items() if column.level == "token"])
    with progress.task(f"tokenise {name}", total=None, unit="documents") as task:
        for document in documents:
            rows.add(document)
            task.advance(note=f"{len(rows.ids):,} rows")
            if rows.is_full:
                break
    if not rows.ids:
        raise BadDataError(
            f"corpus {name!r} has 0 rows: {rows.counts['n_documents_without_tokens']} documents without a token",
            expected="at least one document with text",
            todo="check the files and filters that it is made from",
        )
    counts: dict[str, object] = {**rows.counts, "n_documents_read": len(rows.seen)}
    if n_found is not None:
        counts["n_documents_found"] = n_found
        if len(rows.seen) < n_found or rows.n_blocks_cut_off:
            read = f"{len(rows.seen):,} of {n_found:,} documents{', the last in part' if rows.n_blocks_cut_off else ''}"
            progress.say(f"read {read}: n_rows={spec.n_rows:,} was reached (--max-tokens sets it)")
    row_columns = rows.row_columns([name for name, column in columns.items() if column.level == "row"])
    return Corpus(
        name=name,
        kind="text",
        tokens=Ragged.from_rows(rows.ids),
        vocabulary=shown_vocabulary(tokenizer),
        row_columns=row_columns,
        token_columns=rows.token_columns(),
        columns={**ROW_COLUMNS, **columns},
        pad_id=tokenizer.pad_token_id,
        facts={**facts, **counts, "is_cut_at_n_rows": rows.is_full, "split_unit": rows.split_unit},
    )


def block_rows(documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, spec: BlockSpec) -> list[np.ndarray]:
    """Only the token ids of each row, as `text_corpus` cuts them: for training."""
    rows = _Rows(spec, tokenizer, [])
    for document in documents:
        rows.add(document)
        if rows.is_full:
            break
    return rows.ids


class _Rows:
    """Rows as they are gathered."""

    def __init__(self, spec: BlockSpec, tokenizer: PreTrainedTokenizerBase, marks: list[str]) -> None:
        if not tokenizer.is_fast:
            raise UsageError(
                f"{type(tokenizer).__name__} gives no character offsets",
                expected="a fast tokenizer (a folder with tokenizer.json)",
                todo="convert it with the `tokenizers` library",
            )
        self.spec, self.tokenizer, self.marks = spec, tokenizer, marks
        self.prefix, self.suffix = special_affixes(tokenizer)
        self.room = spec.block_length - len(self.prefix) - len(self.suffix)
        if self.room < 1:
            raise UsageError(
                f"block_length {spec.block_length} with {len(self.prefix) + len(self.suffix)} special tokens a row",
                expected="room for at least one token of text",
                todo="choose a larger block_length",
            )
        self.ids: list[np.ndarray] = []
        self.mark_rows: dict[str, list[np.ndarray]] = {mark: [] for mark in marks}
        self.facts: list[tuple[Document, int]] = []
        self.seen: set[str] = set()
        self.n_blocks_cut_off = 0
        self.split_unit = "document"
        self.counts: dict[str, object] = {"n_documents": 0, "n_documents_without_tokens": 0, "n_blocks_left_out": 0}

    @property
    def is_full(self) -> bool:
        return self.spec.n_rows is not None and len(self.ids) >= self.spec.n_rows

    def add(self, document: Document) -> None:
        self._refuse_twin(document)
        encoded = self.tokenizer(
            document.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False, truncation=False
        )
        ids = np.asarray(encoded["input_ids"], dtype=np.int32)
        starts = list(range(0, len(ids), self.room))
        kept = self._drawn(document.name, len(starts))
        self._count("n_documents" if len(ids) else "n_documents_without_tokens", 1)
        self._count("n_blocks_left_out", len(starts) - len(kept))
        marks = self._marks(document, np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2))
        facts_alone = replace(document, text="", read_marks=None)  # so that the text is let go of
        for block in kept:
            piece = slice(starts[block], starts[block] + self.room)
            self.ids.append(np.concatenate([self.prefix, ids[piece], self.suffix]).astype(np.int32))
            self.facts.append((facts_alone, block))
            for mark, values in marks.items():
                self.mark_rows[mark].append(self._padded(values[piece]))

    def row_columns(self, names: list[str]) -> dict[str, np.ndarray]:
        groups = [document.group or document.name for document, _ in self.facts]
        split, self.split_unit = split_rows(
            groups,
            [block for _, block in self.facts],
            seed=self.spec.split_seed,
            may_split_documents=self.spec.may_split_documents,
        )
        columns = {
            "document": np.array([document.name for document, _ in self.facts], dtype=object),
            "block": np.array([block for _, block in self.facts], dtype=np.int32),
            "split": split,
        }
        for name in names:
            columns[name] = np.array([document.facts[name] for document, _ in self.facts], dtype=object)
        return columns

    def token_columns(self) -> dict[str, np.ndarray]:
        return {mark: np.concatenate(values) for mark, values in self.mark_rows.items() if values}

    def _drawn(self, name: str, n_blocks: int) -> list[int]:
        room = n_blocks if self.spec.n_rows is None else min(n_blocks, self.spec.n_rows - len(self.ids))
        kept = np.arange(n_blocks)
        if self.spec.blocks_per_document is not None and n_blocks > self.spec.blocks_per_document:
            generator = numpy_generator(self.spec.seed, "blocks", name)
            kept = np.sort(generator.choice(n_blocks, self.spec.blocks_per_document, replace=False))
        self.n_blocks_cut_off += len(kept[room:])
        return [int(block) for block in kept[:room]]

    def _marks(self, document: Document, offsets: np.ndarray) -> dict[str, np.ndarray]:
        if not self.marks or not len(offsets):
            return {}
        by_character = document.read_marks() if document.read_marks is not None else {}
        at = _first_visible(document.text, offsets)
        return {mark: by_character[mark][at] for mark in self.marks}

    def _padded(self, values: np.ndarray) -> np.ndarray:
        is_text = values.dtype.kind == "U"
        blank = np.array([SPECIAL_MARK]) if is_text else np.zeros(1, dtype=values.dtype)
        return np.concatenate([np.repeat(blank, len(self.prefix)), values, np.repeat(blank, len(self.suffix))])

    def _refuse_twin(self, document: Document) -> None:
        if document.name in self.seen:
            raise BadDataError(
                f"two documents are called {document.name!r}",
                expected="one name a document",
                todo="rename one, or name each file once",
            )
        self.seen.add(document.name)

    def _count(self, name: str, n: int) -> None:
        before = self.counts[name]
        assert isinstance(before, int)
        self.counts[name] = before + n


def _first_visible(text: str, offsets: np.ndarray) -> np.ndarray:
    """For each token's [start, end) the first character in it that is not white space, or its start."""
    visible = np.fromiter((not character.isspace() for character in text), dtype=bool, count=len(text))
    places = np.append(np.flatnonzero(visible), len(text))
    first = places[np.searchsorted(places, np.minimum(offsets[:, 0], len(text) - 1))]
    found: np.ndarray = np.where(first < offsets[:, 1], first, np.minimum(offsets[:, 0], len(text) - 1))
    return found
