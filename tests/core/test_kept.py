"""What is kept: the most recently asked for, up to so many bytes, and arrays told apart by what they hold."""

from __future__ import annotations

import numpy as np

from mechscope.core.kept import Kept, content_key


def test_a_value_is_made_once_and_the_longest_unasked_goes() -> None:
    made: list[str] = []

    def make(name: str) -> bytes:
        made.append(name)
        return name.encode() * 4

    kept = Kept[bytes](most_bytes=8)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(name, lambda name=name: make(name), len) == name.encode() * 4  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]  # c pushed b out, not a, which had been asked for again
    assert kept.keys == ("a", "b")


def test_one_value_is_kept_whatever_its_size() -> None:
    kept = Kept[str](most_bytes=1)
    assert kept.get(1, lambda: "large", len) == "large"
    assert kept.keys == (1,)
    kept.get(2, lambda: "larger", len)
    assert kept.keys == (2,)


def test_arrays_have_the_key_of_what_they_hold() -> None:
    values = np.arange(12).reshape(3, 4)
    assert content_key(values) == content_key(values.copy()) == content_key(np.asfortranarray(values))
    others: list[np.ndarray] = [
        values + 1,
        values.reshape(4, 3),
        values.astype(np.int32),
        values[::2],
        values[:0],
        np.zeros((0, 4)),
    ]
    keys = {content_key(one) for one in [values, *others]}
    assert len(keys) == 1 + len(others)
