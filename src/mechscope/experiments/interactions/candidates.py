"""Which tokens are worth a factorial design: those with the largest effect of their own where the feature is high.

The strongest that raise it and the strongest that lower it take turns, one rung a family: the rung of largest effect
among those that are common (5 % of rows have it or a higher one) and nearly always fit. Chosen on one half alone (of
base contexts, or of rows), so that the other half tests what it did not choose. A token without an effect of its own,
which only acts beside another one, is not found this way: name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from mechscope.core import UsageError, derive_seed
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, paired_cells
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.factorial import Scale, measure_corners
from mechscope.experiments.interactions.factors import Factor
from mechscope.experiments.observing.slicing import Slice
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["common_in_high_rows", "influential"]

THIRD_QUARTER = 3
LEGAL_SHARE, LEGAL_SHARE_OF_RUNGS = 0.5, 0.9  # a lower rung of a family is nearly as good, and pairs up
COMMON_SHARE = 0.05
HIGH_QUANTILE = 0.9
ROWS_NEEDED = 50


def influential(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    bases: Bases,
    factors: Sequence[Factor],
    *,
    scale: Scale,
    top_k: int,
) -> list[Factor]:
    """The `top_k` factors with the largest mean effect in the high base contexts of the selecting half, one a topic.

    High: from the upper half of the active rows; all of the half where those are fewer than 5. Writes the table
    `candidates`. Cost: two forwards a factor and context.

    Raises UsageError when fewer than two factors can be set.
    """
    factors = _common(context, factors)
    high = ~bases.is_held_out & (bases.region >= THIRD_QUARTER)
    if len(np.unique(bases.clusters[high])) < FEW:
        high = ~bases.is_held_out
    few = _only(bases, high)
    constraints = Constraints(spec.constraints, context, Findings())
    corners = measure_corners(context, spec.feature_id, few, [(factor,) for factor in factors], constraints)
    deltas = corners.differences("activation" if scale == "log" else scale)
    cells = paired_cells(deltas, few.clusters, seed=derive_seed(spec.seed, "candidates"))
    needed = np.array([LEGAL_SHARE_OF_RUNGS if factor.on.rungs else LEGAL_SHARE for factor in factors])
    fitting = (cells.n >= needed * cells.n.max()) & (cells.n_clusters >= FEW)
    at = _in_turns(factors, np.where(fitting, cells.mean, np.nan), top_k)
    if len(at) < 2:
        raise UsageError(
            f"{len(at)} tokens that can be set in at least {FEW} base contexts",
            expected="two or more",
            todo="name tokens",
        )
    findings.table(
        "candidates",
        ("token", *CELL_COLUMNS),
        [{"token": factors[index].name, **cells.row(index)} for index in at],
        caption=f"The {len(at)} of {len(factors)} common tokens and rungs with the largest effects (there minus not "
        f"there) in the {len(few)} high base contexts of the selecting half: those that raise and those that lower the "
        "feature in turns, one rung a family.",
    )
    return [factors[index] for index in at]


def common_in_high_rows(
    found: Slice, selecting: np.ndarray, context: ExperimentContext, factors: Sequence[Factor], top_k: int
) -> list[Factor]:
    """The `top_k` factors, one a topic, whose share differs most between high rows and the others: largest |log odds|.

    Args:
        found: the rows of the slice. selecting: those that may select, boolean [n].
        factors: of which; those that fewer than 50 selecting rows have, or lack, are passed over.
        top_k: how many.

    Raises UsageError when fewer than two are left.
    """
    rows, values = found.rows[selecting], found.values[selecting]
    active = values[values > 0]
    high = values >= (float(np.quantile(active, HIGH_QUANTILE)) if len(active) else np.inf)
    n, n_high, within, within_high = (
        len(rows),
        int(high.sum()),
        context.packed_rows(rows),
        context.packed_rows(rows[high]),
    )
    scores = np.full(len(factors), np.nan)
    for index, factor in enumerate(factors):
        has = factor.packed_rows(context)
        n_with, a = (int(np.bitwise_count(has & mask).sum()) for mask in (within, within_high))
        if min(n_with, n - n_with) >= ROWS_NEEDED and n_high:
            b, c = n_high - a, n_with - a
            scores[index] = np.log((a + 0.5) * (n - n_high - c + 0.5) / ((b + 0.5) * (c + 0.5)))
    at = _in_turns(factors, scores, top_k)
    if len(at) < 2:
        raise UsageError(
            f"{len(at)} tokens with {ROWS_NEEDED} rows", expected="two or more", todo="name tokens, or widen the slice"
        )
    return [factors[index] for index in at]


def _common(context: ExperimentContext, factors: Sequence[Factor]) -> list[Factor]:
    """The factors that 5 % of the rows have; all of them where fewer than two do."""
    n_rows = context.corpus.n_rows
    shares = [int(np.bitwise_count(factor.packed_rows(context)).sum()) / n_rows for factor in factors]
    common = [factor for factor, share in zip(factors, shares, strict=True) if share >= COMMON_SHARE]
    return common if len({factor.topic for factor in common}) > 1 else list(factors)


def _in_turns(factors: Sequence[Factor], scores: np.ndarray, top_k: int) -> list[int]:
    """Indices of the best factors by size, one a topic: those above 0 and those below it by turns; NaN: left out."""
    best: dict[str, int] = {}
    for index in np.argsort(-np.nan_to_num(np.abs(scores), nan=-1.0), kind="stable").tolist():
        if not np.isnan(scores[index]):
            best.setdefault(factors[index].topic, index)
    sides = [[index for index in best.values() if (scores[index] > 0) == is_up] for is_up in (True, False)]
    turns = [index for pair in zip_longest(*sides) for index in pair if index is not None]
    return turns[:top_k]


def _only(bases: Bases, keep: np.ndarray) -> Bases:
    at = np.flatnonzero(keep)
    return replace(
        bases,
        contexts=[bases.contexts[index] for index in at.tolist()],
        stored=bases.stored[at],
        region=bases.region[at],
        weights=bases.weights[at],
        clusters=bases.clusters[at],
        is_held_out=bases.is_held_out[at],
    )
