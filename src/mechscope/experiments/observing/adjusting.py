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
from mechscope.experiments.observing.designs import Design, KeptDesigns
from mechscope.experiments.observing.moments import Columns

__all__ = ["LevelContrasts", "contrast_flags", "contrast_levels", "joint_p"]

N_DRAWS = 9999
Z_95 = 1.959964
ROUNDING = 1e-9
"""Share of the outcome's root mean square below which a standard error would be rounding."""


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
    kept: KeptDesigns | None = None,
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
        kept: where what does not depend on y is kept for these strata and covariates.

    Cost: a few passes over n (m + levels) numbers, and one product of that size squared, unless it is kept.
    """
    everyone = _places(level, (*levels, reference))
    keep = everyone >= 0
    is_whole = bool(keep.all())
    place = everyone if is_whole else everyone[keep]

    def make() -> Design:
        of_levels = np.where(place < len(levels), place, -1)
        rows = slice(None) if is_whole else keep
        return Design(Columns(of_levels, len(levels), covariates[rows]), strata[rows], int(strata.max()) + 1)

    design = make() if kept is None else kept.of(everyone.astype(np.int16), make)
    if not is_whole:
        y, clusters = y[keep], clusters[keep]
    table = _Cells.of(y, place, design.strata, len(levels) + 1)
    crude, stratified = table.crude(), table.stratified()
    coefficient, low, high, p, p_corrected, covariance = _regressed(design, y, clusters, seed)
    return LevelContrasts(
        n=crude[:, 0].astype(np.int64),
        n_reference=int(table.counts[:, -1].sum()),
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


def contrast_flags(
    y: np.ndarray,
    flags: np.ndarray,
    *,
    strata: np.ndarray,
    covariates: np.ndarray,
    clusters: np.ndarray,
    seed: int,
    should_match: bool = True,
    kept: KeptDesigns | None = None,
) -> tuple[list[LevelContrasts], np.ndarray]:
    """Contrast rows with each of several flags with those without it, every flag adjusted for all the others.

    All share one regression, so that many cost little more than one.

    Args:
        y, strata, covariates, clusters, seed, kept: as in `contrast_levels`; the flags are no part of the covariates.
        flags: 0 or 1, [n, flags].
        should_match: False leaves out the crude and the stratified contrasts, for halves.

    Returns:
        A contrast of one level each, and the covariance of the adjusted ones, [flags, flags].
    """
    k, has_flag = flags.shape[1], flags.astype(np.int8)

    def make() -> Design:
        columns = Columns(np.full(len(y), -1), 0, np.column_stack([has_flag, covariates]))
        return Design(columns, strata, int(strata.max()) + 1, n_tested=k)

    design = make() if kept is None else kept.of(has_flag, make)
    fit = design.fit(y)
    covariance, n_clusters = fit.covariance(clusters)
    covariance *= n_clusters / max(1, n_clusters - 1)
    covariance, error = _floored(covariance, y)
    found, active = [], np.flatnonzero(y) if should_match else np.zeros(0, np.int64)
    for at in range(k):
        is_known = fit.is_known[at : at + 1] & (error[at : at + 1] > 0)
        shown = np.where(is_known, fit.beta[at : at + 1], np.nan)
        spread = np.where(is_known, error[at : at + 1], np.nan)
        own = covariance[at : at + 1, at : at + 1]
        p, p_corrected = joint_p(shown / spread, own, is_known, seed)
        n = np.array([int(design.moments.sums[:, at].sum())])
        crude, stratified = np.full((1, 5), np.nan), np.full((1, 4), np.nan)
        stratified[:, 3] = 0
        if should_match:
            with_flag = design.moments.sums[:, at]
            counts = np.stack([with_flag, design.moments.counts - with_flag], axis=1).astype(np.int64)
            table = _Cells.of_active(counts, y[active], 2 * strata[active] + 1 - has_flag[active, at])
            crude, stratified = table.crude(), table.stratified()
        found.append(
            LevelContrasts(
                n=n,
                n_reference=len(y) - int(n[0]),
                crude=crude[:, 1],
                crude_low=crude[:, 2],
                crude_high=crude[:, 3],
                stratified=stratified[:, 0],
                stratified_low=stratified[:, 1],
                stratified_high=stratified[:, 2],
                n_matched=stratified[:, 3].astype(np.int64),
                adjusted=shown,
                adjusted_low=shown - Z_95 * spread,
                adjusted_high=shown + Z_95 * spread,
                p=p,
                p_corrected=p_corrected,
                effect=crude[:, 4],
                covariance=own * is_known,
            )
        )
    return found, covariance


def _places(level: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    """Index of each row's level in `levels`, -1 for others."""
    known = np.array(levels)
    lowest, highest = min(int(known.min()), int(level.min())), max(int(known.max()), int(level.max()))
    table = np.full(highest - lowest + 1, -1)
    table[known - lowest] = np.arange(len(known))
    found: np.ndarray = table[level - lowest]
    return found


