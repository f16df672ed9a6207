"""Which rows are one input to the model: the same tokens in the same order, and the same model inputs."""

from __future__ import annotations

import numpy as np

from mechscope.corpora.corpus import Corpus

__all__ = ["first_alike"]

ROWS_AT_ONCE = 65_536


def first_alike(corpus: Corpus) -> np.ndarray | None:
    """The first row that each row repeats, itself for a first one, int64 [n_rows]; None where no row repeats another.

    Rows are told apart by a hash of 64 bits: two among a million that differ are taken for one with a chance of 1e-7.
    """
    hashes = _hashes(corpus)
    order = np.argsort(hashes, kind="stable")
    is_new = np.ones(len(order), bool)
    is_new[1:] = np.diff(hashes[order]) != 0
    if is_new.all():
        return None
    found = np.empty(len(order), np.int64)
    found[order] = order[np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))]  # ties in order of rows
    return found


def _hashes(corpus: Corpus) -> np.ndarray:
    """sum over tokens of number(id) times odd number(position), and the inputs times odd numbers, modulo 2^64."""
    ids, indptr, lengths = corpus.tokens.ids, corpus.tokens.indptr, corpus.tokens.lengths
    generator = np.random.default_rng(0)

    def numbers(n: int) -> np.ndarray:
        return generator.integers(2**64, size=n, dtype=np.uint64)

    of_input = numbers(len(corpus.columns) + 1) | np.uint64(1)
    lowest = int(ids.min()) if len(ids) else 0
    of_id = numbers(int(ids.max()) - lowest + 1 if len(ids) else 1)
    of_position = numbers(int(lengths.max()) if len(lengths) else 0) | np.uint64(1)
    found = np.zeros(corpus.n_rows, np.uint64)
    for start in range(0, corpus.n_rows, ROWS_AT_ONCE):  # few enough to stay near the processor
        end = min(start + ROWS_AT_ONCE, corpus.n_rows)
        first, last = int(indptr[start]), int(indptr[end])
        places = np.arange(last - first) - np.repeat(indptr[start:end] - first, lengths[start:end])
        sums = np.zeros(last - first + 1, np.uint64)
        np.cumsum(of_id[ids[first:last] - lowest] * of_position[places], out=sums[1:])
        at = indptr[start : end + 1] - first
        found[start:end] = np.diff(sums[at])
    for name, number in zip(sorted(corpus.names_with_role("input", "row")), of_input, strict=False):
        found += corpus.column(name).astype(np.int64).view(np.uint64) * number
    return found
