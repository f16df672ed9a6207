"""The loss that a model was made for, one number a prediction, unreduced."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mechscope.core import BadDataError, UsageError
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
        case "seq2seq_lm":
            return _label_loss(batch.decoder, logits)
        case "classifier":
            return _class_loss(batch, logits)
        case "set":
            return _set_loss(batch, logits, component_map.loss_excluded_ids)
        case _:
            raise UsageError(
                "a loss for a module whose outputs have no known meaning",
                expected="a component map with kind 'causal_lm', 'masked_lm', 'seq2seq_lm', 'classifier' or 'set'",
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
            f"a loss of predicted tokens with {_shown(labels)}",
            expected=f"extra['labels'] {list(batch.input_ids.shape)} in the batch, {IGNORED_LABEL} where nothing is "
            "predicted (for an encoder-decoder: what its decoder should predict, place by place)",
            todo="add the labels of the predicted tokens to the batch",
        )
    predicted = (labels != IGNORED_LABEL) & batch.attention_mask.bool()
    _require_range(labels[predicted], logits.shape[-1])
    return cross_entropy(logits[predicted].float(), labels[predicted], reduction="none")


def _class_loss(batch: Batch, logits: Float[Tensor, "batch d_vocab"]) -> Float[Tensor, "batch"]:
    labels = batch.extra.get("labels")
    if labels is None or labels.shape != logits.shape[:1]:
        raise UsageError(
            f"a loss of classes with {_shown(labels)}",
            expected=f"extra['labels'] [{logits.shape[0]}] in the batch, one class a row",
            todo="add the rows' classes to the batch",
        )
    _require_range(labels, logits.shape[-1])
    return cross_entropy(logits.float(), labels, reduction="none")


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


def _shown(labels: Tensor | None) -> str:
    return "no labels" if labels is None else f"labels of shape {list(labels.shape)}"


def _require_range(labels: Tensor, d_vocab: int) -> None:
    if labels.numel() == 0:
        return
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= d_vocab:
        raise BadDataError(
            f"labels in {low}..{high}", expected=f"labels in 0..{d_vocab - 1}", todo="correct extra['labels']"
        )
