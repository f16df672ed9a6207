"""From directions of the stream to what they add to the logits, and from token ids to text."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import UsageError
from mechscope.core.hugging_face import PreTrainedTokenizerBase
from mechscope.models.component_map import ComponentMap
from mechscope.models.final_maps import FinalMap, LinearParts, read_final_map
from mechscope.models.projections import projection_matrix, require_linear

__all__ = ["output_directions", "token_strings"]


@torch.no_grad()
def output_directions(
    module: nn.Module, component_map: ComponentMap, directions: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n d_vocab"]:
    """See `Model.output_directions`. Cost: one matrix product [n d_model] x [d_model d_vocab]."""
    if component_map.unembedding is None:
        raise UsageError(
            "output directions of a model without an unembedding",
            expected="'unembedding' in its component map",
            todo="name the linear map to the outputs in the component map",
        )
    unembedding = module.get_submodule(component_map.unembedding)
    require_linear(unembedding)
    matrix = projection_matrix(unembedding)
    final = None
    if component_map.final_norm is not None and component_map.pooled is None:
        final = _final_map(module, component_map)
    width = final.matrix.shape[0] if isinstance(final, LinearParts) else matrix.shape[0]
    if directions.ndim != 2 or directions.shape[1] != width:
        raise UsageError(
            f"directions of shape {tuple(directions.shape)}",
            expected=f"[n {width}], as the stream is wide",
            todo="pass one direction a row",
        )
    directions = directions.to(matrix.device, matrix.dtype)
    directions = directions if final is None else final.linear(directions)
    return directions @ matrix * (component_map.logit_scale or 1.0)


def _final_map(module: nn.Module, component_map: ComponentMap) -> FinalMap:
    assert component_map.final_norm is not None
    like = next(parameter for parameter in module.parameters() if parameter.dtype.is_floating_point)
    width = projection_matrix(module.get_submodule(str(component_map.unembedding))).shape[0]
    final = read_final_map(module.get_submodule(component_map.final_norm), like=like.new_zeros(width))
    if final is None or component_map.head_transform:
        raise UsageError(
            f"{component_map.final_norm!r} is no norm of a known form, so the path to the logits is not linear",
            expected="a final LayerNorm, RMSNorm or linear map",
            todo="measure the effect with an edit instead",
        )
    return final


def token_strings(tokenizer: PreTrainedTokenizerBase | None, d_vocab: int) -> tuple[str, ...] | None:
    """Token id -> string to show, with the space that a token brings along.

    A token that is no text by itself (part of a character) is shown as the tokenizer writes it; ids that the
    tokenizer does not know give "<id>".
    """
    if tokenizer is None:
        return None
    ids = list(range(min(len(tokenizer), d_vocab)))
    pieces = tokenizer.convert_ids_to_tokens(ids)
    texts = tokenizer.batch_decode([[index] for index in ids], clean_up_tokenization_spaces=False)
    known = (_shown(piece, text, index) for piece, text, index in zip(pieces, texts, ids, strict=True))
    return (*known, *(f"<{index}>" for index in range(len(ids), d_vocab)))


def _shown(piece: str | None, text: str, index: int) -> str:
    if piece is None:
        return f"<{index}>"
    if not text or "\ufffd" in text:
        return piece
    return f" {text.lstrip()}" if piece.startswith("\u2581") else text
