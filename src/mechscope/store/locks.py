"""One writer for a folder at a time, across processes of one machine.

The lock is advisory (`flock` on `.lock` inside the folder) and belongs to the open file, so that the system lets go of
it when its process ends in any way, SIGKILL included: there is no stale lock to clean up.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LOCK_NAME", "folder_lock"]

LOCK_NAME = ".lock"


@contextmanager
def folder_lock(folder: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the folder's lock; waits while another process holds it.

    Args:
        folder: made when it is not there.
        on_wait: called once before waiting, for example to tell the person who waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
