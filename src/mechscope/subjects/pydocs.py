"""The `pydocs` subject: a byte-level BPE tokenizer and a small GPT-NeoX model of the text that ships with Python.

documents of the running Python's library, split by module
tokenizer: byte-level BPE learnt on the "train" documents
model: trained on their blocks; history measured on some "valid" blocks
judged on the "test" documents beside a Kneser-Ney trigram model of the same training tokens
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechscope.core import SILENT, BadDataError, Progress, Spec, digest_of, numpy_generator
from mechscope.corpora.blocks import BlockSpec, block_rows
from mechscope.corpora.documents import Document, split_of
from mechscope.corpora.ngrams import TrigramModel
from mechscope.corpora.python_library import PythonKind
from mechscope.corpora.sources.pydocs import PydocsSource
from mechscope.subjects.language_models import (
    LanguageModelTrainSpec,
    causal_losses,
    computing_threads,
    save_language_model,
    train_causal_lm,
)

__all__ = ["PydocsTrainSpec", "train_pydocs", "train_tokenizer"]

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"
SPLITS = ("train", "valid", "test")
N_RESAMPLES = 2000


class PydocsTrainSpec(Spec):
    """How the pydocs subject is made. The defaults are the shipped checkpoint's.

    Attributes:
        kinds: which documents of the library.
        n_documents: take only so many (tests); None takes all.
        d_vocab: size of the tokenizer, its two special tokens counted.
        block_length: tokens in a training row, and the longest input of the model.
        d_model, n_layers, n_heads: shape of the model; the MLP is four times as wide.
        n_valid_rows: blocks on which the history is measured.
        train: the loop.
    """

    kinds: tuple[PythonKind, ...] = ("topic", "docstring", "source")
    n_documents: int | None = Field(default=None, ge=3)
    d_vocab: int = Field(default=4096, ge=300)
    block_length: int = Field(default=128, ge=4)
    d_model: int = Field(default=160, ge=8)
    n_layers: int = Field(default=4, ge=1)
    n_heads: int = Field(default=5, ge=1)
    n_valid_rows: int = Field(default=128, ge=1)
    train: LanguageModelTrainSpec = LanguageModelTrainSpec()


@dataclass(frozen=True, eq=False)
class _Rows:
    """Blocks of each document: document name -> rows."""

    by_split: dict[str, dict[str, list[np.ndarray]]]

    def of(self, split: str) -> list[np.ndarray]:
        return [row for rows in self.by_split[split].values() for row in rows]


def train_pydocs(spec: PydocsTrainSpec, folder: Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Make tokenizer and model, judge them on held-out modules, and write the model folder.

    Args:
        spec: see `PydocsTrainSpec`.
        folder: receives the Hugging Face layout, float16, and `training_record.json`.
        progress: bars of documents and steps.

    Returns:
        The training record: spec, Python version and text digest, sizes, held-out loss of model and trigram model with
        95 % intervals (bootstrap over documents), history, seconds.
    """
    began = perf_counter()
    documents = _documents(spec)
    tokenizer = train_tokenizer((d.text for d in documents if _split(d) == "train"), spec)
    rows = _cut(documents, tokenizer, spec, progress)
    train = _padded(rows.of("train"), spec.block_length, tokenizer.pad_token_id)
    valid = _padded(_some(rows.of("valid"), spec), spec.block_length, tokenizer.pad_token_id)
    model, history = train_causal_lm(_config(spec, tokenizer), train, valid, spec.train, progress)
    train_seconds = perf_counter() - began
    model = model.half().float()  # judge the weights that are stored
    with computing_threads(spec.train.n_threads):
        held_out = _judge(model, rows, tokenizer, spec)
    record = {
        "subject": "pydocs",
        "spec": spec.to_json(),
        "spec_digest": spec.digest,
        "python": platform.python_version(),
        "text_sha256": digest_of({document.name: document.text for document in documents}),
        "sizes": {split: _sizes(rows, split) for split in SPLITS},
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "held_out": held_out,
        "history": history,
        "train_seconds": round(train_seconds, 1),
    }
    save_language_model(model, tokenizer, folder, record, half=True)
    return record


def train_tokenizer(texts: Iterable[str], spec: PydocsTrainSpec) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer that puts `<|endoftext|>` before each text, so that every row starts alike."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=spec.d_vocab, special_tokens=[END_OF_TEXT, PAD], initial_alphabet=alphabet, show_progress=False
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, bpe.token_to_id(END_OF_TEXT))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        model_max_length=spec.block_length,
        clean_up_tokenization_spaces=False,
    )


