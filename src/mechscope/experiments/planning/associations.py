"""Which families and binaries go with a feature in the rows: a cheap first look that says where to look closer.

Share of variance: between the levels of a family (or with and without a binary), sum n_l (mean_l - mean)^2 over
sum (y - mean)^2, rows at zero included. By chance it is about (levels - 1) / n, which is taken off. An association.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import numpy_generator
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["Association", "associations"]

ROWS_READ = 3000


@dataclass(frozen=True)
class Association:
    """How much of the variance of the activation goes with a family or a binary.

    Attributes:
        name: of the family or binary. is_binary: which of the two.
        share: of variance, less what chance gives; may be below 0. rises: whether rows that have it are higher.
        n: rows. n_with: rows that have it.
    """

    name: str
    is_binary: bool
    share: float
    rises: bool
    n: int
    n_with: int

    @property
    def words(self) -> str:
        """The numbers, for a reason."""
        return f"{100 * self.share:.1f} % of the variance over {self.n:,} rows goes with {self.name} (associated)"


def associations(context: ExperimentContext, feature: int) -> list[Association]:
    """Every family and binary of the domain, the strongest first. One pass over the tokens and one a family; where the
    domain alone can tell rungs, 3000 rows are read."""
    rows = context.rows_in_store
    values = context.row_activations(feature)
    found = []
    for name, family in context.domain.families.items():
        if all(family.tokens):
            levels, y = context.family_rungs(name)[rows], values[rows]
        else:
            drawn = rows if len(rows) <= ROWS_READ else _drawn(rows)
            made = context.contexts_of(drawn)
            levels = np.array([context.domain.rung(one, name) for one in made], dtype=np.int64)
            y = values[drawn]
        found.append(_association(name, levels, y, is_binary=False))
    for name, token in context.domain.binaries.items():
        found.append(_association(name, context.rows_with(token)[rows].astype(np.int64), values[rows], is_binary=True))
    return sorted((one for one in found if one.n_with > 0), key=lambda one: -one.share)


def _drawn(rows: np.ndarray) -> np.ndarray:
    chosen = numpy_generator(0, "rows for associations").choice(len(rows), ROWS_READ, replace=False)
    return rows[np.sort(chosen)]


def _association(name: str, levels: np.ndarray, y: np.ndarray, *, is_binary: bool) -> Association:
    known, index = np.unique(levels, return_inverse=True)
    counts = np.bincount(index)
    means = np.bincount(index, weights=y) / counts
    total = float(np.square(y - y.mean()).sum())
    between = float(counts @ np.square(means - y.mean()))
    share = between / total - (len(known) - 1) / max(1, len(y) - 1) if total > 0 else 0.0
    there = levels > known[0] if known[0] == 0 or len(known) > 1 else levels > 0
    rises = bool(there.any() and not there.all() and y[there].mean() > y[~there].mean())
    return Association(name, is_binary, share, rises, len(y), int((levels > 0).sum()))
