"""Sums by block and item of values dealt over rows, drawn from the normal with the dealing's own covariances.

With c the incidence of items on m rows (ones last), C_b = c'c over the rows of block b, h_b its last column
and V the covariance of the values over m - 1, the sums less their means have covariance (C - h h' / m) x V, where C has
the C_b on its diagonal and nothing beside. So S_b = X_b - h_b (1'X) / m with X_b = root(C_b) Z_b root(V), each block by
itself, and 1'X the sum of the last items.

The total of each item is then moved from the normal to the gamma distribution with its skewness in a dealing by Wilson
and Hilferty's cube (1931), x -> 2 / g ((1 + g x / 6 - g^2 / 36)^3 - 1); blocks take their share of what it moved by.
g = (1 - 2 f) / sqrt(m f (1 - f)) times the skewness of the values, f the share of rows with the item.
"""

from __future__ import annotations

import numpy as np

__all__ = ["NormalSums", "skewness_of_sums"]


class NormalSums:
    """Draws sums of values over rows.

    Args:
        grams: rows of each block that hold both of two items, the last item being in all, [G, k + 1, k + 1].
        skewness: of the columns of values whose sums by item are to be skewed, the first ones, [q' <= q].
    """

    def __init__(self, grams: np.ndarray, skewness: np.ndarray) -> None:
        self.counts: np.ndarray = np.diagonal(grams, axis1=1, axis2=2).copy()
        self._n, self._n_with = float(self.counts[:, -1].sum()), self.counts[:, :-1].sum(axis=0)
        self._skewness = skewness
        # items may add up to one another: what a Cholesky root loses by rounding is put on the diagonal, twice over
        tiny = 4 * np.finfo(float).eps * grams.shape[1] ** 2 * np.maximum(self.counts.max(axis=1), 1.0)
        self._roots = np.linalg.cholesky(grams + tiny[:, None, None] * np.eye(grams.shape[1]))
        self._roots *= (self.counts > 0)[:, :, None]

    def draw(self, covariances: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Sums less their means, [G, k + 1, q, b], for values with `covariances` [b, q, q] over m - 1."""
        n_draws, q, _ = covariances.shape
        roots = _roots(covariances)
        found = np.empty((*self.counts.shape, q, n_draws))
        for block, root in enumerate(self._roots):
            x = (root @ generator.standard_normal((len(root), n_draws * q))).reshape(len(root), n_draws, q)
            found[block] = np.matmul(x.transpose(1, 0, 2), roots).transpose(1, 2, 0)
        found -= self.counts[..., None, None] * (found[:, -1].sum(axis=0) / self._n)
        self._skew(found, np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)).T)
        return found

    def _skew(self, sums: np.ndarray, deviations: np.ndarray) -> None:
        """Move the totals of items in `sums`, in place; `deviations` of the values, [q, b]."""
        share = self._n_with / self._n
        error = np.sqrt(self._n_with * (1 - share))[:, None] * np.ones(sums.shape[-1])
        of_block = self.counts[:, :-1] / np.maximum(self._n_with, 1)
        for column, skewness in enumerate(self._skewness):
            unit = error * deviations[column]
            x = sums[:, :-1, column].sum(axis=0) / np.where(unit > 0, unit, 1.0)
            g = skewness * skewness_of_sums(self._n_with, self._n)[:, None]
            moved = _cubed(x, g) - x
            sums[:, :-1, column] += of_block[..., None] * (unit * moved)


def skewness_of_sums(n_with: np.ndarray, n: float) -> np.ndarray:
    """Skewness of the sum of `n_with` of n values drawn without return, in that of the values; 0 for none or all."""
    left = n_with * (1 - n_with / n)
    found: np.ndarray = np.where(left > 0, (1 - 2 * n_with / n) / np.sqrt(np.where(left > 0, left, 1.0)), 0.0)
    return found


def _cubed(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """2 / g ((1 + g d)^3 - 1) with d = x / 6 - g / 36, multiplied out, so that g may be 0."""
    d = x / 6 - g / 36
    found: np.ndarray = 2 * d * (3 + 3 * g * d + (g * d) ** 2)
    return found


def _roots(covariances: np.ndarray) -> np.ndarray:
    """Symmetric roots; columns that are functions of one another have a covariance that is singular."""
    values, vectors = np.linalg.eigh(covariances)
    found: np.ndarray = (vectors * np.sqrt(values.clip(0))[:, None]) @ vectors.transpose(0, 2, 1)
    return found
