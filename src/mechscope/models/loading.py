"""Weights through transformers, with errors that say what was tried."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from huggingface_hub import constants
from torch import nn

from mechscope.core import NotFoundError, UsageError
from mechscope.core.errors import nearest_name
from mechscope.core.hugging_face import PretrainedConfig, transformers, transformers_version
from mechscope.models.loading_faults import require_whole, telling
from mechscope.models.remarks import quiet
from mechscope.models.turns import turn

__all__ = ["Loaded", "can_find_hub", "load_pretrained"]

LOADERS = (  # how an architecture's name ends, what of transformers loads it, and the configs which that knows
    (("ForCausalLM", "LMHeadModel"), "AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING"),
    (("ForMaskedLM", "ForPreTraining"), "AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING"),
    (("ForConditionalGeneration",), "AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING"),
    (("ForImageClassification",), "AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING"),
)
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.index.json")
DISCRIMINATORS = frozenset({"ElectraForPreTraining", "FunnelForPreTraining"})  # one number a token, no vocabulary
RECOMPUTED = re.compile(
    r"(^|\.)(inv_freq|position_ids|masked_bias|att(n|ention)\.bias)$"
)  # masks and tables, stored once


@dataclass(frozen=True)
class Loaded:
    """A model with its weights, and what its user should know of them."""

    module: nn.Module
    notes: tuple[str, ...] = ()


def load_pretrained(source: str, *, dtype: torch.dtype, known_names: Iterable[str] = ()) -> Loaded:
    """The model in a Hugging Face folder or on the hub, with its output head. Weights that it has no use for are noted.

    safetensors first; a pickle file only through torch's safe loader (weights_only). No code of the model's
    repository is ever run.

    Raises:
        NotFoundError: nothing there, and no hub to be reached; a folder without weights.
        UsageError: a type that transformers does not know, an architecture without an output head that we know, or
            weights that need a package which is not installed (quantised ones, mostly).
        BadDataError: a config from which no model can be built; weights that are damaged, unsafe to load, or lack a
            part.
    """
    with quiet(), telling(source, known_names):
        offline = not Path(source).is_dir() and not can_find_hub()
        _require_known_type(source, offline=offline)
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=offline)
        architecture = next(iter(config.architectures or ()), "")
        loader = _loader_for(architecture, config)
        if loader is None:
            raise UsageError(
                f"{source} holds the architecture {architecture or 'none at all'!r}",
                expected="a language model (…ForCausalLM, …LMHeadModel, …ForMaskedLM), an encoder-decoder of text "
                "(…ForConditionalGeneration) or a classifier of images (…ForImageClassification)",
                todo="open the module in Python and pass it with a map: Model.open(module, component_map=...)",
            )
        _require_weights(source)
        with turn():  # meanwhile the dtype of new tensors, one for the process, is that of the weights
            module, report = loader.from_pretrained(
                source,
                config=config,
                dtype=dtype,
                trust_remote_code=False,
                output_loading_info=True,
                local_files_only=offline,
                ignore_mismatched_sizes=True,  # its own error points to a log that is muted here; ours names the sizes
            )
    require_whole(report, source, architecture)
    return Loaded(module, _unused(report["unexpected_keys"], architecture))


def _loader_for(architecture: str, config: PretrainedConfig) -> Any:
    """The Auto class that loads an architecture with its output head; None where there is none."""
    if architecture in DISCRIMINATORS:
        return None
    for ends, loader, configs in LOADERS:
        if architecture.endswith(ends) and type(config) in getattr(transformers, configs):
            return getattr(transformers, loader)
    return None


def _unused(names: Iterable[str], architecture: str) -> tuple[str, ...]:
    """A note on stored weights that no part of the model took, but for those that every model computes by itself."""
    unused = sorted(name for name in names if not RECOMPUTED.search(name))
    if not unused:
        return ()
    more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
    return (f"the weights hold {unused[0]!r}{more}, which {architecture} as config.json describes it does not use",)


def _require_weights(source: str) -> None:
    folder = Path(source)
    if folder.is_dir() and not any(path for pattern in WEIGHT_FILES for path in folder.glob(pattern)):
        raise NotFoundError(
            f"{source} holds a config and no weights",
            expected="model.safetensors (or its shards, or pytorch_model.bin) beside config.json",
            todo="copy the weights into the folder, or save the model with save_pretrained",
        )


def _require_known_type(source: str, *, offline: bool) -> None:
    """Refuse a model type that this transformers has not; the code that a folder may bring along is never run."""
    told, _ = transformers.PretrainedConfig.get_config_dict(source, local_files_only=offline)
    model_type = told.get("model_type")
    if not isinstance(model_type, str) or model_type in transformers.CONFIG_MAPPING:
        return
    near = nearest_name(model_type, transformers.CONFIG_MAPPING)
    raise UsageError(
        f"{source} holds the model type {model_type!r}, which transformers {transformers_version()} does not know",
        expected=f"a type that it knows (the nearest is {near!r})" if near else "a type that it knows",
        todo="update transformers, correct 'model_type' in config.json, or open the module in Python and pass it with "
        "a map: Model.open(module, component_map=...)",
    )


def can_find_hub() -> bool:
    """Whether the hub's host has an address: without one, every request would be tried for half a minute."""
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True
