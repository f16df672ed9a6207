"""Canonical JSON and digests: the same meaning gives the same bytes.

Canonical JSON here: keys sorted, no whitespace, UTF-8, no NaN or infinity, and floats in Python's shortest
round-trip form. A whole float equals the integer of the same value in JSON terms, but `1` and `1.0` are kept
apart, since a typed spec has already fixed which of the two a field holds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "digest_bytes", "digest_file", "digest_of", "short"]

SHORT_LENGTH = 16
READ_BYTES = 1 << 22


def canonical_json(value: Any) -> str:
    """`value` (JSON types only) as canonical JSON. Raises ValueError on NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_bytes(data: bytes) -> str:
    """SHA-256 of `data`, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value).encode())


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read once in blocks of 4 MiB."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            state.update(block)
    return state.hexdigest()


def short(digest: str) -> str:
    """The first 16 digits of a digest: what folder names carry."""
    return digest[:SHORT_LENGTH]
