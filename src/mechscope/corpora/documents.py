"""Documents: named texts with facts about the whole and about each character, before they become tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mechscope.core import derive_seed

__all__ = ["Document", "split_of"]

SPLIT_SHARES = (("train", 0.8), ("valid", 0.9), ("test", 1.0))


@dataclass(frozen=True, eq=False)
class Document:
    """One text.

    Attributes:
        name: unique in its corpus.
        text: the whole text, not empty.
        group: what the split is drawn by; documents of one group always share a split. By default the name.
        facts: row-level values that all blocks of the document share (kind, module, file).
        read_marks: called once, when the document is used: token-level facts, name -> array [len(text)] with one value
            a character; a token takes the value at its first visible character, or at its first one. None: no marks.
    """

    name: str
    text: str
    group: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    read_marks: Callable[[], Mapping[str, np.ndarray]] | None = None


def split_of(group: str, *, seed: int = 0) -> str:
    """ "train" (80 %), "valid" (10 %) or "test" (10 %), drawn from the name alone, so that it never moves."""
    share = derive_seed(seed, "split", group) / 2**63
    return next(name for name, upper in SPLIT_SHARES if share < upper)
