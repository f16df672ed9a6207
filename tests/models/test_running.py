from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent, UsageError
from mechscope.models import Batch, ComponentMap, Edit, Model

ONES = Batch.from_rows([[1, 2, 3]])


class Block(nn.Module):
    def __init__(self, returns: str) -> None:
        super().__init__()
        self.returns = returns
        self.inner = nn.Linear(4, 4)

    def forward(self, *, hidden: Tensor) -> Any:
        out = hidden + self.inner(hidden)
        return (out, None) if self.returns == "tuple" else {"x": out} if self.returns == "dict" else out


class Net(nn.Module):
    """Blocks called by keyword, with tuples, shared or swallowing exceptions, as asked."""

    def __init__(self, returns: str = "tensor", *, is_shared: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(5, 4)
        first = Block(returns)
        self.blocks = nn.ModuleList([first, first if is_shared else Block(returns)])
        self.n_finished = 0

    def forward(self, tokens: Tensor) -> Any:
        x = self.table(tokens)
        for block in self.blocks:
            try:
                out = block(hidden=x)
            except Exception:
                out = x
            x = out[0] if isinstance(out, tuple) else out["x"] if isinstance(out, dict) else out
        self.n_finished += 1
        return x


MAP = ComponentMap(blocks="blocks", embedding="table")


def site(kind: str, layer: int) -> LayerComponent:
    return LayerComponent(kind=kind, layer=layer)


@pytest.mark.parametrize("returns", ["tensor", "tuple"])
def test_streams_by_keyword_and_in_tuples_are_read_and_written(returns: str) -> None:
    net = Net(returns)
    model = Model.open(net, component_map=MAP)
    assert model.verification.failed == {}
    wanted = torch.randn(1, 3, 4)
    edits = [Edit(site("resid_pre", 1), lambda value, batch: wanted)]
    seen = model.capture(ONES, [site("resid_pre", 1), site("resid_post", 1)], edits=edits).values
    with torch.no_grad():
        told = wanted + net.blocks[1].get_submodule("inner")(wanted)
    torch.testing.assert_close(seen[site("resid_post", 1)], told)


def test_an_early_stop_cannot_be_swallowed_by_the_network() -> None:
    net = Net()
    model = Model.open(net, component_map=MAP)
    before = net.n_finished
    model.capture(ONES, [site("resid_post", 0)])
    assert net.n_finished == before


def test_a_stream_that_is_no_tensor_is_refused_by_site() -> None:
    model = Model.open(Net("dict"), component_map=MAP)
    assert "is dict" in model.verification.failed["resid_post:0"]
    assert model.parse_sites("resid_pre:0") == [site("resid_pre", 0)]


def test_blocks_that_are_called_twice_are_refused() -> None:
    with pytest.raises(BadDataError, match=r"'blocks\.0' is called twice"):
        Model.open(Net(is_shared=True), component_map=MAP)


def test_an_edit_is_given_a_copy_and_the_batch() -> None:
    model = Model.open(Net(), component_map=MAP)
    given: list[Tensor] = []

    def spoil(value: Tensor, batch: Batch) -> Tensor:
        given.append(batch.input_ids)
        value.zero_()
        return torch.ones_like(value)

    pre = site("resid_pre", 1)
    values = model.capture(ONES, [site("resid_post", 0), pre], edits=[Edit(pre, spoil)]).values
    clean = model.capture(ONES, [site("resid_post", 0)]).values
    assert torch.equal(values[site("resid_post", 0)], clean[site("resid_post", 0)])
    assert torch.equal(values[pre], torch.ones(1, 3, 4))
    assert torch.equal(given[0], ONES.input_ids)


def test_maps_that_do_not_say_the_number_of_ids_are_refused() -> None:
    with pytest.raises(UsageError, match="number of token ids"):
        Model.open(Net(), component_map=ComponentMap(blocks="blocks"))


def test_outputs_that_hold_no_logits_are_refused() -> None:
    class Odd(Net):
        def forward(self, tokens: Tensor) -> Any:
            return {"scores": super().forward(tokens)}

    with pytest.raises(BadDataError, match="forward returned dict"):
        Model.open(Odd(), component_map=MAP)
