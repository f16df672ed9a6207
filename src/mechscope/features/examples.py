"""Examples of a feature: the largest activations, and drawn ones from every band of the quantiles."""

from __future__ import annotations

import numpy as np

from mechscope.core import Spec
from mechscope.features.activity import Activity
from mechscope.features.inputs import FeatureInputs

__all__ = ["ActivationExample", "band_examples", "top_examples"]

TOKENS_BEFORE, TOKENS_AFTER = 16, 8


class ActivationExample(Spec):
    """One sample with its tokens.

    `focus` is the place of the sample's own token in `tokens`, None for a pooled sample. `activations` are the
    feature's values at those tokens; None where that position is no sample of the store (and for pooled samples).
    `source` is "top", or the band of quantiles it was drawn from.
    """

    sample: int
    row: int
    pos: int
    activation: float
    tokens: tuple[str, ...]
    activations: tuple[float | None, ...]
    focus: int | None
    first_pos: int
    groups: dict[str, str]
    source: str


def top_examples(inputs: FeatureInputs, activity: Activity, *, k: int) -> tuple[ActivationExample, ...]:
    """The `k` largest activations, at most one a row, largest first."""
    chosen: list[int] = []
    rows: set[int] = set()
    for sample in activity.top(min(activity.n_active, max(64, 8 * k))).tolist():
        row = int(inputs.tokens.row[sample])
        if row not in rows and len(chosen) < k:
            rows.add(row)
            chosen.append(sample)
    return tuple(_example(inputs, activity, sample, "top") for sample in chosen)


def band_examples(inputs: FeatureInputs, activity: Activity, *, k: int) -> tuple[ActivationExample, ...]:
    """At most `k` of the drawn examples of each band, from the highest band down."""
    found = []
    for band in reversed(activity.stats.bands):
        source = f"quantiles {band.quantile_low:g}-{band.quantile_high:g}"
        found += [_example(inputs, activity, sample, source) for sample in band.samples[:k]]
    return tuple(found)


def _example(inputs: FeatureInputs, activity: Activity, sample: int, source: str) -> ActivationExample:
    row, pos = int(inputs.tokens.row[sample]), int(inputs.tokens.pos[sample])
    ids = inputs.corpus.tokens[row]
    first = 0 if pos < 0 else max(0, pos - TOKENS_BEFORE)
    end = len(ids) if pos < 0 else min(len(ids), pos + TOKENS_AFTER + 1)
    return ActivationExample(
        sample=sample,
        row=row,
        pos=pos,
        activation=float(activity.at(np.array([sample]))[0]),
        tokens=tuple(inputs.corpus.vocabulary[i] for i in ids[first:end].tolist()),
        activations=_at_positions(inputs, activity, row, first, end) if pos >= 0 else (None,) * (end - first),
        focus=None if pos < 0 else pos - first,
        first_pos=first,
        groups={name: str(names[index[sample]]) for name, (names, index) in inputs.groups.items()},
        source=source,
    )


def _at_positions(
    inputs: FeatureInputs, activity: Activity, row: int, first: int, end: int
) -> tuple[float | None, ...]:
    # samples stand in corpus order, so that those of one row are neighbours
    low, high = np.searchsorted(inputs.tokens.row, [row, row + 1])
    samples = np.arange(low, high)
    values = dict(zip(inputs.tokens.pos[low:high].tolist(), activity.at(samples).tolist(), strict=True))
    return tuple(values.get(pos) for pos in range(first, end))
