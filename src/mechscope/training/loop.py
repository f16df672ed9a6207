"""The training loop: batches in, a published dictionary folder out; killed at any moment, it goes on where it was.

resume from the newest checkpoint, or estimate centre and scale and draw the first weights
for each batch: loss of the architecture, gradients, Adam, counters, dead features, history, checkpoint
fold decoder norms and input scale, save in SAELens' layout, publish
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import SILENT, BadDataError, ConflictError, Progress, UsageError, digest_of
from mechscope.dictionaries import Dictionary, LossTerms, Pressure, architecture_of
from mechscope.store import file_entry, is_complete, publish, read_json, read_manifest, write_json
from mechscope.training.checkpoints import latest_checkpoint, load_checkpoint, remove_checkpoints, save_checkpoint
from mechscope.training.resampling import is_resampling_step, resample
from mechscope.training.scaling import estimate_scaling, require_finite
from mechscope.training.schedules import l1_at, lr_at
from mechscope.training.sources import SampleSource
from mechscope.training.specs import TrainSpec
from mechscope.training.states import HISTORY_COLUMNS, TrainState, initial_state

__all__ = ["TrainResult", "advance", "train", "train_key"]

KIND = "dictionary"
FILES = ("sae_weights.safetensors", "cfg.json", "history.json", "metrics.json")


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        dictionary: takes raw activations; decoder rows have norm 1.
        history: columns of equal length, one entry for each logged step, for curves.
        metrics: the last logged values on a training batch, with `n_steps` and `n_samples_seen`.
        folder: where it was published.
        was_reused: whether it stood there already and nothing was trained.
    """

    dictionary: Dictionary
    history: dict[str, list[float]]
    metrics: dict[str, float]
    folder: Path
    was_reused: bool


def train_key(source: SampleSource, spec: TrainSpec) -> dict[str, Any]:
    """What decides the result: the activations and the spec, but for settings that change no bit of it."""
    settings = spec.to_json()
    del settings["checkpoint_every"]
    return {"kind": KIND, "activations": digest_of(dict(source.key)), "d_in": source.d_in, "train": settings}


def train(source: SampleSource, spec: TrainSpec, folder: Path, progress: Progress = SILENT) -> TrainResult:
    """Train a dictionary into `folder`, resume an unfinished training there, or reuse a finished one.

    Costs one dense encoder product a step for sparse codes, and 16 bytes a weight (weights, gradients, two moments).

    Args:
        source: the samples.
        spec: the settings.
        folder: the artifact's own folder, usually `artifact_folder(root, train_key(source, spec))`.
        progress: told about steps, and about resuming and reuse.

    Raises:
        NotFoundError, UsageError: the architecture is unknown or refuses the spec.
        BadDataError: NaN or infinity in the activations or the loss, with the step and the row.
        ConflictError: `folder` holds the training of another spec or source.
    """
    architecture_of(spec.dictionary_spec(source.d_in))
    key = train_key(source, spec)
    if is_complete(folder):
        return _reuse(folder, key, progress)
    with _threads(spec.n_threads):
        n_steps = spec.total_steps(source.n_samples)
        state = _start(source, spec, folder, key, progress)
        with progress.task(f"train {spec.architecture}", total=n_steps, unit="step") as task:
            task.advance(state.step)
            for x in _batches(source, spec, state, n_steps):
                advance(state, x, spec, n_steps=n_steps)
                if state.step % spec.checkpoint_every == 0 and state.step < n_steps:
                    save_checkpoint(folder, state, key_digest=digest_of(key))
                task.advance(1, note=f"fvu {state.history['fvu'][-1]:.3f}")
        return _finish(state, spec, folder, key)


def _start(source: SampleSource, spec: TrainSpec, folder: Path, key: dict[str, Any], progress: Progress) -> TrainState:
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return initial_state(spec, source.d_in, estimate_scaling(source, spec))
    state = load_checkpoint(checkpoint, spec, source.d_in, key_digest=digest_of(key))
    progress.say(f"training goes on at step {state.step}")
    return state


def _batches(source: SampleSource, spec: TrainSpec, state: TrainState, n_steps: int) -> Iterator[Tensor]:
    """Batches from where the state stands until the last step; the state's place moves before each yield."""
    while state.step < n_steps:
        first = state.batch
        for x in source.batches(spec.batch_size, seed=spec.seed, epoch=state.epoch, start_batch=first):
            if x.ndim != 2 or x.shape[1] != source.d_in or not len(x):
                raise BadDataError(
                    f"a batch of shape {tuple(x.shape)} at step {state.step}",
                    expected=f"[n, {source.d_in}]",
                    todo="collect the activations again",
                )
            state.batch += 1
            yield x
            if state.step >= n_steps:
                return
        if first == 0 and state.batch == 0:
            raise BadDataError(
                f"epoch {state.epoch} has no batch", expected="at least one sample", todo="check the activations"
            )
        state.epoch, state.batch = state.epoch + 1, 0


def advance(state: TrainState, x: Float[Tensor, "batch d_in"], spec: TrainSpec, *, n_steps: int) -> LossTerms:
    """One whole step on a batch of raw samples: update, counters, dead features, history; changes `state` in place."""
    terms = _step(state, x, spec, n_steps)
    _after(state, x, terms, spec, n_steps)
    return terms


