"""Checks remembered, in the process and on disk: the same architecture, sizes and versions are measured once.

What a component map claims is a matter of the code and the sizes, not of the weights, so a result is kept by config,
map, the class, shapes and dtypes of every part, the attention that each config names, which weights are all zero,
dtype, device type and the versions of torch and transformers. Only what passed is remembered: a refusal may be the
fault of one checkpoint's weights, so it is measured in every open. `mechscope model verify` measures anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from mechscope.core import LayerComponent, Spec, UserError, digest_file, digest_of
from mechscope.core.hugging_face import transformers_version
from mechscope.models.checks import CheckResult, Verification
from mechscope.models.eager import named_implementations
from mechscope.models.network import Habits, Network
from mechscope.models.turns import turn
from mechscope.models.verification import verify
from mechscope.store import read_json, write_json

__all__ = ["FOLDER_VARIABLE", "verified"]

FOLDER_VARIABLE = "MECHSCOPE_CACHE"

KNOWN = frozenset({"torch", "transformers", "mechscope"})  # their versions are part of the key
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
N_SAMPLED = 64  # a weight with a number among its first is not all zero; only the others are looked through
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

    Nothing is recalled or remembered for a module without a config, nor for one with a part whose class is somebody's
    own, whose `forward` was replaced, or that carries hooks: their code may have changed since.
    """
    is_known = config is not None and all(map(_is_known_code, network.module.modules())) and not _has_global_hooks()
    key = _key(network, config) if should_check and is_known and config is not None else None
    result = _recall(key, network) if key and may_recall else None
    if result is None:
        result = verify(network, should_check=should_check)
        if key and _refused(result.verification) == _reasons(network):
            _remember(key, result)
        elif key:
            _forget(key)
    network.habits = result.habits
    return result


def _reasons(network: Network) -> dict[str, str]:
    """The sites that the map cannot reach in this module, as every check finds them, with the reason."""
    return {str(site): reason for site, reason in network.refused.items()}


def _refused(verification: Verification) -> dict[str, str]:
    return {check.site: check.note for check in verification.checks if not check.passed}


def _key(network: Network, config: Mapping[str, Any]) -> str:
    parameter = next(network.module.parameters())
    versions = (torch.__version__, transformers_version(), _code())
    with turn():  # a run in another thread may have set eager attention
        choices = named_implementations(network.module)
    kind = f"{type(network.module).__module__}.{type(network.module).__qualname__}"
    plain = json.dumps({**config, "_name_or_path": ""}, sort_keys=True, default=str)
    facts = (kind, network.component_map.digest, parameter.dtype, parameter.device.type, *versions, plain, choices)
    return digest_of([*map(str, facts), *_structure(network.module)])


def _is_known_code(part: nn.Module) -> bool:
    is_hooked = any(getattr(part, hooks, None) for hooks in HOOKS)
    return type(part).__module__.partition(".")[0] in KNOWN and "forward" not in vars(part) and not is_hooked


def _has_global_hooks() -> bool:
    return bool(torch_modules._has_any_global_hook())  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of the code that measures: a result of older checks is not recalled."""
    return digest_of([digest_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))])


def _structure(module: nn.Module) -> Iterator[str]:
    """Every part with its class and its own weights: shape, dtype, and whether nothing but zeros is in them."""
    for name, part in module.named_modules():
        weights = [(tuple(own.shape), own.dtype, _is_zero(own)) for own in part.parameters(recurse=False)]
        yield f"{name} {type(part).__module__}.{type(part).__qualname__} {weights}"


def _is_zero(weight: Tensor) -> bool:
    """Such a part does nothing, so that other sites die with it, and some differences cannot be measured."""
    return not bool((weight.flatten()[:N_SAMPLED] != 0).any()) and not bool((weight != 0).any())


def _folder() -> Path:
    """Where results lie: $MECHSCOPE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen) / "checks"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mechscope" / "checks"


def _recall(key: str, network: Network) -> CheckResult | None:
    result = _KNOWN.get(key) or _read(key)
    return result if result and _refused(result.verification) == _reasons(network) else None


def _read(key: str) -> CheckResult | None:
    try:
        stored = _Stored.parse(read_json(_folder() / f"{key}.json"))
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


def _forget(key: str) -> None:
    """Drop what passed earlier: with these weights it does not."""
    _KNOWN.pop(key, None)
    with suppress(OSError):
        (_folder() / f"{key}.json").unlink(missing_ok=True)
