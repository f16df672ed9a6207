"""The output head, run once for many rows: what enters it is gathered, and the last forward carries all of it.

The head's weights are mostly the largest of a network. Reading them once instead of once a forward, for the one
position that is wanted, is a good part of what a sweep saves. What lies behind the unembedding (scale, cap) is the
network's own and runs on everything that was gathered.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import BadDataError
from mechscope.models.inputs import output_logits
from mechscope.models.network import Network
from mechscope.models.own_forward import NextForward
from mechscope.models.sweeps.growing import StopForward

__all__ = ["GatheredHead"]


class GatheredHead:
    """Collects, forward by forward, one vector a row, and gives all logits at the end.

    Where the network's map names no unembedding, or its forward does not call it, every forward runs its own head.
    `order` says which of the rows, numbered as they run, come first in what `take` gives; by default all as they run.
    With `stops_behind` the last forward, too, is left, right behind the unembedding, where the map says that nothing
    follows: a module of one's own may hold its outputs against the rows of its inputs.
    """

    def __init__(self, network: Network, *, stops_behind: bool = False, order: Sequence[int] | None = None) -> None:
        is_bare = network.component_map.logit_scale is None and network.component_map.logit_cap is None
        self.stops_behind = stops_behind and is_bare and network.component_map.kind in ("set", "module")
        path = network.component_map.unembedding
        self.unembedding = None if path is None else network.module.get_submodule(path)
        self.order = order
        self.entering: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.place: int | Tensor = 0
        self.is_last = False
        self.stop = StopForward()

    def hang(self, stack: ExitStack, own: NextForward, place: int | Tensor) -> None:
        """Hang the hook on the unembedding; `place` is the position wanted of the forward to come, or of each row."""
        self.place = place
        if self.unembedding is not None:
            stack.callback(self.unembedding.register_forward_pre_hook(own.guard(self._gather)).remove)
            if self.stops_behind:
                stack.callback(self.unembedding.register_forward_hook(own.guard(self._leave)).remove)

    def keep_output(self, output: Any) -> None:
        """Keep the logits of a forward that came to its end."""
        logits = output_logits(output)
        if self.entering and self.is_last:
            self.logits.append(logits.flatten(0, -2))
        else:
            self.logits.append(_at(logits, self.place))

    def take(self) -> Float[Tensor, "n_rows d_vocab"]:
        """The logits of all rows since the last call."""
        n_rows = sum(map(len, self.entering or self.logits))
        found = self.logits[0] if len(self.logits) == 1 else torch.cat(self.logits)
        if len(found) != n_rows:
            raise BadDataError(
                f"{len(found)} rows of logits for {n_rows} rows",
                expected="an output head that works on each vector by itself",
                todo="leave 'unembedding' out of the component map, so that heads run row by row",
            )
        if not self.entering:
            found = self._ordered(found)
        self.entering, self.logits = [], []
        return found

    def _gather(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        self.entering.append(_at(args[0], self.place).clone())
        if not self.is_last:
            raise self.stop
        joined = self._ordered(torch.cat(self.entering))  # vectors here, so that logits need no copy
        return (joined.unsqueeze(1) if args[0].ndim > 2 else joined, *args[1:])

    def _ordered(self, rows: Tensor) -> Tensor:
        return rows if self.order is None else rows[torch.tensor(self.order, device=rows.device)]

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.keep_output(output)
        raise self.stop


def _at(value: Tensor, place: int | Tensor) -> Tensor:
    """One vector a row: the value itself where it has no positions."""
    if value.ndim == 2:
        return value
    return value[:, place] if isinstance(place, int) else value[torch.arange(len(value), device=value.device), place]
