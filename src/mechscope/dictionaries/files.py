"""Dictionaries on disk, in SAELens' layout.

    cfg.json                   architecture ("standard", "topk"), d_in, d_sae, apply_b_dec_to_input, ..., metadata
    sae_weights.safetensors    W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_enc [d_sae], b_dec [d_in]

A saved dictionary takes raw activations: whatever scaled the inputs in training has been folded into the weights.
`cfg.json` is written after the weights, so a folder that has it has its weights. A folder where a dictionary was
trained holds more files and counts once its manifest is there; its checksums are verified at load.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mechscope.core import BadDataError, NotFoundError, unknown_name
from mechscope.core.kinds import ARCHITECTURES
from mechscope.dictionaries.architecture import Architecture
from mechscope.dictionaries.specs import DictionarySpec
from mechscope.store import atomic_path, is_complete, read_json, verify, write_json

__all__ = ["CONFIG_NAME", "KIND", "WEIGHTS_NAME", "check_tensors", "load", "save"]

CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae_weights.safetensors"
TRAINING_NAMES = ("key.json", "history.json", "metrics.json", "checkpoints")  # what a training leaves beside them
KIND = "dictionary"
NEUTRAL = {"normalize_activations": "none", "reshape_activations": "none"}


def save(
    folder: Path,
    spec: DictionarySpec,
    architecture: Architecture,
    parameters: Mapping[str, Tensor],
    provenance: dict[str, Any],
) -> None:
    """Write both files; raises BadDataError on weights that are not finite, before anything is written."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in parameters.items()}
    for name, value in tensors.items():
        _require_finite(f"weight {name} of the dictionary", value)
    cfg = {
        "architecture": architecture.saelens_name,
        "d_in": spec.d_in,
        "d_sae": spec.n_features,
        "dtype": str(tensors["W_dec"].dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": spec.apply_b_dec_to_input,
        **NEUTRAL,
        **architecture.cfg_fields(spec),
        "metadata": {**provenance, "mechscope_spec": spec.to_json()},
    }
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        save_file(tensors, temporary)
    write_json(folder / CONFIG_NAME, cfg)


def load(folder: Path) -> tuple[DictionarySpec, dict[str, Tensor], dict[str, Any], bool]:
    """Spec, tensors, provenance, and whether codes are still to be scaled by the norms of the decoder rows."""
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise NotFoundError(
                f"no {name} in {folder}",
                expected=f"a dictionary folder with {CONFIG_NAME} and {WEIGHTS_NAME}",
                todo="check the path, or finish the training that writes it",
            )
    _refuse_unfinished(folder)
    if is_complete(folder):
        verify(folder, kind=KIND)
    cfg = read_json(folder / CONFIG_NAME)
    spec = _spec_from(cfg, folder / CONFIG_NAME)
    metadata = {name: value for name, value in (cfg.get("metadata") or {}).items() if name != "mechscope_spec"}
    return spec, _read_tensors(folder / WEIGHTS_NAME), metadata, bool(cfg.get("rescale_acts_by_decoder_norm", False))


def _refuse_unfinished(folder: Path) -> None:
    left = [name for name in TRAINING_NAMES if (folder / name).exists()]
    if left and not is_complete(folder):
        raise BadDataError(
            f"{folder} holds an unfinished training: {left[0]} and no manifest.json",
            expected="a finished training, or an exported folder of the two files alone",
            todo="train again with the same settings: it goes on where it stopped",
        )


def check_tensors(folder: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise BadDataError unless the tensors have exactly these names and shapes and are finite."""
    path = folder / WEIGHTS_NAME
    seen = {name: tuple(value.shape) for name, value in tensors.items()}
    if seen != dict(shapes):
        wrong = sorted(name for name in {*seen, *shapes} if seen.get(name) != shapes.get(name))
        shown = ", ".join(f"{name} {list(seen[name]) if name in seen else 'missing'}" for name in wrong)
        wanted = ", ".join(f"{name} {list(shapes[name]) if name in shapes else 'absent'}" for name in wrong)
        raise BadDataError(
            f"{path} holds {shown}", expected=f"{wanted}, as {CONFIG_NAME} says", todo="export the dictionary again"
        )
    for name, value in tensors.items():
        _require_finite(f"{name} in {path}", value)


def _spec_from(cfg: Any, path: Path) -> DictionarySpec:
    missing = [key for key in ("architecture", "d_in", "d_sae") if not isinstance(cfg, dict) or key not in cfg]
    if missing:
        raise BadDataError(
            f"{path} has no {missing[0]!r}",
            expected="a cfg.json as SAELens 6 writes it",
            todo="convert older files with SAELens first",
        )
    for key, neutral in NEUTRAL.items():
        if cfg.get(key, neutral) not in {neutral, None}:
            raise BadDataError(
                f"{key} is {cfg[key]!r} in {path}",
                expected=f"{neutral!r}: a dictionary that takes raw activations",
                todo="fold the normalisation into the weights before saving",
            )
    name = _own_name(str(cfg["architecture"]))
    architecture: Architecture = ARCHITECTURES.get(name)()
    own = (cfg.get("metadata") or {}).get("mechscope_spec", {})
    fields = {
        "architecture": name,
        "d_in": cfg["d_in"],
        "n_features": cfg["d_sae"],
        "apply_b_dec_to_input": cfg.get("apply_b_dec_to_input", True),
        "options": own.get("options", {}),
        **architecture.spec_fields(cfg),
    }
    return DictionarySpec.parse(fields, where=str(path))


def _own_name(saelens_name: str) -> str:
    names = {str(ARCHITECTURES.get(name).saelens_name): name for name in ARCHITECTURES.names()}
    if saelens_name not in names:
        raise unknown_name("architecture", saelens_name, names)
    return names[saelens_name]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise BadDataError(
            f"{path} is not a safetensors file: {error}", expected="whole safetensors", todo="copy it again"
        ) from error
    return tensors


def _require_finite(what: str, value: Tensor) -> None:
    n_bad = int((~torch.isfinite(value)).sum())
    if n_bad:
        raise BadDataError(
            f"{what} holds {n_bad} values that are NaN or infinite",
            expected="finite weights",
            todo="train again with a lower learning rate, or fetch the file again",
        )
