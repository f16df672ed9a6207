"""The `pydocs` subject: a byte-level BPE tokenizer and a small GPT-NeoX model of the text that ships with Python.

documents of the running Python's library, split by module
tokenizer: byte-level BPE learnt on the "train" documents
model: trained on their blocks; history measured on some "valid" blocks
judged on the "test" documents beside a Kneser-Ney trigram model of the same training tokens
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import process_time

import numpy as np
import tokenizers
import torch
import transformers
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechscope import __version__
from mechscope.core import SILENT, BadDataError, Progress, Spec, digest_file, digest_of, numpy_generator
from mechscope.corpora.blocks import BlockSpec, block_rows
from mechscope.corpora.documents import Document, split_of
from mechscope.corpora.python_library import PythonKind
from mechscope.corpora.sources.pydocs import PydocsSource
from mechscope.store import write_json
from mechscope.subjects.language_models import (
    LanguageModelTrainSpec,
    computing_threads,
    save_language_model,
    train_causal_lm,
)
from mechscope.subjects.pydocs_scores import SPLITS, PydocsScores, SplitRows, SplitSize, headline, score_pydocs_model

__all__ = ["TrainPydocsSpec", "TrainedPydocs", "train_pydocs", "train_tokenizer"]

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"


class TrainPydocsSpec(Spec):
    """How the pydocs subject is made. The defaults are the shipped checkpoint's.

    Attributes:
        seed: weights, order of the documents and of the rows derive from it.
        kinds: which documents of the library.
        n_documents: take only so many (tests); None takes all.
        d_vocab: size of the tokenizer, its two special tokens counted.
        block_length: tokens in a training row, and the longest input of the model.
        d_model, n_layers, n_heads: shape of the model, its MLP four times as wide and its output tied to its embedding.
        n_valid_rows: blocks on which the history is measured.
        training: the optimiser's settings; its own seed is not used, `seed` takes its place.
    """

    seed: int = 0
    kinds: tuple[PythonKind, ...] = ("topic", "docstring", "source")
    n_documents: int | None = Field(default=None, ge=3)
    d_vocab: int = Field(default=4096, ge=300)
    block_length: int = Field(default=128, ge=4)
    d_model: int = Field(default=160, ge=8)
    n_layers: int = Field(default=4, ge=1)
    n_heads: int = Field(default=5, ge=1)
    n_valid_rows: int = Field(default=128, ge=1)
    training: LanguageModelTrainSpec = LanguageModelTrainSpec(
        batch_size=8, n_steps=4400, lr=3e-3, warmup=100, n_evaluations=11
    )


class TrainedPydocs(Spec):
    """What training gave. Losses are in nats a token; `scores` are of the stored float16 weights."""

    headline: str
    spec: TrainPydocsSpec
    python: str
    text_sha256: str
    sizes: dict[str, SplitSize]
    n_parameters: int
    history: dict[str, list[float]]
    scores: PydocsScores
    weights_sha256: str
    cpu_seconds: float
    versions: dict[str, str]


def train_pydocs(spec: TrainPydocsSpec, folder: Path, progress: Progress = SILENT) -> TrainedPydocs:
    """Make tokenizer and model, write the model folder, and judge them on held-out modules.

    Deterministic on one machine, thread count and Python version (another Python ships another text).

    Args:
        spec: see `TrainPydocsSpec`.
        folder: receives the Hugging Face layout, float16, and `training_record.json`.
        progress: bars of documents and steps.

    Cost: about 0.2 s of one CPU core a step for the default sizes; 13 CPU minutes in all.
    """
    began = process_time()
    documents = library_documents(spec)
    tokenizer = train_tokenizer((d.text for d in documents if split_of(d.group) == "train"), spec)
    rows = split_rows(documents, tokenizer, spec, progress)
    train, valid = rows.padded("train"), rows.padded("valid")
    watched = numpy_generator(spec.seed, "pydocs", "valid rows").permutation(len(valid))[: spec.n_valid_rows]
    training = spec.training.updated(seed=spec.seed)
    model, history = train_causal_lm(model_config(spec, tokenizer), train, valid[watched], training, progress)
    save_language_model(model, tokenizer, folder, {}, half=True)
    with computing_threads(training.n_threads):
        stored = GPTNeoXForCausalLM.from_pretrained(folder).eval()
        scores = score_pydocs_model(stored, rows, seed=spec.seed)
    trained = TrainedPydocs(
        headline=headline(scores),
        spec=spec,
        python=platform.python_version(),
        text_sha256=digest_of({document.name: document.text for document in documents}),
        sizes=rows.sizes(),
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        history=history,
        scores=scores,
        weights_sha256=digest_file(folder / "model.safetensors"),
        cpu_seconds=round(process_time() - began, 1),
        versions=versions(),
    )
    write_json(folder / "training_record.json", trained.to_json())
    return trained


def train_tokenizer(texts: Iterable[str], spec: TrainPydocsSpec) -> PreTrainedTokenizerBase:
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


def library_documents(spec: TrainPydocsSpec) -> list[Document]:
    """The documents of all three splits, in the seed's order. Raises BadDataError when a split is empty."""
    documents = []
    for document in PydocsSource(kinds=spec.kinds, n_rows=None, seed=spec.seed).documents():
        documents.append(document)
        if spec.n_documents is not None and len(documents) >= spec.n_documents:
            break
    missing = [split for split in SPLITS if split not in {split_of(document.group) for document in documents}]
    if missing:
        raise BadDataError(
            f"{len(documents)} documents leave the {missing[0]!r} split empty",
            expected="documents in all three splits",
            todo="raise n_documents",
        )
    return documents


def split_rows(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, spec: TrainPydocsSpec, progress: Progress
) -> SplitRows:
    """The blocks of each document, by the split of its module."""
    blocks = BlockSpec(block_length=spec.block_length)
    found: dict[str, dict[str, list[np.ndarray]]] = {split: {} for split in SPLITS}
    with progress.task("tokenise the library", total=len(documents), unit="documents") as task:
        for document in documents:
            found[split_of(document.group)][document.name] = block_rows([document], tokenizer, blocks)
            task.advance()
    return SplitRows(found, spec.block_length, tokenizer.pad_token_id, len(tokenizer))


def model_config(spec: TrainPydocsSpec, tokenizer: PreTrainedTokenizerBase) -> GPTNeoXConfig:
    """The shape of the model."""
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


def versions() -> dict[str, str]:
    """The libraries that the bytes of the checkpoint depend on."""
    return {
        "mechscope": __version__,
        "numpy": np.__version__,
        "tokenizers": tokenizers.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
