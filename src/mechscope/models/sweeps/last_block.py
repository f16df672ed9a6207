"""The last block, where one position's logits are wanted: behind its keys and values nothing else of it matters.

Queries, the projection of the joined heads and the MLP work on each position by itself, and behind the last block no
position looks at another. So these run at the wanted position only. Elsewhere they leave zeros, which are never looked
at: where something behind them is edited or read, they run whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from mechscope.core import LayerComponent
from mechscope.models.component_map import ComponentMap
from mechscope.models.network import Network
from mechscope.models.own_forward import NextForward
from mechscope.models.points import block_path, find_part
from mechscope.models.sweeps.growing import stream_name, with_stream

__all__ = ["LastBlock"]

BEFORE_QUERIES = frozenset({"resid_pre"})
BEFORE_PROJECTION = BEFORE_QUERIES | {"q", "k", "v", "pattern", "z"}


class LastBlock:
    """The modules of the last block that can run at one position, with the sites of the block that lie before each."""

    def __init__(self, network: Network) -> None:
        self.layer = network.n_layers - 1
        block = block_path(network.component_map, self.layer)
        found = [
            (find_part(network.module, f"{block}.{path}"), before) for path, before in _paths(network.component_map)
        ]
        self.parts = [(part, before) for part, before in found if part is not None]

    def hang(self, stack: ExitStack, own: NextForward, place: int, sites: Collection[LayerComponent]) -> None:
        """Hang the hooks, behind those that edit; `place` is the wanted position, `sites` what is edited or read."""
        kinds = {site.kind for site in sites if site.layer in (self.layer, None) and site.kind != "embed"}
        for part, before in self.parts:
            if kinds <= before:
                cut = _OnePosition(place)
                stack.callback(part.register_forward_pre_hook(own.guard(cut.narrow), with_kwargs=True).remove)
                stack.callback(part.register_forward_hook(own.guard(cut.fill)).remove)


class _OnePosition:
    """Hooks of one module: it is given one position, and what comes out is put back into its place."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.n_positions: int | None = None

    def narrow(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = stream_name(args, kwargs)
        stream = args[0] if isinstance(name, int) else kwargs[name]
        if stream.ndim != 3:  # [rows pos width]
            return None
        self.n_positions = stream.shape[1]
        return with_stream(name, stream[:, self.place : self.place + 1], args, kwargs)

    def fill(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self.n_positions is None:
            return None
        if not isinstance(output, tuple):
            return self._filled(output)
        return (self._filled(output[0]), *output[1:])

    def _filled(self, part: Tensor) -> Tensor:
        whole = part.new_zeros(part.shape[0], self.n_positions or 1, *part.shape[2:])
        whole[:, self.place : self.place + 1] = part
        return whole


def _paths(component_map: ComponentMap) -> Iterator[tuple[str, frozenset[str]]]:
    """Paths in a block, with the sites that lie before."""
    query, key, value = component_map.query, component_map.key, component_map.value
    if query is not None and key is not None and value is not None and query.module not in (key.module, value.module):
        yield query.module, BEFORE_QUERIES
    if component_map.attention_projection is not None:
        yield component_map.attention_projection, BEFORE_PROJECTION
    if component_map.mlp is not None and not component_map.mlp_flattens and not component_map.mlp_returns_stream:
        yield component_map.mlp, BEFORE_PROJECTION
