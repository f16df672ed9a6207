"""The loss that a model was made for, one number a prediction, unreduced."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mechscope.core import UsageError
from mechscope.models.batch import Batch
from mechscope.models.component_map import ComponentMap

__all__ = ["model_loss"]

IGNORED_LABEL = -100


def model_loss(component_map: ComponentMap, batch: Batch, logits: Tensor) -> Float[Tensor, "n"]:
    """See `Model.loss`."""
    match component_map.kind:
        case "causal_lm":
            return _next_token_loss(batch, logits)
        case "masked_lm":
            return _label_loss(batch, logits)
        case "set":
            return _set_loss(batch, logits, component_map.loss_excluded_ids)
        case _:
            raise UsageError(
                "a loss for a module whose outputs have no known meaning",
                expected="a component map with kind 'causal_lm', 'masked_lm' or 'set'",
                todo="set 'kind' in the component map, or compute the loss from the logits yourself",
            )


def _next_token_loss(batch: Batch, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, "n"]:
    real = batch.attention_mask.bool()
    predicted = real[:, :-1] & real[:, 1:]
    return cross_entropy(logits[:, :-1][predicted].float(), batch.input_ids[:, 1:][predicted], reduction="none")


def _label_loss(batch: Batch, logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, "n"]:
    labels = batch.extra.get("labels")
    if labels is None or labels.shape != batch.input_ids.shape:
        raise UsageError(
            "a masked-token loss without labels",
            expected=f"extra['labels'] [batch pos] in the batch, {IGNORED_LABEL} where nothing is predicted",
            todo="add the labels of the masked tokens to the batch",
        )
    predicted = (labels != IGNORED_LABEL) & batch.attention_mask.bool()
    return cross_entropy(logits[predicted].float(), labels[predicted], reduction="none")


def _set_loss(
    batch: Batch, logits: Float[Tensor, "batch d_vocab"], excluded: tuple[int, ...]
) -> Float[Tensor, "batch"]:
    if batch.targets is None or batch.targets.shape != logits.shape:
        shape = None if batch.targets is None else tuple(batch.targets.shape)
        raise UsageError(
            f"targets of shape {shape} for logits {tuple(logits.shape)}",
            expected="the complete sets as multi-hot rows in batch.targets",
            todo="batch the corpus with its complete sets",
        )
    loss = binary_cross_entropy_with_logits(logits.float(), batch.targets.float(), reduction="none")
    kept = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    kept[list(excluded)] = False
    return loss[:, kept].mean(dim=1)
