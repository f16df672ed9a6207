"""What a feature must beat to count: single tokens, principal components, and a dictionary that was never trained.

Each baseline picks its best candidate on the same samples as the features do, with both signs allowed where a sign is
arbitrary, and hands out its scores on the held-out samples.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.dictionaries import Dictionary
from mechscope.features.samples import SampleTokens
from mechscope.stats.column_areas import BestPicks, dense_areas, pick_best
from mechscope.store.sparse import CompressedRows, FeatureBlock, FeatureStore, FeatureStoreWriter, StoreSpec

__all__ = ["Pick", "Picks", "pca_baseline", "places", "random_baseline", "store_picks", "token_baseline"]

ENCODE_SAMPLES = 4096
COMPONENTS_AT_ONCE = 64


@dataclass(frozen=True)
class Pick:
    """The candidate chosen for one concept: its number, name, AUROC on the pick samples, held-out scores [n]."""

    candidate: int
    name: str
    pick_area: float
    scores: np.ndarray


@dataclass(frozen=True)
class Picks:
    """The picks of one kind of candidate."""

    name: str
    picks: list[Pick]


def store_picks(store: FeatureStore, pick: np.ndarray, score: np.ndarray, labels: np.ndarray, *, name: str) -> Picks:
    """The best feature for each concept: chosen on the samples `pick` with their `labels`, scored on `score`."""
    best = pick_best(store.feature_blocks(), places(pick, store.n_samples), labels)
    place = places(score, store.n_samples)
    chosen = []
    for feature, area in zip(best.ids[0].tolist(), best.areas[0].tolist(), strict=True):
        samples, values = store.feature(feature)
        at = place[samples]
        scores = np.zeros(len(score), np.float32)
        scores[at[at >= 0]] = values[at >= 0]
        chosen.append(Pick(feature, str(feature), area, scores))
    return Picks(name, chosen)


def token_baseline(
    tokens: SampleTokens, vocabulary: tuple[str, ...], pick: np.ndarray, score: np.ndarray, labels: np.ndarray
) -> Picks:
    """The single token whose presence (or absence) tells most about each concept."""
    owner, ids = tokens.pairs(pick)
    order = np.argsort(ids, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=tokens.d_vocab))])
    block = FeatureBlock(0, indptr, owner[order].astype(np.uint32), np.ones(len(ids), np.float32))
    best = pick_best([block], np.arange(len(pick)), labels, both_signs=True)
    chosen = []
    for at, (token, area) in enumerate(zip(best.ids[0].tolist(), best.areas[0].tolist(), strict=True)):
        held = tokens.holds(pick, np.array([token]))
        sign = 1 if dense_areas(held[:, None].astype(np.float64), labels[:, [at]])[0, 0] >= 0.5 else -1
        scores = sign * tokens.holds(score, np.array([token])).astype(np.float32)
        chosen.append(Pick(token, vocabulary[token] if sign > 0 else f"not {vocabulary[token]}", area, scores))
    return Picks("token", chosen)


def pca_baseline(
    pick_acts: Float[Tensor, "n_pick d_in"],
    score_acts: Float[Tensor, "n_score d_in"],
    labels: np.ndarray,
    *,
    n_components: int,
) -> Picks:
    """The principal component (of the pick samples, either sign) that tells most about each concept."""
    mean = pick_acts.double().mean(dim=0)
    centred = (pick_acts.double() - mean).float()
    covariance = (centred.T.double() @ centred.double()) / len(centred)
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, :n_components].float()
    best = BestPicks.empty(1, labels.shape[1])
    for first in range(0, axes.shape[1], COMPONENTS_AT_ONCE):
        scores = (centred @ axes[:, first : first + COMPONENTS_AT_ONCE]).numpy()
        areas = dense_areas(scores, labels)
        best.update(first + np.arange(len(areas)), np.maximum(areas, 1 - areas))
    held_out = (score_acts.double() - mean).float()
    chosen = []
    for at, (component, area) in enumerate(zip(best.ids[0].tolist(), best.areas[0].tolist(), strict=True)):
        axis = axes[:, component]
        sign = 1 if dense_areas((centred @ axis).numpy()[:, None], labels[:, [at]])[0, 0] >= 0.5 else -1
        name = f"{'+' if sign > 0 else '-'}PC{component + 1}"
        chosen.append(Pick(component, name, area, sign * (held_out @ axis).numpy()))
    return Picks("pca", chosen)


def random_baseline(
    dictionary: Dictionary,
    pick_acts: Float[Tensor, "n_pick d_in"],
    score_acts: Float[Tensor, "n_score d_in"],
    labels: np.ndarray,
    *,
    seed: int,
) -> Picks:
    """The best feature of an untrained dictionary of the same spec, its bias set to the mean activation.

    Its codes go through a feature store in a temporary folder, so that memory stays bounded however dense they are.
    """
    untrained = Dictionary.random(dictionary.spec, seed=seed)
    with torch.no_grad():
        untrained.b_dec.copy_(pick_acts.mean(dim=0))
    spec = StoreSpec(n_top=1, n_bands=1, n_band_examples=0, n_band_draws=1, n_bins=1, quantiles=())
    with tempfile.TemporaryDirectory(prefix="mechscope-random-") as scratch:
        folder, acts = Path(scratch), torch.cat([pick_acts, score_acts])
        with FeatureStoreWriter(folder, key={}, n_features=untrained.n_features, spec=spec) as writer:
            for first in range(0, len(acts), ENCODE_SAMPLES):
                codes = untrained.encode(acts[first : first + ENCODE_SAMPLES])
                features = codes.features.numpy().astype(np.uint32)
                writer.add(first, CompressedRows(codes.indptr.numpy(), features, codes.values.numpy()))
            writer.finish(n_samples=len(acts))
        with FeatureStore.open(folder) as store:
            pick, score = np.arange(len(pick_acts)), np.arange(len(pick_acts), len(acts))
            return store_picks(store, pick, score, labels, name="random dictionary")


def places(chosen: np.ndarray, n_samples: int) -> np.ndarray:
    """The index of each sample in `chosen`, -1 for the others, int64 [n_samples]."""
    place = np.full(n_samples, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    return place