@dataclass(frozen=True, eq=False)
class _Cells:
    """Rows, means and squared deviations from them of each stratum and level [strata, levels]; the reference last."""

    counts: np.ndarray
    means: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, place: np.ndarray, strata: np.ndarray, k: int) -> _Cells:
        cell, shape = strata * k + place, (int(strata.max()) + 1, k)
        counts = np.bincount(cell, minlength=shape[0] * k).reshape(shape)
        at = np.flatnonzero(y)
        return cls.of_active(counts, y[at], cell[at])

    @classmethod
    def of_active(cls, counts: np.ndarray, y: np.ndarray, cell: np.ndarray) -> _Cells:
        """From all rows' counts [strata, levels], and outcome and cell of the rows that are not 0."""
        n = counts.size
        means = np.bincount(cell, weights=y, minlength=n) / np.maximum(counts.reshape(-1), 1)
        squares = np.bincount(cell, weights=np.square(y - means[cell]), minlength=n)
        squares += (counts.reshape(-1) - np.bincount(cell, minlength=n)) * np.square(means)  # the rows at 0
        return cls(counts, means.reshape(counts.shape), squares.reshape(counts.shape))

    def of_levels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """n, mean and squared deviations of each level over all strata."""
        n = self.counts.sum(axis=0)
        mean = (self.counts * self.means).sum(axis=0) / np.maximum(n, 1)
        between = (self.counts * np.square(self.means - mean)).sum(axis=0)
        return n, mean, self.squares.sum(axis=0) + between

    def crude(self) -> np.ndarray:
        """n, difference, low, high and Cohen's d of each level, [levels, 5]."""
        n, mean, squares = self.of_levels()
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = squares / (n - 1) / n
            difference = np.where((n > 1) & (n[-1] > 1), mean - mean[-1], np.nan)
            step = Z_95 * np.sqrt(variance + variance[-1])
            within = (squares + squares[-1]) / (n + n[-1] - 2)
            effect = np.where(within > 0, difference / np.sqrt(np.where(within > 0, within, 1)), np.nan)
        return np.stack([n, difference, difference - step, difference + step, effect], axis=1)[:-1]

    def stratified(self) -> np.ndarray:
        """Difference, low, high and matched rows of each level, [levels, 4]."""
        n, _, squares = self.of_levels()
        found = []
        for at in range(self.counts.shape[1] - 1):
            both = (self.counts[:, at] > 0) & (self.counts[:, -1] > 1)
            here, reference = self.counts[both, at], self.counts[both, -1]
            n_matched = here.sum()
            if not n_matched:
                found.append([np.nan, np.nan, np.nan, 0])
                continue
            weight = here / n_matched
            difference = weight @ (self.means[both, at] - self.means[both, -1])
            # a level alone in its stratum lends its variance from the rows of the level as a whole
            own = np.where(here > 1, self.squares[both, at] / np.maximum(here - 1, 1), squares[at] / n[at])
            error = np.sqrt(np.square(weight) @ (own / here + self.squares[both, -1] / (reference - 1) / reference))
            found.append([difference, difference - Z_95 * error, difference + Z_95 * error, n_matched])
        return np.array(found)


def _regressed(design: Design, y: np.ndarray, clusters: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """Coefficient, low, high, p and corrected p of each level; and the covariance of the coefficients."""
    fit, k = design.fit(y), design.n_tested
    covariance, n_clusters = fit.covariance(clusters)
    covariance *= n_clusters / max(1, n_clusters - 1)
    covariance, error = _floored(covariance, y)
    # a level whose rows are all alone in their strata, or that the covariates determine, has no coefficient
    is_known = fit.is_known & (error > 0)
    shown = np.where(is_known, fit.beta[:k], np.nan)
    spread = np.where(is_known, error, np.nan)
    p, p_corrected = joint_p(shown / spread, covariance, is_known, seed)
    known = covariance * np.outer(is_known, is_known)
    return shown, shown - Z_95 * spread, shown + Z_95 * spread, p, p_corrected, known


def _floored(covariance: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The covariance of coefficients and their standard errors, none of them below what rounding leaves.

    An exact fit has residuals of rounding alone, from which an error of any size, or below zero, would come.
    """
    least = ROUNDING**2 * float(np.mean(np.square(y)))
    kept = covariance + np.diag(np.maximum(least - np.diag(covariance), 0.0))
    return kept, np.sqrt(np.diag(kept))


def joint_p(z: np.ndarray, covariance: np.ndarray, is_known: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p of estimates over their errors, alone and over all (max |z| of their estimated joint normal)."""
    p, corrected = np.full(len(z), np.nan), np.full(len(z), np.nan)
    if is_known.any():
        scale = np.sqrt(np.diag(covariance)[is_known])
        correlation = covariance[np.ix_(is_known, is_known)] / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(correlation)
        # single precision: the draws are an approximation to far fewer digits
        root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        normals = numpy_generator(seed, "joint normal").standard_normal((len(scale), N_DRAWS), dtype=np.float32)
        drawn, seen = np.abs(root @ normals), np.abs(z[is_known])
        highest = np.sort(drawn.max(axis=0))
        p[is_known] = (1 + np.count_nonzero(drawn >= seen.astype(np.float32)[:, None], axis=1)) / (1 + N_DRAWS)
        corrected[is_known] = (1 + N_DRAWS - np.searchsorted(highest, seen)) / (1 + N_DRAWS)
    return p, corrected
