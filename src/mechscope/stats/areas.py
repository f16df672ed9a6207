"""Area under the ROC curve with its interval, and paired differences of areas.

DeLong, DeLong and Clarke-Pearson 1988. Each positive has a placement (share of negatives below it, ties half),
each negative likewise; the area is the mean placement, and its variance is that of the two means. Placements minus
the area, divided by their counts, add up over the samples of a cluster before they are squared when samples of one
cluster are not independent (Obuchowski 1997). The interval is built on the logit scale, so that it stays in (0, 1);
a perfect area gets the exact one-sided bound of as many successes in a row as the rarer label has samples (clusters)
instead, and one sample (cluster) with a label says nothing: the interval is then 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from mechscope.core import UsageError
from mechscope.stats.distributions import normal_quantile
from mechscope.stats.intervals import Z_95
from mechscope.stats.ranking import mean_ranks, value_numbers
from mechscope.stats.samples import n_different, ranks

__all__ = ["Area", "area_difference", "measure_area"]


@dataclass(frozen=True)
class Area:
    """An AUROC with its interval. `influence` [n] sums to 0; its clustered squares give the variance."""

    value: float
    low: float
    high: float
    influence: np.ndarray


def measure_area(
    scores: np.ndarray, labels: np.ndarray, *, clusters: np.ndarray | None = None, level: float = 0.95
) -> Area:
    """Area under the ROC curve of `scores` [n] for boolean `labels` [n], ties counted half. O(n log n).

    Args:
        clusters: integer [n], samples with equal numbers are not independent; None when all are.
        level: nominal coverage.

    Raises:
        UsageError: no positive, or no negative.
    """
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if not n_positive or not n_negative:
        raise UsageError(
            f"{n_positive} positive and {n_negative} negative samples",
            expected="at least one of each",
            todo="leave this concept out, or take more rows",
        )
    numbers = value_numbers(scores)
    within = np.empty(len(scores))
    within[labels], within[~labels] = mean_ranks(numbers[labels]), mean_ranks(numbers[~labels])
    above = (mean_ranks(numbers) - within) / np.where(labels, n_negative, n_positive)
    placement = np.where(labels, above, 1 - above)
    value = float(placement[labels].mean())
    influence = (placement - value) / np.where(labels, n_positive, n_negative)
    units = np.arange(len(labels)) if clusters is None else clusters
    n_fewest = min(n_different(units[labels]), n_different(units[~labels]))
    low, high = _interval(value, _standard_error(influence, labels, clusters), n_fewest, level)
    return Area(value, low, high, influence)


def area_difference(
    first: Area, second: Area, labels: np.ndarray, *, clusters: np.ndarray | None = None
) -> tuple[float, float, float]:
    """First minus second area on the same samples, with its paired 95 % interval."""
    error = _standard_error(first.influence - second.influence, labels, clusters)
    difference = first.value - second.value
    return difference, difference - Z_95 * error, difference + Z_95 * error


def _standard_error(influence: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None) -> float:
    if clusters is None:
        n_positive, n_negative = int(labels.sum()), int((~labels).sum())
        positive = np.square(influence[labels]).sum() * n_positive / max(1, n_positive - 1)
        negative = np.square(influence[~labels]).sum() * n_negative / max(1, n_negative - 1)
        return math.sqrt(positive + negative)
    _, index = ranks(clusters)
    sums = np.bincount(index, weights=influence)
    return math.sqrt(np.square(sums).sum() * len(sums) / max(1, len(sums) - 1))


def _interval(value: float, error: float, n_fewest: int, level: float) -> tuple[float, float]:
    """Ends around `value`; `n_fewest` counts the independent units of the rarer label."""
    if value <= 0 or value >= 1:
        reach = ((1 - level) / 2) ** (1 / n_fewest)
        return (reach, 1.0) if value >= 1 else (0.0, 1 - reach)
    if n_fewest < 2:
        return 0.0, 1.0  # one unit has no spread from which its error could be told
    z = Z_95 if level == 0.95 else float(normal_quantile((1 + level) / 2))
    logit, step = math.log(value / (1 - value)), z * error / (value * (1 - value))
    return float(expit(logit - step)), float(expit(logit + step))
