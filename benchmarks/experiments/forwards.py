"""The bare forward passes of an experiment: its own batches, as it ran them, through plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mechscope.experiments import ExperimentContext
from mechscope.models import Batch, Model

__all__ = ["bare_forwards", "recorded_batches"]


@contextmanager
def recorded_batches() -> Iterator[list[Batch]]:
    """Every batch that a model is given while this is open."""
    seen: list[Batch] = []
    capture: Any = Model.capture

    def watched(self: Model, batch: Batch, *arguments: Any, **named: Any) -> Any:
        seen.append(batch)
        return capture(self, batch, *arguments, **named)

    Model.capture = watched  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Model.capture = capture  # type: ignore[method-assign]


def bare_forwards(context: ExperimentContext, batches: list[Batch], feature: int) -> Callable[[], torch.Tensor]:
    """The network up to its pooled vector and one column of the encoder, with the id tensors ready.

    No output head, no hooks, no other feature, no sparse codes: what is left cannot be left out.
    """
    module: Any = context.model.module
    dictionary = context.inputs.dictionary
    with torch.no_grad():
        column = dictionary.W_enc[:, feature].clone()
        bias = dictionary.b_enc[feature] - dictionary.b_dec @ column

    @torch.inference_mode()
    def run() -> torch.Tensor:
        found = []
        for batch in batches:
            x = module.token_embedding(batch.input_ids) + module.weapon_embedding(batch.extra["weapon_ids"])[:, None, :]
            for block in module.blocks:
                x = block(x, batch.attention_mask)
            pooled = module.pooling(module.final_norm(x), batch.attention_mask)
            found.append(torch.relu(pooled @ column + bias))
        return torch.cat(found)

    return run
