"""Rearrangements of labels among units: all of them when few, otherwise drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

__all__ = ["deal_labels"]


def deal_labels(
    labels: np.ndarray, strata: np.ndarray, *, n_permutations: int, n_block: int, seed: int
) -> tuple[Iterator[np.ndarray], bool]:
    """Blocks [b, units] of 0-1 labels dealt anew within strata, and whether they are all there are.

    Args:
        labels: boolean [units].
        strata: integer [units].
        n_permutations: how many to draw; when there are no more others than this, each is given once instead,
            the observed one left out.
        n_block: rows of a block.
        seed: of the draws; the draws do not depend on `n_block`.
    """
    places = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    n_all = math.prod(math.comb(len(at), int(labels[at].sum())) for at in places)
    if n_all - 1 <= n_permutations:
        return _blocks(_each(labels, places), n_block), True
    return _drawn(labels, strata, n_permutations, n_block, seed), False


def _each(labels: np.ndarray, places: list[np.ndarray]) -> Iterator[np.ndarray]:
    per_stratum = [itertools.combinations(at.tolist(), int(labels[at].sum())) for at in places]
    for choice in itertools.product(*per_stratum):
        dealt = np.zeros(len(labels))
        dealt[list(itertools.chain.from_iterable(choice))] = 1
        if (dealt != labels).any():
            yield dealt


def _blocks(rows: Iterator[np.ndarray], n_block: int) -> Iterator[np.ndarray]:
    while block := list(itertools.islice(rows, n_block)):
        yield np.array(block)


def _drawn(
    labels: np.ndarray, strata: np.ndarray, n_permutations: int, n_block: int, seed: int
) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    order = np.argsort(strata, kind="stable")
    in_order, stratum = labels[order].astype(np.float64), strata[order]
    for start in range(0, n_permutations, n_block):
        keys = generator.random((min(n_block, n_permutations - start), len(labels)))
        # sorting by stratum plus a fraction shuffles each stratum within its own places
        shuffled = np.argsort(stratum + keys, axis=1)
        dealt = np.empty_like(keys)
        dealt[:, order] = in_order[shuffled]
        yield dealt
