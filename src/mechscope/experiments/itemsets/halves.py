"""Rows by activity, in a half that selects itemsets and a half that confirms them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError, derive_seed, numpy_generator
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["ActivityHalves"]


@dataclass(frozen=True, eq=False)
class ActivityHalves:
    """Active and inactive corpus rows of either half; `clusters` of the held-out ones, None where rows are alone."""

    selecting: tuple[np.ndarray, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]
    clusters: np.ndarray | None

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        values: np.ndarray,
        quantile: float | None,
        context: ExperimentContext,
        spec: ExperimentSpec,
        findings: Findings,
    ) -> ActivityHalves:
        """Part rows [n] with these activations by activity and, by cluster, in halves. `quantile`: see the variables.

        Raises UsageError with fewer than 5 active or inactive rows in a half.
        """
        is_active, inactive = values > 0, values <= 0
        if quantile is not None and is_active.any():
            cut = float(np.quantile(values[is_active], quantile))
            findings.drop(
                f"active row below {cut:.4g}, the {quantile:g} quantile", int((values[is_active] < cut).sum())
            )
            is_active &= values >= cut
        clusters = context.clusters_of(rows)
        apart = clusters is rows  # no documents: each row is its own cluster
        cluster = np.arange(len(rows)) if apart else np.unique(clusters, return_inverse=True)[1].reshape(len(rows))
        drawn = numpy_generator(derive_seed(spec.seed, "itemsets"), "halves").permutation(int(cluster.max()) + 1)
        second = (drawn % 2 == 1)[cluster]
        parts = [rows[part & half] for half in (~second, second) for part in (is_active, inactive)]
        if min(map(len, parts)) < FEW:
            raise UsageError(
                f"{int(is_active.sum())} active and {int(inactive.sum())} inactive rows",
                expected=f"at least {2 * FEW} of each, so that both halves have {FEW}",
                todo="widen the slice and keep its rows at zero, or choose another feature",
            )
        order = np.concatenate([cluster[is_active & second], cluster[inactive & second]])
        return cls((parts[0], parts[1]), (parts[2], parts[3]), None if apart else order)
