"""Everything the stored activations say about one feature, as one frozen result.

All of it is observed: stored activations are regrouped, nothing is re-run. Words stay with that: a token "co-occurs".
"""

from __future__ import annotations

from pydantic import Field

from mechscope.core import Spec
from mechscope.features.activity import Activity
from mechscope.features.decoder import DecoderOutputs, decoder_outputs
from mechscope.features.examples import ActivationExample, band_examples, top_examples
from mechscope.features.flags import (
    BinaryToken,
    CoreCoverage,
    Flag,
    binary_tokens,
    core_coverage,
    headline,
    raise_flags,
)
from mechscope.features.inputs import FeatureInputs
from mechscope.features.regions import GroupSummary, Region, group_summaries, summarize_regions
from mechscope.features.similar import SimilarFeatures, similar
from mechscope.features.tokens import FamilyShare, TokenSummary, family_shares, summarize_tokens
from mechscope.stats.intervals import wilson
from mechscope.store.sparse import FeatureStats

__all__ = ["FeatureOverview", "overview"]

SHOWN = 10
SIMILARITIES_SHOWN = ("decoder_cosine", "phi", "top_tokens")
STATEMENT = (
    "Evidence tier 0 (observed): stored activations were regrouped and nothing was re-run. Tokens and groups co-occur "
    "with the activation; what the activation depends on, and what it does, was not tested."
)
NOT_INDEPENDENT = (
    " Intervals of densities, shares and lifts take samples as independent; token positions of one row are not, so "
    "that they are too narrow."
)


class FeatureOverview(Spec):
    """One feature at a glance.

    `stats` counts zeros in mean and sd; `density_low` and `density_high` are the Wilson interval of its density;
    `share_zero` is the share of samples at zero. `coverage` is of the leading token, as a signature to begin with.
    """

    feature: int
    site: str
    corpus: str
    unit: str
    stats: FeatureStats
    density_low: float
    density_high: float
    share_zero: float
    tokens: TokenSummary
    families: tuple[FamilyShare, ...]
    groups: tuple[GroupSummary, ...]
    regions: tuple[Region, ...]
    binary_tokens: tuple[BinaryToken, ...]
    coverage: CoreCoverage | None
    flags: tuple[Flag, ...]
    decoder: DecoderOutputs
    similar: tuple[SimilarFeatures, ...]
    examples: tuple[ActivationExample, ...]
    evidence_tier: int = Field(default=0, ge=0, le=0)
    statement: str = STATEMENT


def overview(
    inputs: FeatureInputs, feature: int, *, max_examples: int = 10, everything: bool = False
) -> FeatureOverview:
    """The overview of one feature.

    Args:
        inputs: an open store with its corpus and dictionary.
        feature: id in 0..n_features-1.
        max_examples: top examples shown, and of each band of quantiles at most a third of that.
        everything: show all tokens, families, groups and drawn examples instead of the first ten.

    Raises:
        NotFoundError: no such feature; the message names the valid range.

    Cost: two reads of the feature, one pass over the tokens of its active samples, one over the segments they lie in.
    """
    activity = Activity.read(inputs, feature)
    shown = inputs.tokens.d_vocab + inputs.corpus.n_rows if everything else SHOWN
    stats = activity.stats
    tokens = summarize_tokens(inputs, activity, k=shown)
    binaries = binary_tokens(inputs, activity)
    signature = headline(tokens.top)
    coverage = core_coverage(inputs, activity, signature) if signature else None
    low, high = wilson(stats.n_nonzero, stats.n_samples)
    n_drawn = inputs.store.spec.n_band_examples if everything else max(1, max_examples // 3)
    return FeatureOverview(
        feature=feature,
        site=inputs.site,
        corpus=inputs.corpus.name,
        unit="pooled rows" if inputs.tokens.is_pooled else "token positions",
        stats=stats,
        density_low=float(low),
        density_high=float(high),
        share_zero=1 - stats.density,
        tokens=tokens,
        families=family_shares(inputs, activity)[:shown],
        groups=group_summaries(inputs, activity, k=shown),
        regions=summarize_regions(inputs, activity),
        binary_tokens=binaries if everything else binaries[:SHOWN],
        coverage=coverage,
        flags=raise_flags(inputs, activity, binaries, coverage),
        decoder=decoder_outputs(inputs, feature, n_outputs=shown),
        similar=tuple(similar(inputs, feature, method, SHOWN) for method in SIMILARITIES_SHOWN),
        statement=STATEMENT if inputs.tokens.is_pooled else STATEMENT + NOT_INDEPENDENT,
        examples=(*top_examples(inputs, activity, k=max_examples), *band_examples(inputs, activity, k=n_drawn)),
    )
