"""What two sets of rows differ by: crude with intervals and a permutation p, stratified, adjusted, and in halves.

    crude       difference of the means, cluster bootstrap (by t over the clusters from 1000 of them on either side,
                where the two agree); p: values dealt anew among rows, or labels among units
    auroc       P(first > second), ties half, cluster DeLong; Cliff's delta = 2 AUROC - 1
    stratified  within strata, Mantel-Haenszel weights, cluster-robust
    adjusted    least squares with the strata taken out and the covariates in, cluster-robust
Units are documents where the corpus has them; where a group decides the column (a weapon its sub), the units are the
names of that group, since a sub has no rows but those of its weapons.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mechscope.core import UsageError, UserError, numpy_generator
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.adjusting import contrast_levels
from mechscope.experiments.observing.confounders import Confounders
from mechscope.stats import (
    Interval,
    Shuffles,
    auroc,
    bootstrap_group_difference,
    cohens_d,
    permute_labels,
    stratified_difference,
)
from mechscope.stats.group_dealings import MOST_DEALT, deal_groups
from mechscope.stats.group_dealings import N_PERMUTATIONS as N_DEALT
from mechscope.stats.samples import n_different

__all__ = [
    "CONTRAST_COLUMNS",
    "HALF_COLUMNS",
    "contrast_rows",
    "halves_of",
    "mean_difference",
    "permutation_p",
    "side_rows",
]

CONTRAST_COLUMNS = ("estimate", "value", "low", "high", "n", "n_clusters", "p", "flag", "method")
HALF_COLUMNS = ("half", "value", "low", "high", "n_first", "n_second")
N_PERMUTATIONS, N_PERMUTATIONS_MANY, MANY_ROWS = 999, 199, 100_000
MANY_UNITS = 1000
BLOCK_NUMBERS = 4_000_000


def contrast_rows(
    values: np.ndarray,
    is_first: np.ndarray,
    units: np.ndarray,
    known: Confounders,
    rows: np.ndarray,
    findings: Findings,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of `CONTRAST_COLUMNS`.

    Args:
        values, is_first, units: activation, side and unit (integers from 0) of each row, [n].
        known: confounders of all rows of the corpus. rows: which of them these are, int64 [n].
        findings: takes warnings. seed: of every draw.
    """
    flag = flag_of(int(min(n_different(units[side]) for side in (is_first, ~is_first))))
    crude = mean_difference(values, is_first, units, seed=seed)
    p, how = permutation_p(values, is_first, units, seed=seed)
    area = auroc(values, is_first, clusters=units)
    share = mean_difference((values > 0).astype(np.float64), is_first, units, seed=seed)
    rows_found = [
        {**_row("mean difference, crude", crude, flag), "p": p, "method": f"{crude.method}; p: {how}"},
        _row("AUROC", area, flag),
        _row("Cliff's delta", area, flag) | {k: 2 * getattr(area, k) - 1 for k in ("value", "low", "high")},
        _row("share active, difference", share, flag),
    ]
    if np.ptp(values) > 0:
        rows_found.append(
            _row("Cohen's d, rows taken as independent", cohens_d(values[is_first], values[~is_first]), flag)
        )
    strata, covariates = known.of_rows(rows)
    if strata.any():
        try:
            within = stratified_difference(values, is_first, strata, clusters=units)
        except UsageError as refusal:
            findings.warn(f"no stratified difference: {refusal.seen}")
        else:
            findings.drop("rows in strata that have one side only", within.n_left_out)
            rows_found.append(_row("mean difference, stratified", within.pooled, flag))
    try:
        fit = contrast_levels(
            values, is_first.astype(np.int64), (1,), reference=0, strata=strata, covariates=covariates,
            clusters=units, seed=seed, kept=known.kept(rows),
        )  # fmt: skip
    except (UserError, np.linalg.LinAlgError) as refusal:
        findings.warn(f"no adjusted difference: {refusal}")
    else:
        n_units = int(units.max()) + 1
        rows_found.append(
            {"estimate": "mean difference, adjusted", "value": fit.adjusted[0], "low": fit.adjusted_low[0],
             "high": fit.adjusted_high[0], "n": len(values), "n_clusters": n_units, "p": fit.p[0], "flag": flag,
             "method": f"least squares for {known.words}, cluster-robust"}
        )  # fmt: skip
    return rows_found


