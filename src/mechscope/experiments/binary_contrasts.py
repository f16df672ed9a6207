"""Rows with a binary against rows without it, for many binaries, corrected over all of them at once.

1. Each binary gets its own adjusted contrast b_k (`observing.observe_levels`): least squares within strata.
2. By Frisch and Waugh, b_k = sum_i r_ik y_i with r_k the binary's residual on everything else, divided by its squared
   length; the influence of a row on b_k is r_ik e_i, with e its residual. Rows of one cluster are added up.
3. The influences of all binaries side by side give the joint covariance of the b_k, however much they overlap.
4. p and its max-T step-down correction: |b_k| / se_k against draws from the joint normal with that covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.core import derive_seed, numpy_generator
from mechscope.experiments.cells import FEW
from mechscope.experiments.changes import Held
from mechscope.experiments.confounders import confounders_of
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing import ObservedLevels, observe_levels
from mechscope.experiments.slicing import Slice
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

    Raises NotFoundError for an unknown confounder. Cost: two least squares a binary.
    """
    constant = (*held.change.rungs, *held.change.binaries, *held.change.groups)
    seen: list[tuple[str, ObservedLevels, np.ndarray]] = []
    influences: list[np.ndarray] = []
    _, clusters = np.unique(context.clusters_of(found.rows), return_inverse=True)
    for name in names:
        has = context.rows_with(context.domain.binaries[name])[found.rows]
        if min(has.sum(), (~has).sum()) < FEW:
            findings.drop("binary with fewer than 5 rows with it or without it")
            continue
        observed = observe_levels(
            found,
            has.astype(np.int64),
            context,
            levels=(1,),
            reference=0,
            leave_out=(name, *constant),
            confounders=confounders,
            seed=derive_seed(seed, name),
        )
        known = confounders_of(context, leave_out=(name, *constant), names=confounders)
        rows = found.rows
        influences.append(influence(found.values, has, known.covariates[rows], known.strata[rows], clusters))
        seen.append((name, observed, has))
    estimates = np.array([float(observed.contrasts.adjusted[0]) for _, observed, _ in seen])
    p, corrected = joint_p(estimates, np.array(influences).T, seed=seed) if seen else (estimates, estimates)
    return [
        BinaryContrast(
            name,
            observed,
            float(found.values[has].mean()),
            float(found.values[~has].mean()),
            float(p[at]),
            float(corrected[at]),
        )
        for at, (name, observed, has) in enumerate(seen)
    ]


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
    n = len(influences)
    covariance = influences.T @ influences * n / max(1, n - 1)
    errors = np.sqrt(np.diag(covariance))
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
