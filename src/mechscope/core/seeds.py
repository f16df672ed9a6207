"""Seeds derived by name from one root, so that adding a random choice never shifts another."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["derive_seed", "numpy_generator"]


def derive_seed(root: int, *names: str | int) -> int:
    """A seed in [0, 2**63) for the choice called `names` under the root seed."""
    text = "\x1f".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(root: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the choice called `names` under the root seed."""
    return np.random.Generator(np.random.PCG64(derive_seed(root, *names)))
