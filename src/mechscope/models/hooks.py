"""Hooks at points: inputs and outputs of modules by PyTorch's hooks, softmaxes by a function mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mechscope.models.component_map import Tap
from mechscope.models.own_forward import enter_forward, is_running, stepped_out

__all__ = ["Visitor", "hang_hooks"]


SOFTMAXES = frozenset({functional.softmax, torch.softmax, Tensor.softmax})


class Visitor(Protocol):
    """What is called at each point."""

    @property
    def points(self) -> Mapping[Tap, Any]:
        """Where hooks are wanted."""
        ...

    def visit(self, point: Tap, found: Any) -> Any:
        """The tensor to leave at the point in place of the one found there."""
        ...

    def stop_if_done(self) -> None:
        """May leave the forward by an exception."""
        ...


def hang_hooks(module: nn.Module, visitor: Visitor, stack: ExitStack) -> None:
    """Hang the hooks of all points, each to be taken away by `stack`, also when hanging a later one fails."""
    enter_forward(visitor, stack)
    softmaxes = [point for point in visitor.points if point.at == "softmax"]
    for point in visitor.points:
        part = module.get_submodule(point.module)
        if point.at == "input":
            stack.callback(part.register_forward_pre_hook(_input_hook(point, visitor), with_kwargs=True).remove)
        elif point.at == "output":
            stack.callback(part.register_forward_hook(_output_hook(point, visitor)).remove)
    if softmaxes:
        mode = _SoftmaxMode(visitor)
        for point in softmaxes:
            part = module.get_submodule(point.module)
            stack.callback(part.register_forward_pre_hook(mode.entering(point)).remove)
            stack.callback(part.register_forward_hook(mode.leaving()).remove)
        stack.enter_context(mode)


class _SoftmaxMode(TorchFunctionMode):
    """Shows the result of every softmax that is called while a module of interest runs."""

    def __init__(self, visitor: Visitor) -> None:
        super().__init__()
        self.visitor = visitor
        self.inside: list[Tap] = []

    def entering(self, point: Tap) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            if is_running(self.visitor):
                self.inside.append(point)

        return enter

    def leaving(self) -> Callable[..., None]:
        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if is_running(self.visitor):
                self.inside.pop()

        return leave

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in SOFTMAXES or not self.inside or not is_running(self.visitor):
            return found
        return _visited(self.visitor, self.inside[-1], found)


def _visited(visitor: Visitor, point: Tap, found: Any) -> Any:
    with stepped_out():
        new = visitor.visit(point, found)
    visitor.stop_if_done()
    return new


def _input_hook(point: Tap, visitor: Visitor) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        del module
        if kwargs is None or not is_running(visitor):
            return None  # another thread may find the hook before torch has noted that it takes keywords
        name = "" if args else next((key for key, value in kwargs.items() if isinstance(value, Tensor)), "")
        raw = kwargs[name] if name else args[0] if args else None
        new = _visited(visitor, point, raw)
        if new is raw:
            return None
        return (args, {**kwargs, name: new}) if name else ((new, *args[1:]), kwargs)

    return hook


def _output_hook(point: Tap, visitor: Visitor) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        del module, args
        if not is_running(visitor):
            return None
        is_tuple = isinstance(output, tuple)
        raw = output[0] if is_tuple and output else output
        new = _visited(visitor, point, raw)
        if new is raw:
            return None
        return (new, *output[1:]) if is_tuple else new

    return hook
