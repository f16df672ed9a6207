"""Observed differences between levels of something, crude and adjusted for named confounders.

    crude       mean at a level minus mean at the reference level
    stratified  the same within each stratum (a weapon), averaged with the weights of the level's rows; strata that
                have only one of the two levels are left out, and counted
    adjusted    least squares: y = stratum + sum_levels beta_level [level] + covariates gamma; the strata are taken
                out by subtracting stratum means (Frisch and Waugh 1933), the error is the cluster-robust sandwich
    corrected p max over levels of |beta / se|, against draws from the estimated joint normal of the betas

Linear adjustment removes what is linear in the covariates, and only for the confounders named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import numpy_generator

__all__ = ["LevelContrasts", "contrast_levels", "joint_p"]

N_DRAWS = 9999
Z_95 = 1.959964


@dataclass(frozen=True, eq=False)
class LevelContrasts:
    """Contrasts of each level with the reference, arrays [levels]; NaN where there is none.

    Attributes:
        n: rows at the level. n_reference: rows at the reference, an integer.
        crude, stratified, adjusted: differences, each with `_low` and `_high` of its 95 % interval.
        n_matched: rows of the level in strata that have the reference too.
        p, p_corrected: of `adjusted`, alone and over the levels. effect: Cohen's d of the crude difference.
        covariance: of `adjusted`, [levels, levels], for contrasts between levels; 0 where a level has no coefficient.
    """

    n: np.ndarray
    n_reference: int
    crude: np.ndarray
    crude_low: np.ndarray
    crude_high: np.ndarray
    stratified: np.ndarray
    stratified_low: np.ndarray
    stratified_high: np.ndarray
    n_matched: np.ndarray
    adjusted: np.ndarray
    adjusted_low: np.ndarray
    adjusted_high: np.ndarray
    p: np.ndarray
    p_corrected: np.ndarray
    effect: np.ndarray
    covariance: np.ndarray


def contrast_levels(
    y: np.ndarray,
    level: np.ndarray,
    levels: tuple[int, ...],
    *,
    reference: int,
    strata: np.ndarray,
    covariates: np.ndarray,
    clusters: np.ndarray,
    seed: int,
) -> LevelContrasts:
    """Contrast `levels` with `reference`. Rows at any other level take no part.

    Args:
        y: activation of each row, zeros included, float64 [n].
        level: level of each row, int64 [n].
        levels: what to contrast, in order.
        reference: the level they are held against.
        strata: stratum of each row, integers from 0, [n]; all 0 for none.
        covariates: float64 [n, m]; m may be 0.
        clusters: integers [n]; rows of one are not independent.
        seed: of the draws behind `p_corrected`.

    Cost: a few passes over n (m + levels) numbers, and one product of that size squared.
    """
    keep = np.isin(level, (reference, *levels))
    y, level, strata = y[keep], level[keep], strata[keep]
    is_reference = level == reference
    crude = np.stack([_crude(y, level == one, is_reference) for one in levels])
    stratified = np.stack([_stratified(y, level == one, is_reference, strata) for one in levels])
    adjusted = _regressed(y, level, levels, strata, covariates[keep], clusters[keep], seed)
    coefficient, low, high, p, p_corrected, covariance = adjusted
    return LevelContrasts(
        n=crude[:, 0].astype(np.int64),
        n_reference=int(is_reference.sum()),
        crude=crude[:, 1],
        crude_low=crude[:, 2],
        crude_high=crude[:, 3],
        stratified=stratified[:, 0],
        stratified_low=stratified[:, 1],
        stratified_high=stratified[:, 2],
        n_matched=stratified[:, 3].astype(np.int64),
        adjusted=coefficient,
        adjusted_low=low,
        adjusted_high=high,
        p=p,
        p_corrected=p_corrected,
        effect=crude[:, 4],
        covariance=covariance,
    )


def _crude(y: np.ndarray, here: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """n, difference, low, high, Cohen's d."""
    first, second = y[here], y[reference]
    if len(first) < 2 or len(second) < 2:
        return np.array([len(first), np.nan, np.nan, np.nan, np.nan])
    difference = first.mean() - second.mean()
    error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    within = ((len(first) - 1) * first.var(ddof=1) + (len(second) - 1) * second.var(ddof=1)) / (
        len(first) + len(second) - 2
    )
    effect = difference / np.sqrt(within) if within > 0 else np.nan
    return np.array([len(first), difference, difference - Z_95 * error, difference + Z_95 * error, effect])


