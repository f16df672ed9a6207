"""A batch that grows on its way through the blocks: at the block where a variant's first edit lies, its row joins.

Until the first variant joins, one clean row (the carrier) runs, because a network cannot run on no row at all; the
first variants take its place. A variant's row begins as the clean input of that block. What a block is given beside
the stream (masks, positions, rotations) belongs to one base row, so it is the same for all rows and is repeated;
which of those tensors have a row axis is measured once, by running one row and two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from mechscope.core import BadDataError
from mechscope.models.own_forward import NextForward, enter_forward

__all__ = ["GrowingBatch", "RowSizes", "StopForward", "measure_row_sizes", "stream_name", "with_stream"]

RowSizes = dict[str, int]  # path of an argument of a block -> the length that one row takes on its first axis


class StopForward(BaseException):
    """Leaves a forward pass early; no Exception, so that a model's own `except Exception` cannot swallow it."""


class GrowingBatch:
    """The rows of one forward. `joined` says which variant each row is, in order; empty while the carrier runs."""

    def __init__(self, entries: Mapping[int, Sequence[int]], inputs: Mapping[int, Tensor], sizes: RowSizes) -> None:
        self.entries = entries
        self.inputs = inputs
        self.sizes = sizes
        self.joined: list[int] = []
        self.n_block_tokens = 0

    @property
    def n_rows(self) -> int:
        """Rows that run now, the carrier included."""
        return max(1, len(self.joined))

    def hang(self, blocks: Sequence[nn.Module], pool: nn.Module | None, own: NextForward, stack: ExitStack) -> None:
        """Hang a hook on each block's input, and on the module that pools a row, which may be given a mask.

        Hooks hung there later see the rows that joined.
        """
        for layer, block in enumerate(blocks):
            hook = own.guard(self._hook(layer))
            stack.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
        if pool is not None:
            stack.callback(pool.register_forward_pre_hook(own.guard(self._hook_pool), with_kwargs=True).remove)

    def _hook_pool(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Behind the blocks nothing was measured: what is there for one row is repeated."""

        def fit(value: Any) -> Any:
            is_one = isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == 1
            return value.expand(self.n_rows, *value.shape[1:]) if is_one else value

        return tuple(map(fit, args)), {key: fit(value) for key, value in kwargs.items()}

    def _hook(self, layer: int) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            name = stream_name(args, kwargs)
            stream = args[name] if isinstance(name, int) else kwargs[name]
            if stream.shape[0] != self.n_rows:
                raise BadDataError(
                    f"block {layer} is given {tuple(stream.shape)} while {self.n_rows} rows run",
                    expected="a stream whose first axis is the rows",
                    todo="run the edits one by one with model.logits",
                )
            stream = self._join(layer, stream)
            self.n_block_tokens += stream.shape[0] * stream.shape[1]
            if len(self.joined) < 2:
                return with_stream(name, stream, args, kwargs)
            args = tuple(self._fit(str(index), value) for index, value in enumerate(args))
            kwargs = {key: self._fit(key, value) for key, value in kwargs.items()}
            return with_stream(name, stream, args, kwargs)

        return hook

    def _join(self, layer: int, stream: Tensor) -> Tensor:
        entering = self.entries.get(layer)
        if not entering:
            return stream
        n_before = len(self.joined)
        self.joined.extend(entering)
        grown = stream.new_empty(len(self.joined), *stream.shape[1:])
        grown[:n_before] = stream[:n_before]
        grown[n_before:] = self.inputs[layer]
        return grown

    def _fit(self, path: str, value: Any) -> Any:
        """An argument for as many rows as run now."""
        if isinstance(value, Tensor):
            size = self.sizes.get(path)
            if size is None or value.shape[0] == size * self.n_rows:
                return value
            one = value[:size]
            rest = [1] * (value.ndim - 1)
            return one.expand(self.n_rows, *one.shape[1:]) if size == 1 else one.repeat(self.n_rows, *rest)
        if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
            return type(value)(self._fit(f"{path}.{index}", part) for index, part in enumerate(value))
        return value


def stream_name(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str:
    """Where a block's call holds the stream: 0 for the first positional argument, else the name of the first tensor."""
    if args:
        return 0
    return next(key for key, value in kwargs.items() if isinstance(value, Tensor))


def measure_row_sizes(run: Callable[[int], None], blocks: Sequence[nn.Module]) -> RowSizes:
    """Which arguments of a block have a row axis, and how long it is for one row.

    Args:
        run: runs the network on that many equal rows; it may be left at the second block.
        blocks: the network's blocks. The first two stand for all, since arguments have the same names everywhere.
    """
    one, two = _leading_sizes(run, 1, blocks), _leading_sizes(run, 2, blocks)
    return {path: size for path, size in one.items() if size and two.get(path) == 2 * size}


def _leading_sizes(run: Callable[[int], None], n_rows: int, blocks: Sequence[nn.Module]) -> dict[str, int]:
    found: dict[str, int] = {}
    stop = StopForward()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        named = {**{str(index): value for index, value in enumerate(args)}, **kwargs}
        named.pop(str(stream_name(args, kwargs)))
        for path, tensor in _tensors(named):
            found[path] = tensor.shape[0] if tensor.ndim else 0
        if module is blocks[min(1, len(blocks) - 1)]:
            raise stop

    own = NextForward()
    with ExitStack() as stack, torch.no_grad():
        enter_forward(stop, stack)
        for block in blocks[:2]:
            stack.callback(block.register_forward_pre_hook(own.guard(hook), with_kwargs=True).remove)
        try:
            run(n_rows)
        except StopForward as stopped:
            if stopped is not stop:
                raise
    return found


def _tensors(named: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for path, value in named.items():
        if isinstance(value, Tensor):
            yield path, value
        elif isinstance(value, (tuple, list)):
            yield from _tensors({f"{path}.{index}": part for index, part in enumerate(value)})


def with_stream(name: int | str, stream: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A block's arguments with another stream."""
    if isinstance(name, int):
        return (stream, *args[1:]), kwargs
    return args, {**kwargs, name: stream}
