"""Transformers without its bars and remarks, while some thread loads or generates.

What is set is one for the process: the first thread that wants quiet sets it, and the last that no longer does puts
back what was there, in whatever order they come and go.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mechscope.core.hugging_face import transformers_logging as logging

__all__ = ["quiet"]


@dataclass
class _Wish:
    """How many want quiet, and what was set before the first of them."""

    n_held: int = 0
    level: int = 0
    has_bar: bool = False


_WISH, _LOCK = _Wish(), threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and remarks inside; what was set before comes back when nobody wants quiet any more."""
    with _LOCK:
        if _WISH.n_held == 0:
            _WISH.level, _WISH.has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        _WISH.n_held += 1
    try:
        yield
    finally:
        with _LOCK:
            _WISH.n_held -= 1
            if _WISH.n_held == 0:
                logging.set_verbosity(_WISH.level)
                if _WISH.has_bar:
                    logging.enable_progress_bar()
