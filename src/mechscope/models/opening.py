"""Where a model comes from: a shipped subject, a local folder, the hub, or a module in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mechscope.core import BadDataError, NotFoundError, Spec, UsageError, unknown_name
from mechscope.core.hugging_face import PreTrainedTokenizerBase, is_transformers_model
from mechscope.core.kinds import FAMILIES
from mechscope.models.block_flow import follow_stream
from mechscope.models.component_map import ComponentMap
from mechscope.models.discovery import discover_map
from mechscope.models.family import LoadingFamily
from mechscope.models.first_forward import require_forward
from mechscope.models.loading import load_pretrained
from mechscope.models.openable import require_parts, require_unwrapped, require_weights
from mechscope.models.tokenizer_files import load_tokenizer
from mechscope.models.weights import require_values

__all__ = ["Opened", "open_source", "read_device", "shipped_models"]

SHIPPED = Path(__file__).parents[1] / "subjects_data"
HEAD_COUNTS = ("num_attention_heads", "n_head", "n_heads")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Opened:
    """A module with everything that was found beside it. `config` is None for a module that has none."""

    name: str
    module: nn.Module
    component_map: ComponentMap
    config: Mapping[str, Any] | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    vocabulary: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def shipped_models() -> dict[str, Path]:
    """The subjects that ship with the package: name -> model folder."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob("*/config.json"))}


def open_source(
    source: object,
    *,
    component_map: ComponentMap | None,
    device: str | torch.device,
    dtype: torch.dtype | None,
) -> Opened:
    """See `Model.open`."""
    if dtype not in {None, *DTYPES}:
        raise UsageError(
            f"dtype {dtype}",
            expected=f"one of {', '.join(map(str, DTYPES))}: the sites of a model are floating-point numbers",
            todo="correct `dtype`",
        )
    device = read_device(device)
    if isinstance(source, nn.Module):
        _require_dtype(source, dtype)
        return _open_module(source, component_map, device)
    if not isinstance(source, str | Path):
        raise UsageError(
            f"a {type(source).__name__} ({source!r:.60}) where a model is wanted",
            expected=f"a shipped subject ({', '.join(shipped_models())}), a folder, a hub id, or a torch.nn.Module",
            todo="for example Model.open('agreement')",
        )
    dtype = dtype or torch.float32
    folder = _folder_of(source)
    if folder is None:
        return _open_pretrained(str(source), str(source), component_map, device=device, dtype=dtype)
    config = _folder_config(folder)
    family = FAMILIES.get(config["model_type"]) if config["model_type"] in FAMILIES.names() else None
    if family is None or not isinstance(instance := family(), LoadingFamily):
        return _open_pretrained(folder.name, str(folder), component_map, device=device, dtype=dtype)
    module = instance.load(folder).to(device=device, dtype=dtype).eval()
    config = _own_config(module) or config
    return Opened(
        folder.name,
        module,
        component_map or family().component_map(config),
        config,
        vocabulary=instance.vocabulary(folder),
    )


