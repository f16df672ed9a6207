"""Documents to rows: every token once, no block over two documents, marks at the right characters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora import Column, Corpus
from mechscope.corpora.blocks import BlockSpec, block_rows, text_corpus
from mechscope.corpora.documents import Document, split_of
from mechscope.corpora.tokenizers import open_tokenizer, shown_vocabulary, special_affixes


def byte_tokenizer(*, begin: bool = True) -> PreTrainedTokenizerBase:
    """One token a byte, and "the" as one token; BOS before each text when `begin`."""
    pieces = ["<s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the"]
    bpe = Tokenizer(
        models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[("t", "h"), ("th", "e")], ignore_merges=False)
    )
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    if begin:
        bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", pad_token="<pad>")


TOKENIZER = byte_tokenizer()


def make(documents: list[Document], spec: BlockSpec, columns: dict[str, Column] | None = None) -> Corpus:
    return text_corpus(documents, TOKENIZER, spec, name="test", columns=columns or {}, facts={})


def shown(corpus: Corpus, row: int) -> str:
    return "".join(corpus.vocabulary[token] for token in corpus.tokens[row][1:])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=4), st.integers(4, 12))
def test_blocks_hold_every_token_once_and_never_two_documents(texts: list[str], length: int) -> None:
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts)]
    corpus = make(documents, BlockSpec(block_length=length))
    for document in documents:
        rows = np.flatnonzero(corpus.column("document") == document.name)
        assert corpus.column("block")[rows].tolist() == list(range(len(rows)))
        pieces = [corpus.tokens[int(row)] for row in rows]
        assert all(piece[0] == 0 for piece in pieces), "every row begins with the BOS that the tokenizer adds"
        assert all(len(piece) == length for piece in pieces[:-1])
        joined = np.concatenate([piece[1:] for piece in pieces]).tolist()
        assert joined == TOKENIZER(document.text, add_special_tokens=False)["input_ids"]


def test_the_shown_tokens_of_a_row_read_as_the_text() -> None:
    corpus = make([Document("d", "the cat\n  the mat")], BlockSpec(block_length=64))
    assert shown(corpus, 0) == "the cat\n  the mat"


def test_a_byte_that_is_no_character_shows_its_code() -> None:
    vocabulary = shown_vocabulary(TOKENIZER)
    ids = TOKENIZER("é", add_special_tokens=False)["input_ids"]
    assert [vocabulary[i] for i in ids] == ["\\xc3", "\\xa9"]
    assert vocabulary[:2] == ("<s>", "<pad>")


def test_marks_follow_the_first_visible_character_of_a_token() -> None:
    text = "a\n the"

    def read() -> dict[str, np.ndarray]:
        return {"at": np.arange(len(text)), "word": np.array(["x", "x", "x", "y", "y", "y"])}

    columns = {"at": Column(level="token"), "word": Column(level="token")}
    corpus = make([Document("d", text, read_marks=read)], BlockSpec(block_length=16), columns)
    assert shown(corpus, 0) == text
    assert corpus.column("at").tolist() == [0, 0, 1, 2, 3]
    assert corpus.column("word").tolist() == ["special", "x", "x", "x", "y"]


def test_the_split_belongs_to_the_group_and_has_the_stated_shares() -> None:
    splits = [split_of(f"module{i}") for i in range(4000)]
    assert splits.count("train") / 4000 == pytest.approx(0.8, abs=0.03)
    assert splits.count("test") / 4000 == pytest.approx(0.1, abs=0.02)
    documents = [Document(f"{i}{part}", "abcdefgh" * 3, group=f"g{i}") for i in range(20) for part in "ab"]
    corpus = make(documents, BlockSpec(block_length=6))
    for name, split in zip(corpus.column("document"), corpus.column("split"), strict=True):
        assert split == split_of(f"g{name[:-1]}")


def test_limits_are_counted_and_a_longer_corpus_begins_with_the_shorter_one() -> None:
    documents = [Document(f"d{i}", "abcdefgh" * 4) for i in range(5)]
    full = make(documents, BlockSpec(block_length=5))
    assert (full.n_rows, full.facts["n_blocks_left_out"], full.facts["n_documents"]) == (40, 0, 5)
    some = make(documents, BlockSpec(block_length=5, blocks_per_document=3))
    assert (some.n_rows, some.facts["n_blocks_left_out"]) == (15, 25)
    assert all(np.diff(some.column("block")[:3]) > 0)
    short = make(documents, BlockSpec(block_length=5, blocks_per_document=3, n_rows=7))
    assert short.facts["is_cut_at_n_rows"] is True
    assert np.array_equal(short.tokens.ids, some.tokens.ids[: short.n_tokens])


def test_block_rows_are_the_rows_of_the_corpus() -> None:
    documents = [Document(f"d{i}", "the end " * (i + 1)) for i in range(4)]
    spec = BlockSpec(block_length=7)
    rows = block_rows(documents, TOKENIZER, spec)
    assert np.array_equal(np.concatenate(rows), make(documents, spec).tokens.ids)


def test_special_tokens_are_those_that_the_tokenizer_adds() -> None:
    assert [affix.tolist() for affix in special_affixes(TOKENIZER)] == [[0], []]
    assert [affix.tolist() for affix in special_affixes(byte_tokenizer(begin=False))] == [[], []]


def test_empty_documents_are_counted_and_nothing_but_them_is_an_error() -> None:
    corpus = make([Document("full", "abc"), Document("empty", "")], BlockSpec())
    assert (corpus.facts["n_documents"], corpus.facts["n_documents_without_tokens"]) == (1, 1)
    with pytest.raises(BadDataError, match="0 rows"):
        make([Document("empty", "")], BlockSpec())


def test_twins_and_unknown_tokenizers_are_refused() -> None:
    with pytest.raises(BadDataError, match="two documents are called 'd'"):
        make([Document("d", "a"), Document("d", "b")], BlockSpec())
    with pytest.raises(NotFoundError, match=r"no tokenizer at '\./nowhere'"):
        open_tokenizer("./nowhere")
    with pytest.raises(UsageError, match="block_length"):
        BlockSpec.parse({"block_length": 1})
