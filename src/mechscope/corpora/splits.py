"""Which rows are for training and which are held out: whole documents, or runs of blocks where documents are few.

A document never lies in two splits, as long as there are enough of them. A single long file has no other document to
hold out; then runs of consecutive blocks are drawn instead, which is weaker (neighbouring runs share topic and names),
and the corpus says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mechscope.core import derive_seed
from mechscope.corpora.documents import split_of

__all__ = ["split_rows"]

SHARE_MIN = 0.02
RUN_BLOCKS = 8
HELD_OUT_SHARE = 0.1


def split_rows(
    groups: Sequence[str], blocks: Sequence[int], *, seed: int, may_split_documents: bool
) -> tuple[np.ndarray, str]:
    """The split of each row ("train", "valid" or "test"), and what was drawn: "document" or "run of N blocks".

    Args:
        groups: the document (or group of documents) of each row.
        blocks: number of the row's block in its document.
        seed: root of the draw; whole documents are drawn by their name alone, so that they never move.
        may_split_documents: draw runs of blocks where a split would get less than 2 % of the rows.
    """
    drawn = {group: split_of(group, seed=seed) for group in dict.fromkeys(groups)}
    by_document = np.array([drawn[group] for group in groups], dtype=object)
    if not may_split_documents or all((by_document == name).mean() >= SHARE_MIN for name in ("train", "valid", "test")):
        return by_document, "document"
    length = max(1, min(RUN_BLOCKS, len(groups) // 30))
    runs = [f"{group}\x1f{block // length}" for group, block in zip(groups, blocks, strict=True)]
    ordered = sorted(dict.fromkeys(runs), key=lambda run: derive_seed(seed, "split run", run))
    n_held_out = max(1, round(HELD_OUT_SHARE * len(ordered))) if len(ordered) > 2 else 0
    names = dict.fromkeys(ordered[:n_held_out], "test")
    names |= dict.fromkeys(ordered[n_held_out : 2 * n_held_out], "valid")
    return np.array([names.get(run, "train") for run in runs], dtype=object), f"run of {length} blocks"
