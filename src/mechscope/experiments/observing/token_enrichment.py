"""Tokens in high rows against all other rows, a family of tied rungs speaking through its most unequal rung.

Log odds of each token in rows at or above a percentile of the active rows; a verdict takes a corrected p in one half of
the rows and a p in the other, in one direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mechscope.core import UsageError, derive_seed
from mechscope.experiments.changing.cells import flag_of
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.changing.token_effects import SweptTokens
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.enrichment import JointCounts, count_in_high, count_packed_in_high
from mechscope.experiments.observing.levels import rows_holding_constant, second_half
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import OBSERVED
from mechscope.stats.samples import ranks

__all__ = ["DOWN", "ENRICHMENT_COLUMNS", "UNIT_COLUMNS", "UP", "falling", "observe_tokens"]

UNIT_COLUMNS = ("family", "start", "verdict")
ENRICHMENT_COLUMNS = ("token", "n_high_with", "n_high", "n_other_with", "n_other", "high_share", "other_share",
                      "log_odds", "low", "high", "p", "p_corrected", "held_out_p", *UNIT_COLUMNS, "flag")  # fmt: skip
UP, DOWN, NONE = "enhancer", "suppressor", ""


def falling(value: float) -> float:
    """A key that sorts the largest first and NaN last."""
    return math.inf if math.isnan(value) else -value


def observe_tokens(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    tokens: SweptTokens,
    held: Held,
    *,
    high_percentile: float,
) -> list[dict[str, Any]]:
    """Write the table `token_enrichment`; its rows, the most over-represented token first.

    Args:
        spec, context: the experiment and its subject; in interventional mode the whole slice is counted, beside it.
        findings: takes the table, and what was left out.
        tokens: which. held: what the rows have in common.
        high_percentile: of the active rows, from which on a row is high, as a share.

    Raises UsageError for a slice without active rows; in observational mode also where no row has what is held.
    """
    is_main = spec.mode == OBSERVED
    found = slice_rows(spec, context, findings if is_main else Findings(), should_sample=is_main)
    if held.words:
        try:
            found = rows_holding_constant(found, context, held)
        except UsageError as reason:
            if is_main:
                raise
            findings.warn(f"nothing observed beside it: {reason.seen}")
            return []
    if not found.is_active.any():
        raise UsageError("no row of the slice is active", expected="active rows", todo="widen the slice")
    cut = float(np.quantile(found.values[found.is_active], high_percentile))
    high = found.is_active & (found.values >= cut)
    n_high = int(high.sum())
    seed, clusters = derive_seed(spec.seed, "token influence"), context.clusters_of(found.rows)
    n_clusters, cluster = ranks(clusters)
    second = second_half(clusters, seed)
    findings.note(
        f"high rows: the {n_high:,} at or above {cut:.4g}, percentile {100 * high_percentile:g} of "
        f"the {int(found.is_active.sum()):,} active rows; the other {len(high) - n_high:,} rows include those at zero; "
        "log odds with half a row added to each count, Wald intervals; p: hypergeometric, two-sided; p_corrected: "
        "max-T over all tokens; a verdict takes p_corrected in one half and p in the other"
    )
    units = None if n_clusters == len(found) else cluster
    count = _counting(context, found.rows, high, list(tokens.ids.values()), units, seed)
    everything, first = count(np.ones(len(found), bool)), count(~second)
    other = count(second, should_correct=False)
    columns = {key: column.tolist() for key, column in everything.items()}
    signs = np.sign(first["log_odds"])
    holds = (first["p_corrected"] < ALPHA) & (other["p"] < ALPHA) & (np.sign(other["log_odds"]) == signs)
    rows = []
    for index, name in enumerate(tokens.ids):
        row = {"token": name, **{key: column[index] for key, column in columns.items()}}
        verdict = (UP if signs[index] > 0 else DOWN) if holds[index] else NONE
        n_with = row["n_high_with"] + row["n_other_with"]
        row |= {"held_out_p": float(other["p"][index]), "verdict": verdict, "flag": flag_of(min(n_with, n_high))}
        row |= {"family": tokens.family_of.get(name), "start": tokens.rung_of.get(name)}
        rows.append(row)
    _one_a_family(rows)
    rows.sort(key=lambda row: falling(row["log_odds"]))
    findings.table("token_enrichment", ENRICHMENT_COLUMNS, rows, caption="OBSERVATIONAL: tokens in high rows. A family "
                   "has its verdict at its most unequal rung.")  # fmt: skip
    findings.add(high_threshold=cut, n_high=n_high, high_percentile=high_percentile)
    if is_main:
        findings.n_contexts_tested, findings.n_comparisons = len(found), int((~np.isnan(everything["p"])).sum())
        findings.aggregate(n_samples=len(found))
    return rows


def _counting(
    context: ExperimentContext,
    rows: np.ndarray,
    high: np.ndarray,
    tokens: Sequence[int],
    units: np.ndarray | None,
    seed: int,
) -> Callable[..., dict[str, np.ndarray]]:
    """What counts tokens in the high rows among those that a mask [n] keeps; packed bits where rows are independent."""
    if units is not None:
        # a token's rows side by side, as they are packed
        masks = np.stack([context.rows_with(token)[rows] for token in tokens])

        def count_masks(keep: np.ndarray, *, should_correct: bool = True) -> dict[str, np.ndarray]:
            return count_in_high(
                masks[:, keep].T, high[keep], seed=seed, should_correct=should_correct, clusters=units[keep]
            )

        return count_masks
    high_words = context.packed_rows(rows[high])
    words = np.stack([context.packed_rows_with(token) for token in tokens]) & context.packed_rows(rows)
    # halves are random ones: what goes together in all rows does so in them
    joint = JointCounts.of(words, len(rows))

    def count_words(keep: np.ndarray, *, should_correct: bool = True) -> dict[str, np.ndarray]:
        within = context.packed_rows(rows[keep])
        return count_packed_in_high(
            words & within, high_words & within, int(keep.sum()), seed=seed, should_correct=should_correct, joint=joint
        )

    return count_words


def _one_a_family(rows: Sequence[dict[str, Any]]) -> None:
    """Leave each family the verdict of its strongest token alone; the others keep their numbers."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["verdict"] and row["family"]:
            size = abs(row["log_odds"]) / max(1e-12, row["high"] - row["low"])
            known = best.setdefault(row["family"], row)
            if size > abs(known["log_odds"]) / max(1e-12, known["high"] - known["low"]):
                best[row["family"]] = row
    for row in rows:
        if row["family"] and row is not best.get(row["family"]):
            row |= {"verdict": NONE}
