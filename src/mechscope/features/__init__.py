"""Build the feature store; look at features: overview, similarity, decoder, match with planted concepts."""

from mechscope.features.activity import REGIONS, Activity
from mechscope.features.build import build_features, store_key
from mechscope.features.decoder import DecoderOutputs, OutputScore, decoder_outputs
from mechscope.features.examples import ActivationExample
from mechscope.features.flags import BinaryToken, CoreCoverage, Flag, core_coverage
from mechscope.features.inputs import FeatureInputs
from mechscope.features.matches import Candidate, ConceptMatch, MatchResult, MatchSpec, SkippedConcept
from mechscope.features.matching import concept_of_samples, match_concepts
from mechscope.features.overview import FeatureOverview, overview
from mechscope.features.regions import GroupSummary, Region
from mechscope.features.samples import SampleTokens
from mechscope.features.shares import Share
from mechscope.features.similar import Neighbour, SimilarFeatures, similar
from mechscope.features.tokens import FamilyShare, TokenSummary

__all__ = [
    "REGIONS",
    "ActivationExample",
    "Activity",
    "BinaryToken",
    "Candidate",
    "ConceptMatch",
    "CoreCoverage",
    "DecoderOutputs",
    "FamilyShare",
    "FeatureInputs",
    "FeatureOverview",
    "Flag",
    "GroupSummary",
    "MatchResult",
    "MatchSpec",
    "Neighbour",
    "OutputScore",
    "Region",
    "SampleTokens",
    "Share",
    "SimilarFeatures",
    "SkippedConcept",
    "TokenSummary",
    "build_features",
    "concept_of_samples",
    "core_coverage",
    "decoder_outputs",
    "match_concepts",
    "overview",
    "similar",
    "store_key",
]
