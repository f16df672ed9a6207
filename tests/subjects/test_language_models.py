"""The shared training loop: it learns, repeats itself exactly, ignores padding, and writes what transformers opens."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from mechscope.core import BadDataError
from mechscope.subjects import LanguageModelTrainSpec, causal_losses, save_language_model, train_causal_lm

SPEC = LanguageModelTrainSpec(batch_size=16, n_steps=60, lr=1e-2, warmup=5, n_evaluations=3, seed=7)


def tiny_config(*, tie: bool = True, pad: int | None = 0) -> GPTNeoXConfig:
    return GPTNeoXConfig(
        vocab_size=13,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=pad,
        tie_word_embeddings=tie,
    )


def counting_rows(n_rows: int, n_pos: int = 10) -> Int[Tensor, "n pos"]:
    """Rows that count up from a random start, so that the next token follows from the last one."""
    starts = torch.randint(0, 12, (n_rows, 1), generator=torch.Generator().manual_seed(n_rows))
    return (starts + torch.arange(n_pos)) % 12 + 1


def test_it_learns_a_rule_and_reports_columns_of_equal_length() -> None:
    model, history = train_causal_lm(tiny_config(), counting_rows(64), counting_rows(20), SPEC)
    assert history["step"] == [20.0, 40.0, 60.0]
    assert {len(column) for column in history.values()} == {3}
    assert history["valid_loss"][-1] < 0.3 < math.log(12)
    assert history["lr"][-1] == pytest.approx(SPEC.lr * SPEC.final_lr_fraction)
    assert not model.training


def test_the_same_spec_gives_the_same_bytes_and_leaves_the_global_generator_alone() -> None:
    short = SPEC.updated(n_steps=5, n_evaluations=1)
    before = torch.get_rng_state()
    first, _ = train_causal_lm(tiny_config(), counting_rows(64), counting_rows(20), short)
    assert torch.equal(torch.get_rng_state(), before)
    again, _ = train_causal_lm(tiny_config(), counting_rows(64), counting_rows(20), short)
    other, _ = train_causal_lm(tiny_config(), counting_rows(64), counting_rows(20), short.updated(seed=8))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.gpt_neox.embed_in.weight, other.gpt_neox.embed_in.weight)


def test_padding_changes_neither_the_losses_nor_the_training() -> None:
    rows = counting_rows(32, 6)
    padded = torch.nn.functional.pad(rows, (0, 4), value=0)
    short = SPEC.updated(n_steps=5, n_evaluations=1)
    plain, plain_history = train_causal_lm(tiny_config(), rows, rows, short)
    _, padded_history = train_causal_lm(tiny_config(), padded, padded, short)
    assert padded_history["train_loss"] == pytest.approx(plain_history["train_loss"], rel=1e-4)
    losses = causal_losses(plain, padded)
    assert torch.allclose(losses[:, :5], causal_losses(plain, rows), atol=1e-5)
    assert losses[:, 5:].isnan().all()


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("half", [True, False])
def test_a_saved_model_opens_in_transformers_as_float32(tmp_path: Path, tie: bool, half: bool) -> None:
    model, _ = train_causal_lm(
        tiny_config(tie=tie), counting_rows(32), counting_rows(8), SPEC.updated(n_steps=2, n_evaluations=1)
    )
    words = {f"w{i}": i for i in range(13)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), pad_token="w0")
    save_language_model(model, tokenizer, tmp_path, {"seed": 7}, half=half)
    opened = GPTNeoXForCausalLM.from_pretrained(tmp_path)
    assert opened.dtype == torch.float32
    rows = counting_rows(8)
    assert torch.allclose(causal_losses(opened, rows), causal_losses(model, rows), atol=5e-3 if half else 1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == words
    assert json.loads((tmp_path / "training_record.json").read_text()) == {"seed": 7}


def test_bad_rows_are_refused_with_what_was_seen() -> None:
    with pytest.raises(BadDataError, match="from 1 to 40"):
        train_causal_lm(tiny_config(), torch.tensor([[1, 40]]), counting_rows(4), SPEC)
    with pytest.raises(BadDataError, match=r"validation rows have shape \(0, 4\)"):
        train_causal_lm(tiny_config(), counting_rows(4), torch.zeros(0, 4, dtype=torch.long), SPEC)


def test_a_loss_that_leaves_the_numbers_stops_the_training() -> None:
    with pytest.raises(BadDataError, match="lower `lr`"):
        train_causal_lm(
            tiny_config(tie=False, pad=None), counting_rows(8), counting_rows(8), SPEC.updated(lr=1e30, clip_norm=1e30)
        )