def _row(name: str, got: Interval, flag: str) -> dict[str, Any]:
    return {"estimate": name, "value": got.value, "low": got.low, "high": got.high, "n": got.n,
            "n_clusters": got.n_clusters, "p": None, "flag": flag, "method": got.method}  # fmt: skip


def mean_difference(values: np.ndarray, is_first: np.ndarray, units: np.ndarray, *, seed: int) -> Interval:
    """Mean of the first side less that of the second, with its 95 % interval over units."""
    n_fewest = min(n_different(units[side]) for side in (is_first, ~is_first))
    method: Literal["t", "auto"] = "t" if n_fewest >= MANY_UNITS else "auto"
    return bootstrap_group_difference(values, is_first, seed=seed, clusters=units, method=method)


def permutation_p(values: np.ndarray, is_first: np.ndarray, units: np.ndarray, *, seed: int) -> tuple[float, str]:
    """Two-sided p of the difference of means, and how: rows dealt anew; whole units; or rows within their units."""
    n_units = int(units.max()) + 1
    if n_units < len(values):
        has = np.bincount(units, is_first) / np.maximum(np.bincount(units), 1)
        if np.isin(has, (0, 1)).all():
            test = permute_labels(values, is_first, seed=seed, units=units, n_permutations=N_PERMUTATIONS)
            return test.p, f"{test.method}, {test.n_permutations}"
    strata = None if n_units == len(values) else units
    n_dealt = N_PERMUTATIONS if len(values) <= MANY_ROWS else N_PERMUTATIONS_MANY
    centred, hits = values - values.mean(), 0
    if strata is None and len(values) > MOST_DEALT:
        p, _ = deal_groups(centred, np.where(is_first, 0, 1), 1, seed=seed)
        return float(p[0]), f"rows dealt anew, {N_DEALT} times, of which the sum of the first side is drawn"
    try:
        shuffles = Shuffles(centred, strata=strata)
    except UsageError:
        return 1.0, "units of one row each cannot be dealt anew"
    # rows within strata: the sum over the first side less what it is expected to be
    expected = (
        0.0 if strata is None else float((np.bincount(units, centred) / np.bincount(units))[units][is_first].sum())
    )
    seen = abs(float(centred[is_first].sum()) - expected)
    bar = seen - 1e-9 * max(1.0, float(np.abs(centred).sum()) / len(values))
    for block in shuffles.blocks(n_dealt, seed=seed, n_block=max(1, BLOCK_NUMBERS // len(values))):
        hits += int((np.abs(block[is_first].sum(axis=0) - expected) >= bar).sum())
    within = "" if strata is None else " within units"
    return (1 + hits) / (1 + n_dealt), f"rows dealt anew{within}, {n_dealt} times"


def halves_of(
    values: np.ndarray, is_first: np.ndarray, units: np.ndarray, *, seed: int
) -> tuple[list[dict[str, Any]], bool]:
    """The crude difference in two halves of the units; and whether one shows a direction that the other confirms."""
    second = (numpy_generator(seed, "halves").permutation(int(units.max()) + 1) % 2 == 1)[units]
    rows: list[dict[str, Any]] = []
    for name, keep in (("first", ~second), ("held out", second)):
        n = [int((is_first & keep).sum()), int((~is_first & keep).sum())]
        row: dict[str, Any] = {"half": name, "n_first": n[0], "n_second": n[1]}
        enough = all(n_different(units[keep & side]) >= FEW for side in (is_first, ~is_first))
        if enough:
            got = mean_difference(values[keep], is_first[keep], units[keep], seed=seed)
            row |= {"value": got.value, "low": got.low, "high": got.high}
        rows.append(row)
    signs = [1 if row.get("low", 0) > 0 else -1 if row.get("high", 0) < 0 else 0 for row in rows]
    return rows, signs[0] != 0 and signs[0] == signs[1]


def side_rows(values: np.ndarray, is_first: np.ndarray, words: tuple[str, str]) -> list[dict[str, Any]]:
    """Mean, share active and rows of either side."""
    return [
        {"side": side, "rows": said, "n": int(mask.sum()), "mean": values[mask].mean(),
         "std": values[mask].std(ddof=1) if mask.sum() > 1 else None, "share_active": (values[mask] > 0).mean()}
        for side, said, mask in (("first", words[0], is_first), ("second", words[1], ~is_first))
    ]  # fmt: skip
