"""A component map from the structure alone, for families without a file.

    blocks            the longest list of modules of one class
    attention, MLP    the children of a block whose names or classes say so
    projections       the last linear map in each that ends at the width of the stream
    q, k, v           linear maps in the attention that are called so; the activation module of the MLP likewise
    final norm        the norm beside the blocks
    embeddings, head  as transformers' own accessors give them

The structure does not tell whether blocks are parallel, so `resid_mid` is left out here; `block_flow` looks for it in a
forward. What was found is then measured like any other map: where a family scales or adds the residual inside a
sublayer, the sites that it touches are refused, and the others stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from mechscope.core import UsageError
from mechscope.core.hugging_face import PreTrainedModel
from mechscope.models.component_map import ComponentMap, HeadTap, Tap
from mechscope.models.openable import require_discoverable, require_own_blocks
from mechscope.models.projections import projection_matrix, read_norm

__all__ = ["discover_map"]

ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
MLP = re.compile(r"mlp|ffn|feed_?forward", re.IGNORECASE)
NORM = re.compile(r"norm|ln", re.IGNORECASE)
QUERY = re.compile(r"(^|\.)(q|q_proj|q_lin|query|wq|query_proj)$", re.IGNORECASE)
KEY = re.compile(r"(^|\.)(k|k_proj|k_lin|key|wk|key_proj)$", re.IGNORECASE)
VALUE = re.compile(r"(^|\.)(v|v_proj|v_lin|value|wv|value_proj)$", re.IGNORECASE)
ACTIVATION = re.compile(r"(^|\.)(act|act_fn|activation|activation_fn|gelu\w*)$", re.IGNORECASE)
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", *HEADS)
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def discover_map(module: PreTrainedModel, config: Mapping[str, Any]) -> ComponentMap:
    """The map that the structure suggests.

    Raises:
        UsageError: an encoder-decoder, a model of several towers, without a token embedding or without a head; or
            no list of blocks, one a layer, can be made out.
    """
    require_discoverable(module, config)
    names = {part: name for name, part in module.named_modules()}
    blocks = max(_block_lists(module), key=lambda name: len(module.get_submodule(name)._modules), default=None)
    if blocks is None:
        raise UsageError(
            f"no list of blocks to be made out in {type(module).__name__}",
            expected="a model with a ModuleList of equal blocks",
            todo="pass component_map=ComponentMap(blocks=..., attention=..., ...) with the paths in this model",
        )
    require_own_blocks(module, blocks, config)
    block = module.get_submodule(f"{blocks}.0")
    width = int(module.get_input_embeddings().weight.shape[1])
    attention = _child(block, ATTENTION)
    mlp = _child(block, MLP) or _last_linear_child(block, width)
    head = module.get_output_embeddings()
    return ComponentMap(
        kind="masked_lm" if "MaskedLM" in type(module).__name__ else "causal_lm",
        blocks=blocks,
        embedding=names[module.get_input_embeddings()],
        n_heads=_number(config, HEADS),
        attention=attention,
        attention_projection=_projection(block, attention, width),
        query=_heads(block, attention, QUERY, _number(config, HEADS)),
        key=_heads(block, attention, KEY, _number(config, KEY_HEADS)),
        value=_heads(block, attention, VALUE, _number(config, KEY_HEADS)),
        mlp=mlp,
        mlp_pre=_activation_input(block, mlp),
        mlp_projection=_projection(block, mlp, width),
        final_norm=_final_norm(module, blocks),
        unembedding=None if head is None else names.get(head),
        parallel_blocks=True,
        logit_scale=config.get("logit_scale"),
        logit_cap=config.get("final_logit_softcapping"),
        max_positions=_number(config, POSITIONS),
    )


def _block_lists(module: nn.Module) -> Iterator[str]:
    for name, part in module.named_modules():
        if isinstance(part, nn.ModuleList) and len(part) and len({type(child) for child in part}) == 1:
            yield name


def _child(block: nn.Module, wanted: re.Pattern[str]) -> str | None:
    for name, child in block.named_children():
        looks = wanted.search(name) or wanted.search(type(child).__name__)
        if looks and not NORM.search(name.replace("self_attn", "")) and any(child.children()):
            return name
    return None


def _last_linear_child(block: nn.Module, width: int) -> str | None:
    """The MLP's last map where its maps are children of the block themselves (OPT)."""
    return next((name for name, part in reversed(list(block.named_children())) if _ends_at(part, width)), None)


def _projection(block: nn.Module, sublayer: str | None, width: int) -> str | None:
    if sublayer is None:
        return None
    parts = block.get_submodule(sublayer).named_modules(prefix=sublayer)
    return next((name for name, part in reversed(list(parts)) if _ends_at(part, width)), None)


def _heads(block: nn.Module, sublayer: str | None, wanted: re.Pattern[str], n_heads: int | None) -> HeadTap | None:
    path = _named(block, sublayer, wanted)
    return None if path is None or n_heads is None else HeadTap(module=path, n_heads=n_heads)


def _activation_input(block: nn.Module, sublayer: str | None) -> Tap | None:
    path = _named(block, sublayer, ACTIVATION)
    return None if path is None else Tap(module=path, at="input")


def _named(block: nn.Module, sublayer: str | None, wanted: re.Pattern[str]) -> str | None:
    """The one module inside a sublayer that is called so."""
    if sublayer is None:
        return None
    parts = block.get_submodule(sublayer).named_modules(prefix=sublayer)
    found = [name for name, _ in parts if name != sublayer and wanted.search(name)]
    return found[0] if len(found) == 1 else None


def _ends_at(part: nn.Module, width: int) -> bool:
    try:
        return projection_matrix(part).shape[1] == width
    except UsageError:
        return False


def _final_norm(module: nn.Module, blocks: str) -> str | None:
    parent = blocks.rpartition(".")[0]
    named = module.get_submodule(parent).named_children() if parent else module.named_children()
    found = [name for name, child in named if NORM.search(name) and read_norm(child) is not None]
    return f"{parent}.{found[-1]}".lstrip(".") if found else None


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
