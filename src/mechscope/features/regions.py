"""The six activation regions: what is common in the core, and what only at the extreme.

Regions are shares of the effective maximum (99.5th percentile of the non-zeros): floor up to 1 % (zeros included), low
to 10, below core to 25, core to 75, high to 90, flanderization zone above. The core shows what a feature follows; the
zone above 90 % may show an exaggerated version of it.
"""

from __future__ import annotations

import numpy as np

from mechscope.core import Spec
from mechscope.features.activity import REGIONS, Activity
from mechscope.features.inputs import FeatureInputs
from mechscope.features.shares import Share, leading, shares_of
from mechscope.stats.intervals import wilson

__all__ = ["GroupSummary", "Region", "RegionGroups", "group_summaries", "region_counts", "summarize_regions"]

LEADING_SHOWN = 6


class RegionGroups(Spec):
    """The most frequent values of one group column in one region."""

    column: str
    n_different: int
    leading: tuple[Share, ...]


class Region(Spec):
    """One region: `low` (excluded) and `high` (included) in units of the activation, None for open above.

    `n` counts its samples (zeros in the floor), `share` is of all samples with its Wilson interval, `share_of_active`
    of the non-zeros. `tokens` lead by lift, `groups` by count.
    """

    name: str
    low: float
    high: float | None
    n: int
    n_active: int
    share: float
    share_low: float
    share_high: float
    share_of_active: float | None
    mean: float | None
    tokens: tuple[Share, ...]
    groups: tuple[RegionGroups, ...]


class GroupSummary(Spec):
    """One group column: values by lift among active samples, those in all six regions, those only above 90 %.

    `only_extreme` are values whose active samples above the floor all lie in the flanderization zone.
    """

    column: str
    n_values: int
    top: tuple[Share, ...]
    in_all_regions: tuple[str, ...]
    only_extreme: tuple[Share, ...]


def summarize_regions(inputs: FeatureInputs, activity: Activity) -> tuple[Region, ...]:
    """The six regions with their leading tokens and groups. One pass over the tokens of the active samples."""
    tokens = np.stack([inputs.tokens.counts(activity.samples[activity.region == i]) for i in range(len(REGIONS))])
    tokens[0] += inputs.n_samples_with - tokens.sum(axis=0)  # the zeros, without looking at them
    groups = {name: region_counts(inputs, activity, name) for name in inputs.groups}
    return tuple(_region(inputs, activity, i, tokens[i], groups) for i in range(len(REGIONS)))


def region_counts(inputs: FeatureInputs, activity: Activity, column: str) -> np.ndarray:
    """Samples of each value of a group column in each region, zeros in the floor, int64 [6, n_values]."""
    names, index = inputs.groups[column]
    keys = activity.region * len(names) + index[activity.samples]
    counts = np.bincount(keys, minlength=len(REGIONS) * len(names)).reshape(len(REGIONS), len(names))
    counts[0] += np.bincount(index, minlength=len(names)) - counts.sum(axis=0)
    return counts


def group_summaries(inputs: FeatureInputs, activity: Activity, *, k: int) -> tuple[GroupSummary, ...]:
    """Each group column of the corpus."""
    return tuple(_group_summary(inputs, activity, column, k) for column in inputs.groups)


def _group_summary(inputs: FeatureInputs, activity: Activity, column: str, k: int) -> GroupSummary:
    names, index = inputs.groups[column]
    regions = region_counts(inputs, activity, column)
    n_with = np.bincount(index[activity.samples], minlength=len(names))
    mass = np.bincount(index[activity.samples], weights=activity.values, minlength=len(names))
    base = np.bincount(index, minlength=len(names))

    def shares(chosen: np.ndarray) -> tuple[Share, ...]:
        total = float(activity.values.sum())
        n, base_n = activity.n_active, inputs.store.n_samples
        found = shares_of(lambda i: str(names[i]), chosen, n_with, n, base, base_n, mass=mass, total_mass=total)
        return tuple(found)

    only = np.flatnonzero((regions[-1] > 0) & (regions[1:-1].sum(axis=0) == 0))
    return GroupSummary(
        column=column,
        n_values=len(names),
        top=shares(leading(n_with, activity.n_active, base, k=k)),
        in_all_regions=tuple(names[(regions > 0).all(axis=0)].tolist()),
        only_extreme=shares(only[np.argsort(-regions[-1][only], kind="stable")][:k]),
    )


def _region(
    inputs: FeatureInputs, activity: Activity, at: int, tokens: np.ndarray, groups: dict[str, np.ndarray]
) -> Region:
    name, low, high = REGIONS[at]
    scale, n_samples = activity.stats.effective_maximum or 0.0, inputs.store.n_samples
    values = activity.values[activity.region == at]
    n = len(values) + (n_samples - activity.n_active if at == 0 else 0)
    share_low, share_high = wilson(n, n_samples)
    ids = leading(tokens, n, inputs.n_samples_with, k=LEADING_SHOWN)
    vocabulary = inputs.corpus.vocabulary
    found = shares_of(vocabulary.__getitem__, ids, tokens, n, inputs.n_samples_with, n_samples, idf=inputs.idf)
    return Region(
        name=name,
        low=low * scale,
        high=None if high is None else high * scale,
        n=n,
        n_active=len(values),
        share=n / n_samples,
        share_low=float(share_low),
        share_high=float(share_high),
        share_of_active=len(values) / activity.n_active if activity.n_active else None,
        mean=float(values.sum() / n) if n else None,
        tokens=tuple(found),
        groups=tuple(_region_groups(inputs, column, counts[at], n) for column, counts in groups.items()),
    )


def _region_groups(inputs: FeatureInputs, column: str, counts: np.ndarray, n: int) -> RegionGroups:
    names, index = inputs.groups[column]
    order = np.argsort(-counts, kind="stable")[:LEADING_SHOWN]
    order = order[counts[order] > 0]
    base = np.bincount(index, minlength=len(names))
    found = shares_of(lambda i: str(names[i]), order, counts, n, base, inputs.store.n_samples)
    return RegionGroups(column=column, n_different=int((counts > 0).sum()), leading=tuple(found))
