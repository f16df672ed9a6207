"""Checks remembered, in the process and on disk: the same architecture, sizes and versions are measured once.

What a component map claims is a matter of the code and the sizes, not of the weights, so a result is kept by config,
map, the class and shapes of every part, dtype, device type and the versions of torch and transformers. `mechscope model
verify` measures anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from mechscope.core import LayerComponent, Spec, UserError, digest_file, digest_of, read_mapping
from mechscope.models.checks import CheckResult, Verification
from mechscope.models.network import Habits, Network
from mechscope.models.verification import verify
from mechscope.store import write_json

__all__ = ["FOLDER_VARIABLE", "verified"]

FOLDER_VARIABLE = "MECHSCOPE_CACHE"

KNOWN = frozenset({"torch", "transformers", "mechscope"})  # their versions are part of the key
_KNOWN: dict[str, CheckResult] = {}


class _Stored(Spec):
    """A result as it lies on disk."""

    key: str
    verification: Verification
    shapes: tuple[tuple[LayerComponent, tuple[int, ...]], ...]
    copies: bool
    passes_positions: bool
    allows_left_padding: bool


def verified(
    network: Network, *, config: Mapping[str, Any] | None, should_check: bool, may_recall: bool = True
) -> CheckResult:
    """`verify`, or what it gave before for the same architecture, sizes and versions. Sets the network's habits.

    Nothing is recalled for a module without a config, nor for one with a part whose class is somebody's own or whose
    `forward` was replaced: their code may have changed since.
    """
    is_known = config is not None and all(map(_is_known_code, network.module.modules()))
    key = _key(network, config) if should_check and is_known and config is not None else None
    result = _recall(key) if key and may_recall else None
    if result is None:
        result = verify(network, should_check=should_check)
        if key:
            _remember(key, result)
    network.habits = result.habits
    return result


def _key(network: Network, config: Mapping[str, Any]) -> str:
    parameter = next(network.module.parameters())
    versions = (torch.__version__, transformers.__version__, _code())
    kind = f"{type(network.module).__module__}.{type(network.module).__qualname__}"
    plain = json.dumps({**config, "_name_or_path": ""}, sort_keys=True, default=str)
    facts = (kind, network.component_map.digest, parameter.dtype, parameter.device.type, *versions, plain)
    return digest_of([*map(str, facts), *_structure(network.module)])


def _is_known_code(part: nn.Module) -> bool:
    return type(part).__module__.partition(".")[0] in KNOWN and "forward" not in vars(part)


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of the code that measures: a result of older checks is not recalled."""
    return digest_of([digest_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))])


def _structure(module: nn.Module) -> Iterator[str]:
    """Every part with its class, the shapes of its own weights, and whether somebody hooked into it."""
    for name, part in module.named_modules():
        shapes = [tuple(weight.shape) for weight in part.parameters(recurse=False)]
        n_hooks = len(part._forward_hooks) + len(part._forward_pre_hooks)
        yield f"{name} {type(part).__module__}.{type(part).__qualname__} {shapes} {n_hooks}"


def _folder() -> Path:
    """Where results lie: $MECHSCOPE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen) / "checks"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mechscope" / "checks"


def _recall(key: str) -> CheckResult | None:
    if key in _KNOWN:
        return _KNOWN[key]
    try:
        stored = _Stored.parse(read_mapping(_folder() / f"{key}.json"))
    except (OSError, UserError):
        return None  # absent or damaged: what is measured next takes its place
    if stored.key != key:
        return None
    habits = Habits(stored.copies, stored.passes_positions, stored.allows_left_padding)
    remembered = stored.verification.updated(remembered=True)
    result = _KNOWN[key] = CheckResult(remembered, dict(stored.shapes), habits)
    return result


def _remember(key: str, result: CheckResult) -> None:
    _KNOWN[key] = CheckResult(result.verification.updated(remembered=True), result.shapes, result.habits)
    habits = result.habits
    stored = _Stored(
        key=key,
        verification=result.verification,
        shapes=tuple(result.shapes.items()),
        copies=habits.copies,
        passes_positions=habits.passes_positions,
        allows_left_padding=habits.allows_left_padding,
    )
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{key}.json", stored.to_json())
    except (OSError, UserError):
        return  # a home that cannot be written: the check is measured again next time
