"""Train a small causal language model and write it where `transformers` can open it.

For step t of n: draw the next batch of a seeded order over the rows (a new order each epoch); mean cross entropy of
token i + 1 given tokens 0..i, padding left out; clip the gradient's norm; one AdamW step at the rate
`lr * min(t / warmup, 1) * (f + (1 - f) * (1 + cos(pi * progress)) / 2)` with f = `final_lr_fraction`.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019); the cosine schedule without restarts. Decay is
applied to matrices only, never to biases or norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerBase

from mechscope.core import SILENT, BadDataError, Progress, Spec, derive_seed
from mechscope.store import write_bytes, write_json

__all__ = [
    "LanguageModelTrainSpec",
    "causal_losses",
    "computing_threads",
    "save_language_model",
    "train_causal_lm",
]

# In memory the output matrix has one of these names; on disk every version of transformers knows it as `embed_out`.
OUTPUT_NAMES = {"lm_head.weight", "embed_out.weight"}


class LanguageModelTrainSpec(Spec):
    """How a causal language model is trained.

    Attributes:
        batch_size: rows in a step.
        n_steps: optimiser steps.
        lr: peak learning rate of AdamW.
        warmup: steps over which the rate rises from zero.
        final_lr_fraction: rate at the last step, as a share of `lr`.
        weight_decay: decoupled decay of matrices.
        beta2: AdamW's second-moment decay (beta1 is 0.9).
        clip_norm: largest norm of the whole gradient.
        n_evaluations: rows of the history; the last one is at the last step.
        seed: root of initial weights and order of the rows.
        n_threads: CPU threads; with 1 the result is the same byte for byte on one machine.
    """

    batch_size: int = Field(default=32, ge=1)
    n_steps: int = Field(default=1000, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    warmup: int = Field(default=100, ge=0)
    final_lr_fraction: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.1, ge=0)
    beta2: float = Field(default=0.95, gt=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    n_evaluations: int = Field(default=10, ge=1)
    seed: int = 0
    n_threads: int = Field(default=1, ge=1)


def train_causal_lm(
    config: GPTNeoXConfig,
    train: Int[Tensor, "n pos"],
    valid: Int[Tensor, "n_valid pos"],
    spec: LanguageModelTrainSpec,
    progress: Progress = SILENT,
) -> tuple[GPTNeoXForCausalLM, dict[str, list[float]]]:
    """Train a GPT-NeoX model from scratch on the CPU.

    Args:
        config: shape of the model; its `pad_token_id` (or None) marks padding, which is masked out of the loss.
            Padding stands to the right, so that no real token ever attends to it.
        train: token ids, a row a sequence; any integer dtype; not changed.
        valid: token ids on which the history's `valid_loss` is measured; never trained on.
        spec: see `LanguageModelTrainSpec`.
        progress: one bar of `n_steps`.

    Returns:
        The model in evaluation mode, float32, and the history: columns `step`, `lr`, `train_loss` (mean since the
        row before) and `valid_loss` of equal length, in nats a token.

    Raises:
        BadDataError: no rows, a row shorter than two tokens, ids outside the vocabulary, or a loss that is not finite.
    """
    _check_rows(config, train, "training")
    _check_rows(config, valid, "validation")
    with computing_threads(spec.n_threads):
        model = _seeded_model(config, derive_seed(spec.seed, "language model", "weights"))
        history: dict[str, list[float]] = {"step": [], "lr": [], "train_loss": [], "valid_loss": []}
        optimizer = _optimizer(model, spec)
        marks = {round((i + 1) * spec.n_steps / spec.n_evaluations) for i in range(spec.n_evaluations)}
        recent: list[float] = []
        with progress.task("train the language model", total=spec.n_steps, unit="step") as task:
            for step, rows in enumerate(_orders(len(train), spec), start=1):
                recent.append(_train_step(model, optimizer, train[rows].long(), step, spec))
                task.advance(note=f"loss {recent[-1]:.3f}")
                if step in marks:
                    _record(history, step, _rate(step, spec), recent, model, valid, spec)
                    recent = []
        return model.eval(), history


def causal_losses(
    model: GPTNeoXForCausalLM, ids: Int[Tensor, "n pos"], *, batch_size: int = 32
) -> Float[Tensor, "n pos-1"]:
    """Cross entropy in nats of each token after the first, given those before it; NaN where the target is padding.

    One forward pass; memory batch_size x pos x d_vocab floats. The model is left in evaluation mode.
    """
    model.eval()
    pad = model.config.pad_token_id
    parts = []
    with torch.no_grad():
        for batch in torch.split(ids.long(), batch_size):
            losses = _token_losses(model, batch)
            parts.append(losses if pad is None else losses.masked_fill(batch[:, 1:] == pad, math.nan))
    return torch.cat(parts)


def save_language_model(
    model: GPTNeoXForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    record: Mapping[str, Any],
    *,
    half: bool,
) -> None:
    """Write a model folder in Hugging Face's layout, each file whole or not at all.

    Args:
        model: what is saved.
        tokenizer: a fast tokenizer; gives `tokenizer.json` and `tokenizer_config.json`.
        folder: made if missing; files in it are replaced.
        record: written to `training_record.json`: how the model was made and how good it is (JSON types).
        half: store the weights as float16; `config.json` still says float32, so that they open as float32.
    """
    dtype = torch.float16 if half else torch.float32
    tied = OUTPUT_NAMES if model.config.tie_word_embeddings else set()
    weights = {
        "embed_out.weight" if name in OUTPUT_NAMES else name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in sorted(model.state_dict().items())
        if name not in tied
    }
    config = {**model.config.to_dict(), "architectures": [type(model).__name__], "dtype": "float32"}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_json(folder / "training_record.json", dict(record))
    write_json(folder / "config.json", config)


@contextmanager
def computing_threads(n_threads: int) -> Iterator[None]:
    """Compute with `n_threads` CPU threads inside the block, and with as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seeded_model(config: GPTNeoXConfig, seed: int) -> GPTNeoXForCausalLM:
    # transformers draws initial weights from torch's global generator: lend it a seeded state, then put it back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(config).float()