def _step(state: TrainState, x: Float[Tensor, "batch d_in"], spec: TrainSpec, n_steps: int) -> LossTerms:
    """One update of the weights. Nothing is changed when the loss is not finite."""
    started = time.perf_counter()
    dictionary = state.dictionary
    dead = state.dead(spec.dead_window_samples)
    pressure = Pressure(
        l1_coefficient=l1_at(spec, state.step, n_steps),
        aux_coefficient=spec.aux_coefficient,
        k_aux=spec.k_aux or max(1, dictionary.d_in // 2),
        dead=dead if bool(dead.any()) else None,
    )
    terms = dictionary.architecture.loss(x * state.scale, dictionary.spec, dictionary.weights, pressure)
    if not math.isfinite(float(terms.total.detach())):
        require_finite(x, where=f"the batch of step {state.step} (epoch {state.epoch}, batch {state.batch - 1})")
        raise BadDataError(
            f"the loss is {float(terms.total.detach())} at step {state.step}",
            expected="a finite loss",
            todo=f"train with a learning rate below {spec.lr:g}, or a longer warm-up",
        )
    state.optimizer.param_groups[0]["lr"] = lr_at(spec, state.step, n_steps)
    state.optimizer.zero_grad(set_to_none=True)
    terms.total.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    if spec.decoder_norm == "unit":
        with torch.no_grad():
            dictionary.W_dec.div_(dictionary.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))
    state.seconds += time.perf_counter() - started
    return terms


def _after(state: TrainState, x: Tensor, terms: LossTerms, spec: TrainSpec, n_steps: int) -> None:
    """Counters, resampling and history, after the update of step `state.step`."""
    state.note_fired(terms.fired, len(x))
    if state.dictionary.architecture.revives_by == "resample" and is_resampling_step(spec, state, len(x), n_steps):
        state.n_revived += resample(state, terms.residual, spec)
    if state.step % spec.log_interval(n_steps) == 0 or state.step == n_steps - 1:
        _log(state, x, terms, spec, n_steps)
    state.step += 1


def _log(state: TrainState, x: Tensor, terms: LossTerms, spec: TrainSpec, n_steps: int) -> None:
    scaled = x * state.scale
    variance = float((scaled - scaled.mean(0)).square().sum()) / len(x)
    row = {
        "step": state.step,
        "samples": state.n_seen,
        "loss": float(terms.total.detach()),
        "fvu": float(terms.error) / variance if variance > 0 else 0.0,
        "l0": terms.n_active / len(x),
        "dead_share": float(state.dead(spec.dead_window_samples).float().mean()),
        "l1": float(terms.l1),
        "aux": float(terms.aux),
        "lr": lr_at(spec, state.step, n_steps),
        "l1_coefficient": l1_at(spec, state.step, n_steps),
    }
    for name in HISTORY_COLUMNS:
        state.history[name].append(row[name])


def _finish(state: TrainState, spec: TrainSpec, folder: Path, key: dict[str, Any]) -> TrainResult:
    dictionary = state.dictionary
    dictionary.fold_decoder_norms_()
    dictionary.fold_input_scale_(state.scale)
    dictionary.requires_grad_(False)
    dictionary.provenance = {"train_key_digest": digest_of(key), "train_spec": spec.to_json()}
    last = {name: values[-1] for name, values in state.history.items()}
    metrics = {**last, "n_steps": state.step, "n_samples_seen": state.n_seen, "n_revived": state.n_revived}
    dictionary.save(folder)
    write_json(folder / "history.json", state.history)
    write_json(folder / "metrics.json", metrics)
    facts = {
        "train_seconds": state.seconds,
        "n_threads": torch.get_num_threads(),
        "device": str(dictionary.b_dec.device),
        "dtype": str(dictionary.b_dec.dtype),
        "torch": torch.__version__,
        "digest": dictionary.digest,
    }
    publish(folder, kind=KIND, key=key, files={name: file_entry(folder / name) for name in FILES}, facts=facts)
    remove_checkpoints(folder)
    return TrainResult(dictionary, state.history, metrics, folder, was_reused=False)


def _reuse(folder: Path, key: dict[str, Any], progress: Progress) -> TrainResult:
    if read_manifest(folder, kind=KIND).key_digest != digest_of(key):
        raise ConflictError(
            f"{folder} holds a dictionary trained with other settings or on other activations",
            expected="an empty folder, or one of this training",
            todo="train into another folder",
        )
    remove_checkpoints(folder)
    progress.say(f"dictionary reused from {folder.name}")
    dictionary = Dictionary.load(folder).requires_grad_(False)
    history, metrics = read_json(folder / "history.json"), read_json(folder / "metrics.json")
    return TrainResult(dictionary, history, metrics, folder, was_reused=True)


@contextmanager
def _threads(n_threads: int | None) -> Iterator[None]:
    if n_threads is not None and n_threads < 1:
        raise UsageError(f"{n_threads} threads", expected="1 or more", todo="set n_threads")
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
