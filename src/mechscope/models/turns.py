"""Runs of one process take turns: one forward at a time, whatever models and threads they belong to.

Hooks and the choice of an attention hang on a module for all who call it; the random state belongs to the process.
So a thread takes the turn for each forward of a capture, of gradients and of a sweep, for a whole generation, and
while transformers builds a model from stored weights (it changes the dtype that new tensors have); a run inside an
edit's function goes on in the turn of the run around it. For parallel work use processes.

Two things a turn cannot do: keep a module that is called by itself in another thread from what a run chose for it
(eager attention), and end a wait of an edit's function for a run in another thread, which waits for the edit.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

__all__ = ["turn"]

_TURNS: dict[int, AbstractContextManager[bool]] = {}


def turn() -> AbstractContextManager[bool]:
    """The lock to hold while a module runs; a thread that holds it may take it again. Free when nobody else runs.

    A forked child has a lock of its own: that of its parent may be held by a thread which the child does not have.
    """
    return _TURNS.setdefault(os.getpid(), threading.RLock())