def _optimizer(model: nn.Module, spec: LanguageModelTrainSpec) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, spec.beta2), fused=True)


def _orders(n_rows: int, spec: LanguageModelTrainSpec) -> Iterator[Int[Tensor, " batch"]]:
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "language model", "order"))
    waiting = torch.zeros(0, dtype=torch.long)
    for _ in range(spec.n_steps):
        while len(waiting) < spec.batch_size:
            waiting = torch.cat([waiting, torch.randperm(n_rows, generator=generator)])
        yield waiting[: spec.batch_size]
        waiting = waiting[spec.batch_size :]


def _rate(step: int, spec: LanguageModelTrainSpec) -> float:
    if step < spec.warmup:
        return spec.lr * step / spec.warmup
    done = (step - spec.warmup) / max(spec.n_steps - spec.warmup, 1)
    floor = spec.final_lr_fraction
    return spec.lr * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


def _train_step(
    model: GPTNeoXForCausalLM,
    optimizer: torch.optim.AdamW,
    ids: Int[Tensor, "batch pos"],
    step: int,
    spec: LanguageModelTrainSpec,
) -> float:
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = _rate(step, spec)
    losses = _token_losses(model, ids)
    pad = model.config.pad_token_id
    real = torch.ones_like(losses) if pad is None else (ids[:, 1:] != pad).float()
    loss = (losses * real).sum() / real.sum().clamp(min=1)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise BadDataError(
            f"the loss at step {step} is {value}", expected="a finite loss", todo="lower `lr` or lengthen `warmup`"
        )
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)
    optimizer.step()
    return value


def _token_losses(model: GPTNeoXForCausalLM, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos-1"]:
    # Flat rows of logits: over a transposed [batch d_vocab pos] the softmax takes three times as long on a CPU.
    hidden = model.gpt_neox(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(hidden.flatten(0, 1))
    return nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none").view(hidden.shape[:2])


def _record(
    history: dict[str, list[float]],
    step: int,
    rate: float,
    recent: list[float],
    model: GPTNeoXForCausalLM,
    valid: Int[Tensor, "n pos"],
    spec: LanguageModelTrainSpec,
) -> None:
    history["step"].append(float(step))
    history["lr"].append(rate)
    history["train_loss"].append(sum(recent) / len(recent))
    history["valid_loss"].append(float(causal_losses(model, valid, batch_size=spec.batch_size).nanmean()))


def _check_rows(config: GPTNeoXConfig, ids: Int[Tensor, "n pos"], what: str) -> None:
    todo = "check how the rows were tokenised and cut"
    if ids.ndim != 2 or ids.shape[0] == 0 or ids.shape[1] < 2:
        raise BadDataError(
            f"the {what} rows have shape {tuple(ids.shape)}", expected="[n pos] with n >= 1 and pos >= 2", todo=todo
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= config.vocab_size:
        raise BadDataError(
            f"the {what} rows have ids from {low} to {high}", expected=f"ids in 0..{config.vocab_size - 1}", todo=todo
        )