def _stratified(y: np.ndarray, here: np.ndarray, reference: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Difference, low, high, matched rows of the level."""
    size = int(strata.max()) + 1
    counts, means, variances = zip(
        *(_by_stratum(y[part], strata[part], size) for part in (here, reference)), strict=True
    )
    both = (counts[0] > 0) & (counts[1] > 1)
    n_matched = counts[0][both].sum()
    if not n_matched:
        return np.array([np.nan, np.nan, np.nan, 0])
    weight = counts[0][both] / n_matched
    difference = float(weight @ (means[0] - means[1])[both])
    # a level alone in its stratum lends its variance from the rows of the level as a whole
    own = np.where(counts[0] > 1, variances[0], y[here].var())
    error = np.sqrt(np.square(weight) @ (own[both] / counts[0][both] + variances[1][both] / counts[1][both]))
    return np.array([difference, difference - Z_95 * error, difference + Z_95 * error, n_matched])


def _by_stratum(y: np.ndarray, strata: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and variance (n - 1) of each stratum; 0 where there are too few."""
    counts = np.bincount(strata, minlength=size)
    means = np.bincount(strata, weights=y, minlength=size) / np.maximum(counts, 1)
    squares = np.bincount(strata, weights=(y - means[strata]) ** 2, minlength=size)
    return counts, means, squares / np.maximum(counts - 1, 1)


def _regressed(
    y: np.ndarray,
    level: np.ndarray,
    levels: tuple[int, ...],
    strata: np.ndarray,
    covariates: np.ndarray,
    clusters: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, ...]:
    """Coefficient, low, high, p and corrected p of each level; and the covariance of the coefficients."""
    dummies = (level[:, None] == np.array(levels)).astype(np.float64)
    design = _within(np.concatenate([dummies, covariates], axis=1), strata)
    outcome = _within(y[:, None], strata)[:, 0]
    bread = np.linalg.pinv(design.T @ design, hermitian=True)
    beta = bread @ (design.T @ outcome)
    k = len(levels)
    influence = ((outcome - design @ beta)[:, None] * design) @ bread[:, :k]
    _, index = np.unique(clusters, return_inverse=True)
    n_clusters = int(index.max()) + 1
    if n_clusters < len(influence):
        influence = np.stack([np.bincount(index, weights=part, minlength=n_clusters) for part in influence.T], axis=1)
    covariance = influence.T @ influence * n_clusters / max(1, n_clusters - 1)
    error = np.sqrt(np.diag(covariance))
    # a level whose rows are all alone in their strata, or that the covariates determine, has no coefficient
    is_known = (np.square(design[:, :k]).sum(axis=0) > 1e-9) & (error > 0)
    shown = np.where(is_known, beta[:k], np.nan)
    spread = np.where(is_known, error, np.nan)
    p, p_corrected = joint_p(shown / spread, covariance, is_known, seed)
    known = covariance * np.outer(is_known, is_known)
    return shown, shown - Z_95 * spread, shown + Z_95 * spread, p, p_corrected, known


def _within(columns: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Columns less their stratum means."""
    counts = np.maximum(np.bincount(strata), 1)
    means = np.stack([np.bincount(strata, weights=column) / counts for column in columns.T], axis=1)
    return np.asarray(columns - means[strata])


def joint_p(z: np.ndarray, covariance: np.ndarray, is_known: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p of estimates over their errors, alone and over all (max |z| of their estimated joint normal)."""
    p, corrected = np.full(len(z), np.nan), np.full(len(z), np.nan)
    if is_known.any():
        scale = np.sqrt(np.diag(covariance))[is_known]
        correlation = covariance[np.ix_(is_known, is_known)] / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.maximum(values, 0))
        drawn = np.abs(numpy_generator(seed, "joint normal").standard_normal((N_DRAWS, len(scale))) @ root.T)
        seen = np.abs(z[is_known])
        p[is_known] = (1 + (drawn >= seen).sum(axis=0)) / (1 + N_DRAWS)
        corrected[is_known] = (1 + (drawn.max(axis=1)[:, None] >= seen).sum(axis=0)) / (1 + N_DRAWS)
    return p, corrected