def read_device(name: str | torch.device) -> torch.device:
    """A device that can hold values. Raises UsageError for meta, and for one that this machine or its torch has not."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:
        first = str(error).strip().split("\n", 1)[0]
        raise UsageError(
            f"device {str(name)!r}: {first}",
            expected="cpu, cuda, cuda:1 or mps, as far as this machine and its torch have it",
            todo="choose another device; 'cpu' is always there",
        ) from error
    return device


def _require_dtype(module: nn.Module, dtype: torch.dtype | None) -> None:
    """A module keeps its dtype: another one is refused, not taken for a wish that was granted."""
    own = next((part.dtype for part in module.parameters() if part.dtype.is_floating_point), None)
    if dtype not in {None, own}:
        raise UsageError(
            f"dtype={dtype} for a {type(module).__name__} of {own}",
            expected="no dtype: a module is used as it stands",
            todo="convert the module yourself: Model.open(module.to(dtype))",
        )


def _open_module(module: nn.Module, component_map: ComponentMap | None, device: torch.device) -> Opened:
    require_unwrapped(module)
    require_weights(module)
    require_values(module)
    config = _own_config(module)
    found, notes = (component_map, ()) if component_map else _find_map(module, config)
    _require_same_heads(found, config)
    module = module.to(device).eval()
    found = _tried(module, found, config, is_given=component_map is not None)
    return Opened(type(module).__name__, module, found, config, notes=notes)


def _open_pretrained(
    name: str, source: str, component_map: ComponentMap | None, *, device: torch.device, dtype: torch.dtype
) -> Opened:
    loaded = load_pretrained(source, dtype=dtype, known_names=shipped_models())
    module = loaded.module
    config = _own_config(module) or {}
    found, notes = (component_map, ()) if component_map else _find_map(module, config)
    notes = (*loaded.notes, *notes)
    _require_same_heads(found, config)
    module = module.to(device).eval()
    found = _tried(module, found, config, is_given=component_map is not None)
    tokenizer, told = _tokenizer_of(name, source)
    return Opened(name, module, found, config, tokenizer, notes=(*notes, *told))


def _tokenizer_of(name: str, source: str) -> tuple[PreTrainedTokenizerBase | None, tuple[str, ...]]:
    """The tokenizer, or a note on why there is none: a model runs on token ids without one."""
    try:
        tokenizer = load_tokenizer(source)
    except BadDataError as error:
        return None, (f"{error.seen}; text cannot be given to {name}, token ids can. To do: {error.todo}",)
    note = f"{name} has no tokenizer: text cannot be given to it, token ids can"
    return tokenizer, (() if tokenizer is not None else (note,))


def _find_map(module: nn.Module, config: Mapping[str, Any] | None) -> tuple[ComponentMap, tuple[str, ...]]:
    """The map of the family that a config names, or else what the structure suggests; with a note in that case."""
    model_type = str((config or {}).get("model_type", ""))
    if config is not None and model_type in FAMILIES.names():
        found: ComponentMap = FAMILIES.get(model_type)().component_map(config)
        require_parts(module, found, family=model_type)
        return found, ()
    if config is not None and is_transformers_model(module):
        note = f"no map is written for the family {model_type!r}: its parts were found by their structure"
        return discover_map(module, config), (note,)
    raise UsageError(
        f"a {type(module).__name__} without a component map",
        expected=f"a map, or a model whose config names its family (one of: {', '.join(FAMILIES.names())})",
        todo="pass component_map=ComponentMap(blocks=..., attention=..., ...); its fields are paths in the module",
    )


def _tried(module: nn.Module, found: ComponentMap, config: Mapping[str, Any] | None, *, is_given: bool) -> ComponentMap:
    """A map that is no family's, once the module has run as it says; a guessed one with what one forward tells."""
    is_guessed = not is_given and str((config or {}).get("model_type", "")) not in FAMILIES.names()
    if is_given or is_guessed:
        require_forward(module, found)
    return follow_stream(module, found) if is_guessed else found


def _folder_of(source: str | Path) -> Path | None:
    shipped = shipped_models()
    if isinstance(source, str) and source in shipped:
        return shipped[source]
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists():
        raise NotFoundError(
            f"{source} is a file", expected="the model's folder, with config.json", todo="give the folder that holds it"
        )
    text = str(source)
    if isinstance(source, Path) or path.is_absolute() or text.startswith((".", "~")) or not HUB_ID.fullmatch(text):
        raise NotFoundError(f"no model folder at {source}", expected="a folder with config.json", todo="check the path")
    if "/" not in text:
        raise unknown_name("model", text, shipped, todo="give a folder, or a hub id such as 'owner/name'")
    return None


def _folder_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise BadDataError(
            f"{folder} has no config.json",
            expected="a model folder as save_pretrained writes it (config.json and model.safetensors)",
            todo="give the folder that holds config.json, or save the model with save_pretrained",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadDataError(
            f"{path} is not JSON: {error}",
            expected="the config of a model",
            todo="copy the file again, or mend it there",
        ) from error
    if not isinstance(config, dict):
        raise BadDataError(
            f"{path} holds a {type(config).__name__}", expected="the config of a model", todo="copy the file again"
        )
    if not isinstance(config.get("model_type"), str):
        raise BadDataError(
            f"{path} names no model_type", expected="the config of a model", todo="add 'model_type' to config.json"
        )
    found: dict[str, Any] = config
    return found


def _own_config(module: nn.Module) -> dict[str, Any] | None:
    config: Any = getattr(module, "config", None)
    if is_transformers_model(module):
        found: dict[str, Any] = config.to_dict()
        return found
    return config.to_json() if isinstance(config, Spec) else None


def _require_same_heads(component_map: ComponentMap, config: Mapping[str, Any] | None) -> None:
    """No sum over heads can tell two head counts apart, so a map is held against the config where there is one."""
    counts = ((config or {}).get(name) for name in HEAD_COUNTS)
    told = next((count for count in counts if isinstance(count, int)), None)
    if told is not None and component_map.n_heads not in {None, told}:
        raise UsageError(
            f"n_heads={component_map.n_heads} in the component map",
            expected=f"{told}, as the model's config says",
            todo="correct 'n_heads' in the component map",
        )
