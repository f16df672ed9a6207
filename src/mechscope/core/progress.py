"""Progress without printing: long work reports to a small protocol, and the faces decide how to show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "Progress", "SilentProgress", "Task"]


class Task(Protocol):
    """One bar."""

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Report `n` more units done; `note` is a short remark such as "loss 0.12"."""
        ...


class Progress(Protocol):
    """Something that can show bars and say a line."""

    def task(self, name: str, *, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Open a bar of `total` units (None when unknown); it closes with the context."""
        ...

    def say(self, line: str) -> None:
        """One line for the person who waits: a default that was chosen, a step that was reused."""
        ...


class _SilentTask:
    def advance(self, n: int = 1, *, note: str = "") -> None:
        del n, note


class SilentProgress:
    """Shows nothing: what the library uses unless a face passes its own."""

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """A bar that shows nothing."""
        del name, total, unit
        yield _SilentTask()

    def say(self, line: str) -> None:
        """Says nothing."""
        del line


SILENT = SilentProgress()
