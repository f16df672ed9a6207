"""Null features, and how often each kind of experiment claims something about them.

A null feature's activation has nothing to do with what an experiment asks: it is noise drawn by a hash of the whole
context, so that any change of a context gives another, independent draw of one distribution. Three sorts:

    dense      above zero in every context: paired differences are symmetric around 0
    sparse     zero in most contexts. Base contexts are drawn evenly over regions of the activation, so that active ones
               are over-represented, and any change of them falls back on average: regression to the mean
    shuffled   the stored activations of a real feature dealt anew over the rows (observational modes alone)

A claim about a null feature is a false one; at level alpha a kind may make one in a share alpha of the features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mechscope.corpora.domain import Context
from mechscope.experiments import OBSERVED, ExperimentContext, ExperimentSpec, Mode, get_runner_for_type
from mechscope.features import FeatureInputs
from mechscope.stats import wilson
from mechscope.testing.planted_features import plant_feature

__all__ = ["CLAIMING", "Calibration", "NullSort", "calibrate", "hash_noise", "null_features"]

NullSort = Literal["dense", "sparse", "shuffled"]

CLAIMING: Mapping[str, Mapping[str, Any]] = {
    "family_1d_sweep": {"family": "swim_speed_up"},
    "family_2d_heatmap": {"family_x": "swim_speed_up", "family_y": "comeback", "rungs_x": [3, 6, 12]},
    "weapon_sweep": {},
    "kit_sweep": {},
    "binary_presence": {},
    "core_coverage": {},
    "token_influence": {},
    "group_contrast": {"column": "region", "first": ["japan"]},
    "shuffle_null": {},
    "split_half": {},
    "pairwise_interactions": {"top_k": 5, "players": 0},
    "conditional_interactions": {"top_k": 3},
    "frequent_itemsets": {},
    "within_family_interference": {"family": "swim_speed_up"},
}
"""The kinds that can claim, with the variables that they run with on gear builds."""
IN_MODE: Mapping[tuple[str, Mode], Mapping[str, Any]] = {
    ("group_contrast", "interventional"): {"column": "weapon_class", "first": ["Rollers"]}
}


@dataclass(frozen=True)
class Calibration:
    """How often a kind claimed.

    Attributes:
        kind, mode, sort: what was run on what.
        n: null features. n_claiming: those with a claim or a pass. n_failed: those whose experiment failed.
        low, high: Wilson interval of the share.
        claims: the first claim of each feature that had one.
    """

    kind: str
    mode: Mode
    sort: NullSort
    n: int
    n_claiming: int
    n_failed: int
    claims: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the experiments that ran, those that claimed."""
        return self.n_claiming / max(1, self.n - self.n_failed)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 %."""
        low, high = wilson(self.n_claiming, max(1, self.n - self.n_failed))
        return float(low), float(high)


def hash_noise(seed: int, density: float = 1.0) -> Callable[[Context], float]:
    """Noise of a context's tokens and inputs: uniform in (0, 1], and 0 in a share 1 - `density` of the contexts."""

    def noise(context: Context) -> float:
        digest = hashlib.blake2b(repr((seed, context.key)).encode(), digest_size=16).digest()
        drawn, size = (int.from_bytes(part, "little") / 2**64 for part in (digest[:8], digest[8:]))
        return 0.0 if drawn >= density else 1.0 - size

    return noise


def null_features(
    inputs: FeatureInputs, sort: NullSort, n: int, *, seed: int, feature: int
) -> list[Callable[[], ExperimentContext]]:
    """Makers of subjects in which `feature` is a null feature, each drawn by `seed` and its number."""

    def made(number: int) -> ExperimentContext:
        generator = np.random.default_rng([seed, number])
        if sort == "shuffled":
            context = ExperimentContext("null", inputs, plant_feature(inputs, feature, lambda _: 1.0).domain)
            counts = inputs.store.counts()
            taken = int(generator.choice(np.flatnonzero(counts > min(100, int(counts.max()) - 1))))
            context._row_activations[feature] = generator.permutation(context.row_activations(taken))
            return context
        density = 1.0 if sort == "dense" else float(generator.uniform(0.1, 0.6))
        return plant_feature(inputs, feature, hash_noise(int(generator.integers(2**62)), density))

    return [lambda number=number: made(number) for number in range(n)]  # type: ignore[misc]


def calibrate(
    kind: str,
    mode: Mode,
    sort: NullSort,
    features: Sequence[Callable[[], ExperimentContext]],
    *,
    feature: int,
    n_bases: int | None = None,
) -> Calibration:
    """Run one kind on each null feature, with its number as the seed.

    Args:
        n_bases: base contexts of interventional modes; None for the kind's own number.
    """
    runner = get_runner_for_type(kind)
    sliced = {} if mode == OBSERVED or n_bases is None else {"sample_size": n_bases}
    claims, n_claiming, n_failed = [], 0, 0
    for number, make in enumerate(features):
        spec = ExperimentSpec.parse(
            {"type": kind, "feature_id": feature, "mode": mode, "dataset_slice": sliced, "seed": number,
             "variables": {**CLAIMING[kind], **IN_MODE.get((kind, mode), {})}}
        )  # fmt: skip
        result = runner.run(spec, make())
        n_failed += not result.success
        if result.claims or result.aggregates.custom.get("passes") is True:
            n_claiming += 1
            claims.append(next(iter(result.claims), "passes"))
    return Calibration(kind, mode, sort, len(features), n_claiming, n_failed, tuple(claims))
