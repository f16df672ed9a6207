"""Controls for what a feature writes, and how well the weights foretell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import UsageError, numpy_generator
from mechscope.features import FeatureInputs
from mechscope.models import Model
from mechscope.stats.ranking import midranks

__all__ = ["Agreement", "agreement_of", "control_directions", "direct_effect"]

N_RESAMPLES = 500


def direct_effect(model: Model, direction: Float[Tensor, "d_in"]) -> np.ndarray | None:
    """What one unit of the direction adds to each output by the weights alone, float64 [d_vocab], centred as
    `features decoder` does; None where the path to the outputs is not linear."""
    try:
        effect = model.output_directions(direction[None].to(model.device))[0]
    except UsageError:
        return None
    effect = effect if model.kind == "set" else effect - effect.mean()
    found: np.ndarray = effect.detach().double().cpu().numpy()
    return found


def control_directions(
    inputs: FeatureInputs, feature: int, *, n_random: int, n_matched: int, seed: int
) -> tuple[list[Tensor], Mapping[int, Tensor]]:
    """Directions of the length of a feature's decoder row: random ones, and those of other features.

    Args:
        n_random: drawn evenly from the sphere.
        n_matched: features that are active as often as this one, as near as there are; features that are never active,
            and such without a decoder row, are no controls.
        seed: of the draw.
    """
    W_dec = inputs.dictionary.W_dec.detach().float().cpu()
    length = W_dec[feature].norm()
    drawn = numpy_generator(seed, "control directions").standard_normal((n_random, W_dec.shape[1]))
    random = torch.from_numpy(drawn).float()
    counts = inputs.store.counts().astype(np.float64)
    distance = np.abs(np.log1p(counts) - np.log1p(counts[feature]))
    distance[(counts == 0) | (W_dec.norm(dim=1) == 0).numpy()] = np.inf
    distance[feature] = np.inf
    nearest = [int(at) for at in np.argsort(distance, kind="stable")[:n_matched] if np.isfinite(distance[at])]
    return (
        [length * row / row.norm() for row in random],
        {other: length * W_dec[other] / W_dec[other].norm() for other in nearest},
    )


@dataclass(frozen=True)
class Agreement:
    """How the mean effect of an intervention over the outputs goes with the effect by the weights.

    Attributes:
        pearson, low, high: correlation, with the middle 95 % of resampled contexts. spearman: of ranks.
        slope: effect of the intervention over that of the weights times the activation; 1 where the weights are all.
        held_out: Pearson's in the held-out half; None where it has too few contexts.
    """

    pearson: float
    low: float
    high: float
    spearman: float
    slope: float
    held_out: float | None


def agreement_of(
    effects: np.ndarray, direct: np.ndarray, amounts: np.ndarray, clusters: np.ndarray, is_held_out: np.ndarray,
    *, seed: int,
) -> Agreement:  # fmt: skip
    """Compare effects [n, d_vocab] with `direct` [d_vocab] per unit; `amounts` [n] is how much of it each context got.

    Cost: 500 resampled means of the outputs, one product [500, n] x [n, d_vocab].
    """
    mean = effects.mean(axis=0)
    _, cluster = np.unique(clusters, return_inverse=True)
    n_clusters = int(cluster.max()) + 1
    draws = numpy_generator(seed, "agreement").multinomial(
        n_clusters, np.full(n_clusters, 1 / n_clusters), size=N_RESAMPLES
    )
    resampled = draws[:, cluster].astype(np.float64) @ effects
    found = np.array([_correlation(row, direct) for row in resampled])
    low, high = np.nanquantile(found, [0.025, 0.975]) if not np.isnan(found).all() else (np.nan, np.nan)
    expected = amounts.mean() * direct
    size = float(expected @ expected)
    return Agreement(
        pearson=_correlation(mean, direct),
        low=float(low),
        high=float(high),
        spearman=_correlation(midranks(mean), midranks(direct)),
        slope=float(mean @ expected) / size if size > 0 else float("nan"),
        held_out=_correlation(effects[is_held_out].mean(axis=0), direct) if is_held_out.sum() >= 2 else None,
    )


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")
