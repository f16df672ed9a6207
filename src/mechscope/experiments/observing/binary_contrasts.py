"""Rows with a binary against rows without it, for many binaries, corrected over all of them at once.

1. Each binary gets its own adjusted contrast b_k (`observing.observe_levels`): least squares within strata.
2. By Frisch and Waugh, b_k = sum_i r_ik y_i with r_k the binary's residual on everything else, divided by its squared
   length; the influence of a row on b_k is r_ik e_i, with e its residual. Rows of one cluster are added up.
3. The influences of all binaries side by side give the joint covariance of the b_k, however much they overlap.
4. p and its max-T step-down correction: |b_k| / se_k against draws from the joint normal with that covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from mechscope.core import derive_seed, numpy_generator
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.adjusting import LevelContrasts, contrast_flags
from mechscope.experiments.observing.confounders import confounders_of
from mechscope.experiments.observing.levels import ObservedLevels, observe_levels, second_half
from mechscope.experiments.observing.slicing import Slice
from mechscope.stats.max_t import HitCounts

__all__ = ["BinaryContrast", "joint_p", "observe_binaries"]

N_DRAWS = 9999
CRUDE = ("crude", "crude_low", "crude_high")


@dataclass(frozen=True, eq=False)
class BinaryContrast:
    """One binary in the rows.

    Attributes:
        name: of the binary. observed: its contrast, level 1 (there) against 0.
        present, absent: mean activation of the rows with it and without it.
        p, p_corrected: of the adjusted contrast, alone and over all binaries.
    """

    name: str
    observed: ObservedLevels
    present: float
    absent: float
    p: float
    p_corrected: float

    def row(self) -> dict[str, Any]:
        """The columns of interventional cells with the adjusted contrast as the difference, and the crude one."""
        cell = self.observed.as_cells("level")[0]
        del cell["level"]
        crude = self.observed.rows("level")[0]
        found = {"binary": self.name, "mean_present": self.present, "mean_absent": self.absent, **cell}
        return found | {key: crude[key] for key in CRUDE} | {"p": self.p, "p_corrected": self.p_corrected}


def observe_binaries(
    found: Slice,
    context: ExperimentContext,
    findings: Findings,
    *,
    names: Sequence[str],
    held: Held,
    confounders: Sequence[str] | None,
    seed: int,
) -> list[BinaryContrast]:
    """Contrast rows of a slice by each binary. Those with fewer than 5 rows on a side are dropped, and counted.

    Args:
        found: the rows, with what is held constant.
        context, findings: the subject; takes what was left out.
        names: of binaries.
        held: no confounder, since it does not vary.
        confounders: what to adjust for; None for the domain's own.
        seed: of the halves and of the draws.

    Raises NotFoundError for an unknown confounder. Cost: one least squares, or two a binary
    where confounders are named.
    """
    constant = (*held.change.rungs, *held.change.binaries, *held.change.groups)
    flags = {}
    for name in names:
        has = context.rows_with(context.domain.binaries[name])[found.rows]
        if min(has.sum(), (~has).sum()) < FEW:
            findings.drop("binary with fewer than 5 rows with it or without it")
        else:
            flags[name] = has
    if not flags:
        return []
    observe = _all_at_once if confounders is None else _one_by_one
    seen, covariance = observe(found, context, flags, constant, confounders, seed)
    estimates = np.array([float(observed.contrasts.adjusted[0]) for observed in seen])
    p, corrected = joint_p_of(estimates, covariance, seed=seed)
    return [
        BinaryContrast(
            name,
            observed,
            float(found.values[has].mean()),
            float(found.values[~has].mean()),
            float(p[at]),
            float(corrected[at]),
        )
        for at, ((name, has), observed) in enumerate(zip(flags.items(), seen, strict=True))
    ]


def _one_by_one(
    found: Slice,
    context: ExperimentContext,
    flags: Mapping[str, np.ndarray],
    constant: Sequence[str],
    confounders: Sequence[str] | None,
    seed: int,
) -> tuple[list[ObservedLevels], np.ndarray]:
    """Contrasts, each with a regression of its own, and their joint covariance."""
    seen, influences, rows = [], [], found.rows
    _, clusters = np.unique(context.clusters_of(rows), return_inverse=True)
    for name, has in flags.items():
        leave_out = (name, *constant)
        observed = observe_levels(
            found,
            has.astype(np.int64),
            context,
            levels=(1,),
            reference=0,
            leave_out=leave_out,
            confounders=confounders,
            seed=derive_seed(seed, name),
        )
        known = confounders_of(context, leave_out=leave_out, names=confounders)
        influences.append(influence(found.values, has, known.covariates[rows], known.strata[rows], clusters))
        seen.append(observed)
    return seen, _covariance(np.array(influences).T)


def _all_at_once(
    found: Slice,
    context: ExperimentContext,
    flags: Mapping[str, np.ndarray],
    constant: Sequence[str],
    confounders: Sequence[str] | None,
    seed: int,
) -> tuple[list[ObservedLevels], np.ndarray]:
    """The same where every binary is adjusted for all others: then all have one regression."""
    known = confounders_of(context, leave_out=(*flags, *constant), names=confounders)
    table = np.column_stack(list(flags.values()))
    clusters = context.clusters_of(found.rows)

    def contrasted(keep: np.ndarray | slice, *, should_match: bool) -> tuple[list[LevelContrasts], np.ndarray]:
        rows = found.rows[keep]
        strata, covariates = known.of_rows(rows)
        return contrast_flags(
            found.values[keep],
            table[keep],
            strata=strata,
            covariates=covariates,
            clusters=clusters[keep],
            seed=seed,
            should_match=should_match,
            kept=known.kept(rows),
        )

    @cache
    def halves() -> tuple[list[LevelContrasts], list[LevelContrasts]]:
        second = second_half(clusters, seed)
        return contrasted(~second, should_match=False)[0], contrasted(second, should_match=False)[0]

    def halves_of(at: int) -> Callable[[], tuple[LevelContrasts, LevelContrasts]]:
        return lambda: (halves()[0][at], halves()[1][at])

    everything, covariance = contrasted(slice(None), should_match=True)
    words = [", ".join([*known.names, *(other for other in flags if other != name)]) or "nothing" for name in flags]
    seen = [ObservedLevels((1,), 0, contrasts, said, halves_of(at))
            for at, (contrasts, said) in enumerate(zip(everything, words, strict=True))]  # fmt: skip
    return seen, covariance


def influence(
    y: np.ndarray, label: np.ndarray, covariates: np.ndarray, strata: np.ndarray, clusters: np.ndarray
) -> np.ndarray:
    """What each cluster adds to the coefficient of a boolean label in least squares, float64 [n_clusters].

    Args:
        y: [n]. label: [n]. covariates: [n, m]. strata, clusters: integers from 0, [n].
    """
    design = _within(np.column_stack([label, covariates]), strata)
    outcome = _within(y[:, None], strata)[:, 0]
    bread = np.linalg.pinv(design.T @ design, hermitian=True)
    residual = outcome - design @ (bread @ (design.T @ outcome))
    return np.bincount(clusters.reshape(-1), weights=residual * (design @ bread[:, 0]))


def joint_p(estimates: np.ndarray, influences: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """p of each estimate [k], alone and by max-T step-down, from influences [clusters, k]; NaN where it has none."""
    return joint_p_of(estimates, _covariance(influences), seed=seed)


def _covariance(influences: np.ndarray) -> np.ndarray:
    n = len(influences)
    found: np.ndarray = influences.T @ influences * n / max(1, n - 1)
    return found


def joint_p_of(estimates: np.ndarray, covariance: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `joint_p`, from the covariance [k, k]."""
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(errors > 0, np.abs(estimates) / errors, np.nan)
    hits = HitCounts(size)
    known = ~np.isnan(size)
    if known.any():
        correlation = covariance[np.ix_(known, known)] / np.outer(errors[known], errors[known])
        values, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.maximum(values, 0))
        drawn = np.zeros((N_DRAWS, len(size)))
        drawn[:, known] = np.abs(numpy_generator(seed, "joint").standard_normal((N_DRAWS, int(known.sum()))) @ root.T)
        hits.add(drawn)
    return hits.p(), hits.p_adjusted()


def _within(columns: np.ndarray, strata: np.ndarray) -> np.ndarray:
    counts = np.maximum(np.bincount(strata), 1)
    means = np.stack([np.bincount(strata, weights=column) / counts for column in columns.T], axis=1)
    return np.asarray(columns - means[strata])
