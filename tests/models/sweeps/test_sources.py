"""One source for several grids: the same grids as from the batch, by one forward."""

from __future__ import annotations

import pytest
import torch

from mechscope.core import UsageError
from mechscope.models import Batch, Model
from mechscope.models.positions import from_right
from mechscope.models.sweeps.cells import Cells, head_patches, residual_patches
from mechscope.models.sweeps.sources import capture_source
from mechscope.testing.zoo import DECODERS

CLEAN = Batch.from_rows([[3, 9, 4, 7, 5], [8, 2, 6]], side="left")
SOURCE = Batch.from_rows([[4, 1, 4, 2, 5], [7, 2, 9]], side="right")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.open(DECODERS["gpt2"]())


def test_grids_of_one_source_are_those_of_its_batch_by_one_forward(model: Model) -> None:
    ran: list[int] = []
    handle = model.module.register_forward_pre_hook(lambda module, args: ran.append(1))
    source = capture_source(model, SOURCE)
    shared = [residual_patches(model, CLEAN, source), head_patches(model, CLEAN, source, at=from_right(0))]
    handle.remove()
    assert len(ran) == 1
    alone = [residual_patches(model, CLEAN, SOURCE), head_patches(model, CLEAN, SOURCE, at=from_right(0))]
    for one, other in zip(shared, alone, strict=True):
        assert (one.axes, one.shape, one.layers) == (other.axes, other.shape, other.layers)
        assert torch.equal(metric(model, one), metric(model, other))


def metric(model: Model, cells: Cells) -> torch.Tensor:
    found = model.sweep(CLEAN, cells.variants, metric=lambda logits: logits[:, 7] - logits[:, 3]).metric
    assert found is not None
    return found


def test_a_source_without_the_site_is_refused(model: Model) -> None:
    source = capture_source(model, SOURCE, kinds=["resid_pre"], layers=[1])
    assert residual_patches(model, CLEAN, source, layers=[1]).shape == (1, 5)
    with pytest.raises(UsageError, match="a source without resid_pre:0"):
        residual_patches(model, CLEAN, source)
    with pytest.raises(UsageError, match="a source without z:1"):
        head_patches(model, CLEAN, source, layers=[1])
