"""Lenses: what streams predict through the model's own head, and which parts of the stream a logit is made of."""

from mechscope.models.lens.attribution import Attribution, direct_logit_attribution
from mechscope.models.lens.logit_lens import logit_lens
from mechscope.models.lens.results import LensQuery, LensResult
from mechscope.models.lens.tuned_fit import fit_tuned_lens
from mechscope.models.lens.tuned_lens import TunedLens
from mechscope.models.lens.tuned_records import (
    Estimate,
    SiteScore,
    TunedLensRecord,
    TunedLensScores,
    TunedLensSpec,
)

__all__ = [
    "Attribution",
    "Estimate",
    "LensQuery",
    "LensResult",
    "SiteScore",
    "TunedLens",
    "TunedLensRecord",
    "TunedLensScores",
    "TunedLensSpec",
    "direct_logit_attribution",
    "fit_tuned_lens",
    "logit_lens",
]
