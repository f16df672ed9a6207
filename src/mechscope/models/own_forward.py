"""Whose forward is at hand: a hook hangs on a module for all who call it, and acts for one of them.

Another thread may run the same model, and an edit's function may call it again. So every hook looks first whether it
is called in the forward that it was hung for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["NextForward", "enter_forward", "is_running", "stepped_out"]


class _Running(threading.local):
    """What hangs hooks for the forwards that this thread is in, the innermost last; None while an edit's function runs.

    A hook that is called where None stands last, or in another thread, is nobody's.
    """

    def __init__(self) -> None:
        self.stack: list[object] = []


_RUNNING = _Running()


def enter_forward(owner: object, stack: ExitStack) -> None:
    """A forward of `owner` begins; it ends with `stack`."""
    _RUNNING.stack.append(owner)
    stack.callback(_RUNNING.stack.pop)


@contextmanager
def stepped_out() -> Iterator[None]:
    """Inside, no forward is anybody's own: an edit's function runs."""
    _RUNNING.stack.append(None)
    try:
        yield
    finally:
        _RUNNING.stack.pop()


def is_running(owner: object) -> bool:
    """Whether a hook is called in this owner's own forward: not in another thread's, nor in one inside an edit."""
    return bool(_RUNNING.stack) and _RUNNING.stack[-1] is owner


class NextForward:
    """The forward that this thread enters next, for hooks that are hung before its owner is known."""

    def __init__(self) -> None:
        self.stack, self.depth = _RUNNING.stack, len(_RUNNING.stack)

    def is_at_hand(self) -> bool:
        """Whether a hook is called in it, and not inside one of its edits."""
        return _RUNNING.stack is self.stack and len(self.stack) == self.depth + 1

    def guard(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """The hook, doing nothing in other forwards; there it may be called before torch knows of its keywords."""

        def guarded(*given: Any) -> Any:
            return hook(*given) if self.is_at_hand() else None

        return guarded
