"""The pydocs subject: a tiny one is trained in seconds; the shipped one is what its record says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPTNeoXForCausalLM

from mechscope.core import BadDataError, digest_file
from mechscope.corpora.blocks import BlockSpec, block_rows
from mechscope.corpora.documents import split_of
from mechscope.corpora.python_library import library_files, module_documents
from mechscope.subjects.language_models import LanguageModelTrainSpec, causal_losses
from mechscope.subjects.pydocs import TrainedPydocs, TrainPydocsSpec, train_pydocs

SHIPPED = Path(__file__).parents[2] / "src" / "mechscope" / "subjects_data" / "pydocs"
TINY = TrainPydocsSpec(
    kinds=("topic",),
    d_vocab=400,
    block_length=32,
    d_model=16,
    n_layers=1,
    n_heads=2,
    n_valid_rows=16,
    training=LanguageModelTrainSpec(batch_size=16, n_steps=40, lr=1e-2, warmup=5, n_evaluations=2),
)


def test_a_tiny_one_is_made_again_byte_for_byte_and_learns(tmp_path: Path) -> None:
    first = train_pydocs(TINY, tmp_path / "a")
    again = train_pydocs(TINY, tmp_path / "b")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first.updated(cpu_seconds=0) == again.updated(cpu_seconds=0)
    assert first.history["valid_loss"][-1] < 5.5 < np.log(400)
    assert TrainedPydocs.read(tmp_path / "a" / "training_record.json") == first


def test_too_few_documents_for_three_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="raise n_documents"):
        train_pydocs(TINY.updated(n_documents=3), tmp_path)


def test_the_shipped_record_beats_the_trigram_model_clearly() -> None:
    record = TrainedPydocs.read(SHIPPED / "training_record.json")
    assert record.scores.n_tokens > 100_000
    assert record.scores.model.high < record.scores.trigram.low
    assert record.scores.trigram_minus_model.low > 0.1
    assert record.spec == TrainPydocsSpec(), "the defaults are the shipped checkpoint's"
    assert record.weights_sha256 == digest_file(SHIPPED / "model.safetensors")
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 4.5e6


def test_the_shipped_model_predicts_held_out_modules_as_recorded() -> None:
    record = TrainedPydocs.read(SHIPPED / "training_record.json")
    model = GPTNeoXForCausalLM.from_pretrained(SHIPPED)
    assert model.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    files = [file for file in library_files() if split_of(file.module) == "test"]
    documents = [document for file in files for document in module_documents(file, ("docstring", "source"))]
    rows = [row for row in block_rows(documents, tokenizer, BlockSpec()) if len(row) == 128]
    drawn = np.random.default_rng(0).choice(len(rows), 120, replace=False)
    losses = causal_losses(model, torch.from_numpy(np.stack([rows[index] for index in drawn])))
    # 120 of the 2,000 rows behind the record, help topics left out; another Python version has somewhat other text.
    assert float(losses.mean()) == pytest.approx(record.scores.model.nats_per_token, abs=0.4)


def test_the_shipped_tokenizer_gives_text_back_unchanged() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    text = "def f(x):\n    return 'naïve … ☃'  # 12\n"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 0
    assert tokenizer.decode(ids[1:]) == text
    assert len(tokenizer) == GPTNeoXForCausalLM.from_pretrained(SHIPPED).config.vocab_size
