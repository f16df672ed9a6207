"""Checkpoints of a training run: a folder that is there whole, or not at all.

    checkpoints/step-000001000/state.safetensors    weights, Adam moments, firing counters
    checkpoints/step-000001000/state.json           counters, place in the data, history, digest of the run's key

The folder is written under a temporary name and renamed; then the older one is removed. No pickle.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mechscope.core import BadDataError, ConflictError, digest_file
from mechscope.dictionaries import Dictionary
from mechscope.store import clear_temporaries, fsync_folder, read_json, require_room, write_json
from mechscope.training.specs import TrainSpec
from mechscope.training.states import TrainState, make_optimizer

__all__ = ["latest_checkpoint", "load_checkpoint", "remove_checkpoints", "save_checkpoint"]

TENSORS_NAME = "state.safetensors"
COUNTERS_NAME = "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
COUNTERS = ("scale", "step", "epoch", "batch", "n_seen", "n_revived", "seconds", "history")


def save_checkpoint(folder: Path, state: TrainState, *, key_digest: str) -> Path:
    """Write the state under `folder/checkpoints` and remove older checkpoints; returns the new folder.

    Raises ConflictError when the disk is full; the older checkpoint then stays.
    """
    root = folder / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    clear_temporaries(root)
    tensors = _tensors(state)
    require_room(root, sum(value.nbytes for value in tensors.values()) + (1 << 20), what="a training checkpoint")
    target = root / f"step-{state.step:09d}"
    temporary = root / f".tmp-{os.getpid()}-{target.name}"
    temporary.mkdir()
    save_file(tensors, temporary / TENSORS_NAME)
    with (temporary / TENSORS_NAME).open("rb") as file:
        os.fsync(file.fileno())
    counters = {name: getattr(state, name) for name in COUNTERS}
    sha256 = digest_file(temporary / TENSORS_NAME)
    write_json(temporary / COUNTERS_NAME, {"key_digest": key_digest, "sha256": sha256, **counters})
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)
    fsync_folder(root)
    for older in _folders(folder):
        if older != target:
            shutil.rmtree(older)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of an unfinished run, or None."""
    return max(_folders(folder), default=None)


def load_checkpoint(path: Path, spec: TrainSpec, d_in: int, *, key_digest: str) -> TrainState:
    """The state that `save_checkpoint` wrote, bit by bit.

    Raises:
        ConflictError: it belongs to another run (other spec or other activations).
        BadDataError: a file is damaged.
    """
    counters = read_json(path / COUNTERS_NAME)
    if counters.pop("key_digest", None) != key_digest:
        raise ConflictError(
            f"{path} belongs to another training run",
            expected="a checkpoint of this spec over these activations",
            todo="give this run a folder of its own, or delete the unfinished one",
        )
    if not (path / TENSORS_NAME).is_file() or digest_file(path / TENSORS_NAME) != counters.pop("sha256"):
        raise BadDataError(
            f"{path / TENSORS_NAME} is damaged",
            expected="the checksum in state.json",
            todo=f"delete {path} and train again",
        )
    tensors = load_file(path / TENSORS_NAME)
    dictionary = Dictionary(spec.dictionary_spec(d_in))
    optimizer = make_optimizer(dictionary, spec.lr)
    with torch.no_grad():
        for name, parameter in dictionary.named_parameters():
            parameter.copy_(tensors[name])
            # copied, not mapped: matrix products may round differently on memory with another alignment
            moments = {m: torch.empty_like(parameter).copy_(tensors[f"{name}.{m}"]) for m in MOMENTS}
            optimizer.state[parameter] = {"step": tensors[f"{name}.step"].clone(), **moments}
    return TrainState(dictionary, optimizer, tensors["silent_samples"].clone(), **counters)


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints: the run is finished."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _folders(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*"))


def _tensors(state: TrainState) -> dict[str, Tensor]:
    tensors = {"silent_samples": state.silent_samples}
    for name, parameter in state.dictionary.named_parameters():
        tensors[name] = parameter.detach().contiguous()
        for entry in (*MOMENTS, "step"):
            tensors[f"{name}.{entry}"] = state.optimizer.state[parameter][entry].contiguous()
    return tensors
