"""Figures drawn from frozen numbers; none of them estimates anything."""

from mechscope.reports.figures.activations import RegionBar, activation_histogram, region_bars
from mechscope.reports.figures.bars import NamedValue, named_bars
from mechscope.reports.figures.matches import PlantedMatch, planted_match
from mechscope.reports.figures.tokens import TokenRatio, TokenScore, decoder_outputs, token_enrichment
from mechscope.reports.figures.training import SplicedLoss, feature_density, loss_recovered, training_curves

__all__ = [
    "NamedValue",
    "PlantedMatch",
    "RegionBar",
    "SplicedLoss",
    "TokenRatio",
    "TokenScore",
    "activation_histogram",
    "decoder_outputs",
    "feature_density",
    "loss_recovered",
    "named_bars",
    "planted_match",
    "region_bars",
    "token_enrichment",
    "training_curves",
]