def _documents(spec: PydocsTrainSpec) -> list[Document]:
    documents = []
    for document in PydocsSource(kinds=spec.kinds, n_rows=None, seed=spec.train.seed).documents():
        documents.append(document)
        if spec.n_documents is not None and len(documents) >= spec.n_documents:
            break
    missing = [split for split in SPLITS if split not in {_split(document) for document in documents}]
    if missing:
        raise BadDataError(
            f"{len(documents)} documents leave the {missing[0]!r} split empty",
            expected="documents in all three splits",
            todo="raise n_documents",
        )
    return documents


def _split(document: Document) -> str:
    return split_of(document.group)


def _cut(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, spec: PydocsTrainSpec, progress: Progress
) -> _Rows:
    blocks = BlockSpec(block_length=spec.block_length)
    by_split: dict[str, dict[str, list[np.ndarray]]] = {split: {} for split in SPLITS}
    with progress.task("tokenise the library", total=len(documents), unit="documents") as task:
        for document in documents:
            by_split[_split(document)][document.name] = block_rows([document], tokenizer, blocks)
            task.advance()
    return _Rows(by_split)


def _some(rows: list[np.ndarray], spec: PydocsTrainSpec) -> list[np.ndarray]:
    order = numpy_generator(spec.train.seed, "pydocs", "valid rows").permutation(len(rows))
    return [rows[index] for index in order[: spec.n_valid_rows]]


def _padded(rows: Sequence[np.ndarray], length: int, pad: int) -> Int[Tensor, "n pos"]:
    ids = np.full((len(rows), length), pad, dtype=np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return torch.from_numpy(ids)


def _config(spec: PydocsTrainSpec, tokenizer: PreTrainedTokenizerBase) -> GPTNeoXConfig:
    return GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.d_model,
        num_hidden_layers=spec.n_layers,
        num_attention_heads=spec.n_heads,
        intermediate_size=4 * spec.d_model,
        max_position_embeddings=spec.block_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        use_parallel_residual=True,
    )


def _judge(
    model: GPTNeoXForCausalLM, rows: _Rows, tokenizer: PreTrainedTokenizerBase, spec: PydocsTrainSpec
) -> dict[str, Any]:
    trigram = TrigramModel.fit(rows.of("train"), len(tokenizer))

    def of_model(document: list[np.ndarray]) -> np.ndarray:
        losses = causal_losses(model, _padded(document, spec.block_length, tokenizer.pad_token_id))
        kept: np.ndarray = losses[~losses.isnan()].double().numpy()
        return kept

    def of_trigram(document: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([trigram.losses(row) for row in document])

    by_model, by_trigram = (_sums(rows, of) for of in (of_model, of_trigram))
    difference = np.column_stack([by_trigram[:, 0] - by_model[:, 0], by_model[:, 1]])
    seed = spec.train.seed
    return {
        "what": "cross entropy a token, nats, on the documents of the test modules; the first token of a row is given",
        "n_documents": len(by_model),
        "n_tokens": int(by_model[:, 1].sum()),
        "model": _estimate(by_model, seed),
        "kneser_ney_trigram": _estimate(by_trigram, seed),
        "trigram_minus_model": _estimate(difference, seed),
    }


def _sums(rows: _Rows, losses: Callable[[list[np.ndarray]], np.ndarray]) -> np.ndarray:
    """Summed loss and number of tokens of each test document, float64 [n_documents 2]."""
    found = [losses(document) for document in rows.by_split["test"].values() if document]
    return np.array([(values.sum(), len(values)) for values in found], dtype=np.float64)


def _estimate(sums: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean a token with the 95 % percentile interval of a bootstrap that draws whole documents."""
    draws = numpy_generator(seed, "pydocs", "bootstrap").integers(0, len(sums), (N_RESAMPLES, len(sums)))
    totals = sums[draws].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    mean = sums[:, 0].sum() / sums[:, 1].sum()
    return {"nats_per_token": float(mean), "interval_95": [float(low), float(high)], "n_resamples": N_RESAMPLES}


def _sizes(rows: _Rows, split: str) -> dict[str, int]:
    kept = rows.of(split)
    return {"n_documents": len(rows.by_split[split]), "n_rows": len(kept), "n_tokens": sum(map(len, kept))}
