"""How the stream flows through a block whose family nobody wrote down, read off one forward of its first block.

    x, y       what enters and leaves the block
    a, m       what attention and MLP give, behind a norm whose input is just that, where there is one
    sequential        some child of the block, not attention's own norm, reads x + a, and y = x + a + m
    norm after        a child that is a norm reads exactly what the sublayer gave

What is found goes into the map and is then measured in every block like any other claim; what is not found leaves the
map as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent
from mechscope.models.component_map import ComponentMap, Tap, blocks_of
from mechscope.models.network import Network
from mechscope.models.points import block_path, direct
from mechscope.models.projections import read_norm
from mechscope.models.trials import probe_batch

__all__ = ["follow_stream"]

SHARE = 0.1  # of a step of the stream that a sum may miss it by: rounding is far below, another step is not


@torch.no_grad()
def follow_stream(module: nn.Module, component_map: ComponentMap) -> ComponentMap:
    """The map with `parallel_blocks`, `mlp_norm` and the norms after the sublayers as the first block has them.

    The module must be in evaluation mode. Cost: one forward of two short rows, up to the end of the first block.
    """
    if component_map.attention is None or component_map.mlp is None:
        return component_map
    values = _read(module, component_map)
    block = blocks_of(module, component_map)[0]
    attention, mlp = (_end(block, values, path) for path in (component_map.attention, component_map.mlp))
    x, y = values.get(" input"), values.get(" output")
    a, m = values.get(f"{attention} output"), values.get(f"{mlp} output")
    if x is None or y is None or a is None or m is None or not x.shape == y.shape == a.shape == m.shape:
        return component_map
    middle = x + a
    readers = [name for name, value in _inputs(block, values) if _is_sum(value, middle, before=x)]
    if not readers or not _is_sum(y, middle + m, before=middle):
        return component_map
    found = component_map.updated(parallel_blocks=False, mlp_norm=readers[0])
    if attention != component_map.attention:
        found = found.updated(attention=attention, attention_norm_after=attention)
    return found if mlp == component_map.mlp else found.updated(mlp=mlp, mlp_norm_after=mlp)


def _read(module: nn.Module, component_map: ComponentMap) -> dict[str, Tensor]:
    """Input and output of the first block (named "") and of each of its children."""
    network = Network(module, component_map)
    path = block_path(component_map, 0)
    names = ["", *(name for name, _ in blocks_of(module, component_map)[0].named_children())]
    accesses = {
        LayerComponent(kind=f"{name} {at}", layer=0): direct(Tap(module=f"{path}.{name}".rstrip("."), at=at))
        for name in names
        for at in ("input", "output")
    }
    outcome, _ = network.run(probe_batch(network), list(accesses), accesses=accesses, keeps_failures=True)
    return {site.kind: value for site, value in outcome.values.items()}


def _inputs(block: nn.Module, values: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, _ in block.named_children():
        if (value := values.get(f"{name} input")) is not None:
            yield name, value


def _end(block: nn.Module, values: dict[str, Tensor], sublayer: str) -> str:
    """The norm that reads what a sublayer gives, or the sublayer itself."""
    given = values.get(f"{sublayer} output")
    for name, value in _inputs(block, values):
        is_next = name != sublayer and given is not None and torch.equal(value, given)
        if is_next and read_norm(block.get_submodule(name)) is not None:
            return name
    return sublayer


def _is_sum(seen: Tensor, told: Tensor, *, before: Tensor) -> bool:
    """Whether `seen` is `told`, by the measure of the step from `before`."""
    return seen.shape == told.shape and bool((seen - told).abs().max() < SHARE * (told - before).abs().max())
