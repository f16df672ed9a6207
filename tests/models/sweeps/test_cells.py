"""Grids of variants: every cell is the full run with that one patch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models import Batch, Edit, Model
from mechscope.models.interventions import zero
from mechscope.models.positions import from_right
from mechscope.models.sweeps import sweep
from mechscope.models.sweeps.cells import head_edits, head_patches, layer_edits, residual_patches
from mechscope.testing.zoo import DECODERS

CLEAN = Batch.from_rows([[3, 9, 4, 7, 5], [8, 2, 6]], side="left")
SOURCE = Batch.from_rows([[4, 1, 4, 2, 5], [7, 2, 9]], side="right")


def difference(logits: Tensor) -> Tensor:
    return logits[:, 7] - logits[:, 3]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.open(DECODERS["gpt2"]())


def full(model: Model, site: LayerComponent, row: int, place: int | None, value: Tensor, pad: int) -> float:
    """One row's metric with one value written by hand, in the columns of `CLEAN`."""

    def write(old: Tensor, batch: Batch) -> Tensor:
        if place is None:
            old[row, -1] = value
        else:
            old[row, pad + place] = value
        return old

    return float(difference(model.logits(CLEAN, edits=[Edit(site, write)])[:, -1])[row])


def test_residual_patches_are_a_grid_of_layers_and_positions(model: Model) -> None:
    cells = residual_patches(model, CLEAN, SOURCE)
    result = sweep(model._network, CLEAN, cells.variants, metric=difference)
    assert result.metric is not None
    grid = cells.grid(result.metric)
    assert grid.shape == (model.n_layers, 5, 2)
    assert cells.axes == ("layer", "position")
    for layer in range(model.n_layers):
        site = LayerComponent(kind="resid_pre", layer=layer)
        values = model.capture(SOURCE, [site]).values[site]
        for row, length in enumerate((5, 3)):
            for place in range(5):
                if place >= length:
                    assert torch.isnan(grid[layer, place, row])
                    continue
                wanted = full(model, site, row, place, values[row, place], pad=5 - length)
                assert float(grid[layer, place, row]) == pytest.approx(wanted, abs=1e-5)


def test_patching_with_the_batch_itself_changes_nothing(model: Model) -> None:
    cells = residual_patches(model, CLEAN, CLEAN, kind="mlp_out", layers=[1])
    result = sweep(model._network, CLEAN, cells.variants)
    assert result.logits is not None
    assert result.clean_logits is not None
    torch.testing.assert_close(result.logits, result.clean_logits.expand_as(result.logits))


def test_head_patches_are_a_grid_of_layers_and_heads(model: Model) -> None:
    cells = head_patches(model, CLEAN, SOURCE, at=from_right(0), layers=[2, 0])
    result = sweep(model._network, CLEAN, cells.variants, metric=difference)
    assert result.metric is not None
    grid = cells.grid(result.metric)
    assert grid.shape == (2, model.n_heads, 2)
    for index, layer in enumerate((2, 0)):
        for head in range(model.n_heads):
            site = LayerComponent(kind="z", layer=layer, head=head)
            values = model.capture(SOURCE, [site]).values[site]
            for row, last in enumerate((4, 2)):
                wanted = full(model, site, row, None, values[row, last], pad=0)
                assert float(grid[index, head, row]) == pytest.approx(wanted, abs=1e-5)


def test_ablations_by_head_and_by_layer(model: Model) -> None:
    heads, layers = head_edits(model, zero), layer_edits(model, zero, kind="attn_out")
    assert heads.shape == (3, 4)
    assert layers.shape == (3,)
    result = sweep(model._network, CLEAN, [*heads.variants, *layers.variants])
    assert result.logits is not None
    for index, variant in enumerate([*heads.variants, *layers.variants]):
        wanted = model.logits(CLEAN, edits=variant)[:, -1]
        assert (result.logits[index] - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_refusals(model: Model) -> None:
    with pytest.raises(UsageError, match=r"rows of \[5, 3\] tokens with a source of \[3, 3\]"):
        residual_patches(model, CLEAN, Batch.from_rows([[1, 2, 3], [4, 5, 6]]))
    with pytest.raises(UsageError, match="pattern"):
        head_patches(model, CLEAN, CLEAN, kind="pattern")
    with pytest.raises(UsageError, match="2 results for 12 cells"):
        head_edits(model, zero).grid(torch.zeros(2, 2))
