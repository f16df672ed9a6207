"""Edits of attention patterns on padded rows: padding is nobody's, so an edit writes nothing there."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models import Batch, Edit, Model
from mechscope.models.interventions import set_value, zero
from mechscope.models.positions import from_right, span
from mechscope.models.sweeps import SweepSettings
from mechscope.testing.zoo import ZOO

Side = Literal["left", "right"]
TOLERANCE = 1e-5
LONG, SHORT = [5, 6, 7, 8, 9, 4], [10, 11, 12]
WITHOUT_TOKENS = {"vit"}
GENERATING = ("gpt2", "llama", "mistral", "gemma3_text", "bloom", "opt")


@cache
def opened(name: str) -> Model:
    return Model.open(ZOO[name]())


def padded(model: Model, side: Side, pad_id: int) -> Batch:
    """A long row and a short one; an encoder-decoder's decoder has them the other way round, and shorter."""
    batch = Batch.from_rows([LONG, SHORT], side=side, pad_id=pad_id)
    if model.component_map.encoder is None:
        return batch
    decoder = Batch.from_rows([[0, 7], [0, 9, 8, 3]], pad_id=pad_id)
    more = {"decoder_input_ids": decoder.input_ids, "decoder_attention_mask": decoder.attention_mask}
    return Batch(batch.input_ids, batch.attention_mask, more)


def alone(model: Model) -> list[Batch]:
    """The same rows, each by itself."""
    rows = [Batch.from_rows([LONG]), Batch.from_rows([SHORT])]
    if model.component_map.encoder is None:
        return rows
    decoders = [torch.tensor([[0, 7]]), torch.tensor([[0, 9, 8, 3]])]
    return [
        Batch(row.input_ids, row.attention_mask, {"decoder_input_ids": ids})
        for row, ids in zip(rows, decoders, strict=True)
    ]


def patterns(model: Model) -> list[list[Edit]]:
    """Edits of whole patterns and of heads, of every sort that the model has, also at some positions only."""
    found = []
    for site in (site for site in model.sites() if site.kind.endswith("pattern") and site.layer == 1):
        head = site.model_copy(update={"head": 2})
        found += [[set_value(site, 0.1)], [set_value(head, 0.3, at=from_right(0))], [Edit(site, lambda v, _: 1 - v)]]
    return found


def difference(seen: Tensor, told: Tensor) -> float:
    return float((seen - told).abs().max() / told.abs().max())


@pytest.mark.parametrize("name", ZOO)
def test_a_row_is_edited_alike_by_itself_and_beside_padding(name: str) -> None:
    model = opened(name)
    if name in WITHOUT_TOKENS or not (edits := patterns(model)):
        pytest.skip("no pattern over tokens")
    for edit in edits:
        told = [model.logits(row, edits=edit)[0] for row in alone(model)]
        for side, pad_id in (("right", 0), ("right", 33), ("left", 33)):
            batch = padded(model, "left" if side == "left" else "right", pad_id)
            logits, written = model.logits(batch, edits=edit), batch.along(LayerComponent(kind="logits"))
            for row, one in enumerate(told):
                assert difference(logits[row, written.attention_mask[row].bool()], one) <= TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ZOO)
def test_a_sweep_edits_patterns_as_the_full_run_does(name: str, side: Side) -> None:
    model = opened(name)
    if name in WITHOUT_TOKENS:
        pytest.skip("no padding")
    variants = [edits for edits in patterns(model) if edits[0].site.stack is None]
    if not variants:
        pytest.skip("no pattern")
    batch = padded(model, side, 33)
    result = model.sweep(batch, [[zero(model.site("mlp_out:0"))], *variants], settings=SweepSettings(n_checks=0))
    last = from_right(0).mask(batch.along(LayerComponent(kind="logits")))
    assert result.logits is not None
    for swept, edits in zip(result.logits[1:], variants, strict=True):
        assert difference(swept, model.logits(batch, edits=edits)[last]) <= TOLERANCE


def test_what_stands_in_padded_places_stays() -> None:
    model = opened("llama")
    site = model.site("pattern:1")
    batch = padded(model, "left", 33)
    before = model.capture(batch, [site]).values[site]
    after = model.capture(batch, [site], edits=[set_value(site, 0.25)]).values[site]
    real = batch.attention_mask.bool()
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand_as(before)
    assert bool((after[pairs] == 0.25).all())
    assert torch.equal(after[~pairs], before[~pairs])


@pytest.mark.parametrize("cache_kind", ["dynamic", "static"])
@pytest.mark.parametrize("name", GENERATING)
def test_a_generation_edits_patterns_alike_beside_padding(name: str, cache_kind: str) -> None:
    """Also behind the window of those that look back a few tokens only, and with a cache that is made in advance."""
    model = Model.open(ZOO[name]())
    module: Any = model.module
    if cache_kind == "static":
        module.generation_config.cache_implementation = "static"
        module.generation_config.disable_compile = True
    site, stream = model.site("pattern:1"), model.site("resid_post:1")
    for edit in (set_value(site, 0.1), set_value(site, 0.1, scope="generated"), set_value(site, 0.2, at=span(2, 9))):

        def generated(rows: list[list[int]], edit: Edit = edit) -> tuple[Tensor, Tensor]:
            batch = Batch.from_rows(rows, side="left", pad_id=33)
            found = model.generate(batch, max_new_tokens=6, edits=[edit], sites=[stream], stops_at=())
            return found.new_ids[-1], found.values[stream][-1]

        (ids, values), (told_ids, told) = generated([LONG, SHORT]), generated([SHORT])
        assert torch.equal(ids, told_ids)
        assert difference(values[-len(told) :], told) <= TOLERANCE
