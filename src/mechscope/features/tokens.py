"""Which tokens co-occur with a feature: shares among its active samples against all samples, and token families."""

from __future__ import annotations

import numpy as np

from mechscope.core import Spec
from mechscope.features.activity import Activity
from mechscope.features.inputs import FeatureInputs
from mechscope.features.shares import Share, leading, shares_of, trailing

__all__ = ["FamilyShare", "TokenSummary", "family_shares", "summarize_tokens", "token_shares"]


class TokenSummary(Spec):
    """Tokens that co-occur with the feature most and least; `unit` says what a sample's tokens are."""

    unit: str
    top: tuple[Share, ...]
    bottom: tuple[Share, ...]


class FamilyShare(Spec):
    """One token family: samples with any of its tokens, and how high its rungs stand among the active ones.

    `mean_top_rung` is the mean place (1 = lowest rung) of the highest rung held, over the active samples that hold
    the family; `base_mean_top_rung` the same over all samples. `part` is the family's part of all family tokens that
    the active samples hold, one token a family and sample.
    """

    share: Share
    part: float
    mean_top_rung: float | None
    base_mean_top_rung: float | None


def summarize_tokens(inputs: FeatureInputs, activity: Activity, *, k: int) -> TokenSummary:
    """The `k` tokens that lead and trail by lift. One pass over the tokens of the active samples."""
    counts = inputs.tokens.counts(activity.samples)
    base, n, base_n = inputs.n_samples_with, activity.n_active, inputs.store.n_samples
    unit = "tokens of the sample's row" if inputs.tokens.is_pooled else "the token at the sample's position"
    return TokenSummary(
        unit=unit,
        top=tuple(token_shares(inputs, activity, leading(counts, n, base, k=k), counts)),
        bottom=tuple(token_shares(inputs, activity, trailing(counts, n, base, base_n, k=k), counts)) if n else (),
    )


def token_shares(
    inputs: FeatureInputs, activity: Activity, ids: np.ndarray, counts: np.ndarray | None = None
) -> list[Share]:
    """Shares of the given tokens among the active samples."""
    found = inputs.tokens.counts(activity.samples) if counts is None else counts
    return shares_of(
        inputs.corpus.vocabulary.__getitem__,
        ids,
        found,
        activity.n_active,
        inputs.n_samples_with,
        inputs.store.n_samples,
        mass=inputs.tokens.masses(activity.samples, activity.values),
        total_mass=float(activity.values.sum()),
        idf=inputs.idf,
    )


def family_shares(inputs: FeatureInputs, activity: Activity) -> tuple[FamilyShare, ...]:
    """Every token family, by falling lower end of the lift; empty when the vocabulary has no families.

    Memory: one small integer for each sample and family.
    """
    if not inputs.families:
        return ()
    names = list(inputs.families)
    rungs = _top_rungs(inputs, np.arange(inputs.store.n_samples))
    active = rungs[activity.samples]
    n_with, base = (active > 0).sum(axis=0), (rungs > 0).sum(axis=0)
    mass = ((active > 0) * activity.values[:, None]).sum(axis=0)
    order = leading(n_with, activity.n_active, base, k=len(names))
    shares = shares_of(
        names.__getitem__,
        order,
        n_with,
        activity.n_active,
        base,
        len(rungs),
        mass=mass,
        total_mass=float(activity.values.sum()),
    )
    total = max(1, int(n_with.sum()))
    return tuple(
        FamilyShare(
            share=share,
            part=share.n_with / total,
            mean_top_rung=_mean_held(active[:, share.index]),
            base_mean_top_rung=_mean_held(rungs[:, share.index]),
        )
        for share in shares
    )


def _top_rungs(inputs: FeatureInputs, samples: np.ndarray) -> np.ndarray:
    """Place of the highest rung of each family in each sample, int16 [n, n_families]; 0 where it is absent."""
    place_of = {token: at for at, token in enumerate(inputs.corpus.vocabulary)}
    family, rung = np.full(inputs.tokens.d_vocab, -1), np.zeros(inputs.tokens.d_vocab, np.int16)
    for index, tokens in enumerate(inputs.families.values()):
        for place, token in enumerate(tokens, 1):
            if token in place_of:
                family[place_of[token]], rung[place_of[token]] = index, place
    owner, ids = inputs.tokens.pairs(samples)
    keep = family[ids] >= 0
    top = np.zeros((len(samples), len(inputs.families)), np.int16)
    np.maximum.at(top, (owner[keep], family[ids[keep]]), rung[ids[keep]])
    return top


def _mean_held(rungs: np.ndarray) -> float | None:
    held = rungs[rungs > 0]
    return float(held.mean()) if len(held) else None
