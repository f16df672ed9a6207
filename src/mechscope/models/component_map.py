"""Component maps: where the parts of a network are, written down once a family.

A map names modules by path. Paths in `blocks`, `embedding`, `final_norm`, `unembedding` and `pooled` start at the
module itself; all others start at a block. Nothing here is believed: `verification` measures what a map claims.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from torch import nn

from mechscope.core import Spec, UsageError, unknown_name
from mechscope.core.errors import nearest_name

__all__ = ["ComponentMap", "HeadTap", "ModelKind", "Tap", "blocks_of", "find_module"]

ModelKind = Literal["causal_lm", "masked_lm", "seq2seq_lm", "set", "classifier", "module"]


class Tap(Spec):
    """A tensor that flows into (`input`: the first argument) or out of (`output`) a module.

    `softmax` is the result of the one softmax that is called while the module runs.
    """

    module: str
    at: Literal["input", "output", "softmax"] = "output"


class HeadTap(Spec):
    """Where the heads' queries, keys or values come out: the same slice of every group of a projection's output.

    The output's last axis is cut into `n_groups` equal groups; `start:stop` of each is taken, and what was taken is
    shared out evenly among `n_heads`. See `head_layouts` for the layouts that occur. `has_group_axis`: an axis of one
    stands between batch and positions (DeepSeek's latent).
    """

    module: str
    n_heads: int
    n_groups: int = 1
    start: int = 0
    stop: int | None = None
    has_group_axis: bool = False


class ComponentMap(Spec):
    """Where the parts of a network are. A part left at None only costs the sites that need it.

    Args:
        kind: what the logits mean: next token, masked token, membership of a set, or nothing we know.
        blocks: path of the `ModuleList` of blocks.
        embedding: path of the token embedding (its rows say which ids exist).
        n_heads: heads of each attention; the width of a head's value is read off the projection.
        attention: the module whose output is what attention adds to the stream.
        attention_projection: the linear map from the joined heads to the stream.
        attention_norm_after: a norm between that projection and the output of `attention`.
        attention_core: the module inside which the softmax is called; by default the parent of
            `attention_projection`.
        query, key, value: where the heads' queries, keys and values come out; `key` and `value` say how many
            key-value heads there are.
        head_clip: queries, keys and values are clipped to plus and minus this behind the place where they are read.
        cross_attention, cross_attention_projection, cross_query, cross_key, cross_value: the same for a decoder's
            attention to its encoder; it comes after `attention` and returns the stream where that does.
        mlp: the module whose output is what the MLP adds to the stream.
        mlp_pre: what enters the MLP's non-linearity, mostly the input of the activation module; of a gated MLP the
            gate's.
        mlp_projection: the linear map from the neurons to the stream.
        mlp_norm: the norm that reads the stream for the MLP (only lets the check look closer).
        mlp_norm_after: a norm between that projection and the output of `mlp`.
        final_norm: path of what lies between the last block and the unembedding; for BERT the head's whole
            transform, which is not linear.
        head_transform: something not linear lies between the last block and `final_norm`.
        unembedding: path of the linear map to the vocabulary.
        pooled: where a pooled representation of the row can be read.
        parallel_blocks: attention and MLP read the same stream; there is no `resid_mid`.
        attention_returns_stream, mlp_returns_stream: the module's output is the stream after it and not what it
            adds (a residual inside the sublayer, or BERT's norm after the residual). What it adds is then
            *defined* as the stream after it less the stream before it. So in a post-norm model `resid_pre`,
            `resid_mid` and `resid_post` are the normalised stream, `attn_out` holds everything that the sublayer
            and its norm changed, and a head's `head_out` is its share through the norm at the norm's own scale;
            the "bias" beside the heads' sum holds the norm's effect on the stream itself. Both identities hold.
        residual_multiplier: what the outputs of `attention` and `mlp` are multiplied by before they are added.
        mlp_flattens: the MLP's tensors have batch and positions joined in one axis.
        writes_in_place: the network overwrites tensors that a capture may hold, so captures are copied.
        logit_scale, logit_cap: logits = cap * tanh(scale * unembedding(...) / cap); None for no such step.
        max_positions: longest row, or None when there is no limit.
        padding_takes_positions: no batch may be wider than that either, with its padding (tables of a fixed size).
        extra_ids: further inputs of one id a row, by name, with the number of ids each may take.
        value_inputs: real-valued inputs in place of token ids, by name, with the shape of one row (images).
        encoder: the encoder of an encoder-decoder, as a map of its own; its sites are written `encoder.resid_post:3`.
        absent: sites that this kind of model has not, with the reason that an error gives; by kind.
        loss_excluded_ids: vocabulary entries that a set model's loss leaves out.
    """

    kind: ModelKind = "module"
    blocks: str
    embedding: str | None = None
    n_heads: int | None = None
    attention: str | None = None
    attention_projection: str | None = None
    attention_norm_after: str | None = None
    attention_core: str | None = None
    query: HeadTap | None = None
    key: HeadTap | None = None
    value: HeadTap | None = None
    head_clip: float | None = None
    cross_attention: str | None = None
    cross_attention_projection: str | None = None
    cross_query: HeadTap | None = None
    cross_key: HeadTap | None = None
    cross_value: HeadTap | None = None
    mlp: str | None = None
    mlp_projection: str | None = None
    mlp_pre: Tap | None = None
    mlp_norm: str | None = None
    mlp_norm_after: str | None = None
    final_norm: str | None = None
    head_transform: bool = False
    unembedding: str | None = None
    pooled: Tap | None = None
    parallel_blocks: bool = False
    attention_returns_stream: bool = False
    mlp_returns_stream: bool = False
    residual_multiplier: float = 1.0
    mlp_flattens: bool = False
    writes_in_place: bool = False
    logit_scale: float | None = None
    logit_cap: float | None = None
    max_positions: int | None = None
    padding_takes_positions: bool = False
    extra_ids: dict[str, int] = {}
    value_inputs: dict[str, tuple[int, ...]] = {}
    encoder: ComponentMap | None = None
    absent: dict[str, str] = {}
    loss_excluded_ids: tuple[int, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_known_fields(cls, given: Any) -> Any:
        """A map is written by hand, field by field, so a misspelt one is told as other names are."""
        unknown = [str(name) for name in given if name not in cls.model_fields] if isinstance(given, dict) else []
        if unknown:
            near = nearest_name(unknown[0], cls.model_fields)
            raise UsageError(
                f"unknown field {unknown[0]!r} in a component map",
                expected=f"fields of ComponentMap: {', '.join(sorted(cls.model_fields))}",
                todo=f"did you mean {near!r}?" if near else "remove the field",
            )
        return given


def find_module(root: nn.Module, path: str, *, what: str) -> nn.Module:
    """The submodule at a dotted path. Raises NotFoundError with the nearest path, `what` naming the map's field."""
    try:
        return root.get_submodule(path)
    except AttributeError as error:
        known = [name for name, _ in root.named_modules() if name and name.count(".") <= path.count(".")]
        todo = f"correct {what!r} in the component map"
        raise unknown_name("module path", path, known, todo=todo) from error


def blocks_of(root: nn.Module, component_map: ComponentMap) -> list[nn.Module]:
    """The blocks in order. Raises NotFoundError or UsageError when the path holds no list of modules."""
    holder = find_module(root, component_map.blocks, what="blocks")
    blocks = list(holder.children())
    if not isinstance(holder, nn.ModuleList | nn.Sequential) or not blocks:
        raise UsageError(
            f"{component_map.blocks!r} is a {type(holder).__name__} with {len(blocks)} children",
            expected="a ModuleList of at least one block",
            todo="set 'blocks' in the component map to the path of the list of blocks",
        )
    return blocks
