"""What was worked out and may be asked for again, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np

__all__ = ["Kept", "content_key", "rows_key"]

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key; beyond `most_bytes` those that were not asked for the longest go, but never the last one.

    Threads may share it: two that ask for one key at once may both make it.

    >>> kept = Kept[str](most_bytes=2)
    >>> [kept.get(key, lambda: key, len) for key in ("a", "b", "c")]
    ['a', 'b', 'c']
    >>> kept.keys
    ('b', 'c')
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What is kept, the longest unasked first."""
        return tuple(self._values)

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The value of a key, made where it is not kept; `size` tells its bytes."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value = make()
        n_bytes = size(value)
        with self._lock:
            self._values[key] = value, n_bytes
            total = sum(n for _, n in self._values.values())
            while total > self.most_bytes and len(self._values) > 1:
                total -= self._values.popitem(last=False)[1][1]
        return value


def content_key(values: np.ndarray) -> Hashable:
    """What an array holds, as a key: its shape, its type and a digest of its bytes. A millisecond a megabyte."""
    content = np.ascontiguousarray(values).data
    # memory without a byte cannot be looked at as bytes
    return values.shape, values.dtype.str, blake2b(content.cast("B") if values.size else b"", digest_size=16).digest()


def rows_key(rows: np.ndarray, n_rows: int) -> Hashable:
    """Some of `n_rows` rows, none twice, as a key; None for all of them."""
    return None if len(rows) == n_rows else content_key(rows)
