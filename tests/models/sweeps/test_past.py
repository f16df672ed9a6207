"""Reused keys and values: a wrong cache is caught by the sweep's own check, and some models have none to reuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent
from mechscope.models import Batch, Edit, Model
from mechscope.models.positions import from_right
from mechscope.models.sweeps import forwards, sweep
from mechscope.models.sweeps.past import Past, can_reuse_past
from mechscope.testing.zoo import DECODERS, OTHERS


class ShiftedPast(Past):
    """Gives the positions of the past in the wrong order."""

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = super().update(keys, values, layer_idx)
        return keys, torch.cat([values[..., : self.length, :].flip(-2), values[..., self.length :, :]], dim=-2)


def test_a_wrong_past_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.open(DECODERS["llama"]())
    batch = Batch.from_rows([[3, 9, 4, 7, 5, 11, 2]])
    variants = [[Edit(LayerComponent(kind="resid_pre", layer=1), lambda value, _: -value, from_right(2))]]
    assert sweep(model._network, batch, variants).reused_past
    monkeypatch.setattr(forwards, "Past", ShiftedPast)
    with pytest.raises(BadDataError, match="variant 0 of the sweep differs at logits"):
        sweep(model._network, batch, variants)


@pytest.mark.parametrize(("name", "expected"), [("gpt2", True), ("gemma2", True), ("bert", False), ("mamba", False)])
def test_only_causal_models_with_keys_and_values_have_a_past(name: str, expected: bool) -> None:
    model = Model.open({**DECODERS, **OTHERS}[name](), verify=False)
    assert can_reuse_past(model._network, Batch.from_rows([[3, 4, 5]])) is expected


def test_a_past_holds_all_positions_and_says_so() -> None:
    model = Model.open(DECODERS["gpt2"]())
    batch = Batch.from_rows([[3, 9, 4, 7]])
    with_labels = Batch(batch.input_ids, batch.attention_mask, {"labels": batch.input_ids})
    assert can_reuse_past(model._network, with_labels)
    typed = Batch(batch.input_ids, batch.attention_mask, {"token_type_ids": batch.input_ids})
    assert not can_reuse_past(model._network, typed)
