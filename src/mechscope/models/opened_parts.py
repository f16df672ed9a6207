"""Modules whose weights a site needs, looked up with each value: one may be replaced after the model was opened."""

from __future__ import annotations

from torch import nn

from mechscope.core import UsageError

__all__ = ["OpenedPart"]


class OpenedPart:
    """The module at a path, and the class that it had when the model was opened."""

    def __init__(self, root: nn.Module, path: str) -> None:
        self.root = root
        self.path = path
        self.type = type(root.get_submodule(path))

    def found(self) -> nn.Module:
        """The module that is there now. Raises UsageError for one of another class, which nobody has checked."""
        part = self.root.get_submodule(self.path)
        if type(part) is not self.type:
            raise UsageError(
                f"{self.path!r} is a {type(part).__name__}, and was a {self.type.__name__} when the model was opened",
                expected="the module that was checked, or another of its class",
                todo="open the changed module again: Model.open(model.module)",
            )
        return part
