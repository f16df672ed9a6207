"""Estimates with intervals, permutation tests, corrections and effect sizes. Imports no torch."""

from mechscope.stats.areas import Area, area_difference, measure_area
from mechscope.stats.bootstrap import (
    bootstrap_difference,
    bootstrap_group_difference,
    bootstrap_group_difference_cells,
    bootstrap_mean,
    bootstrap_mean_cells,
)
from mechscope.stats.corrections import benjamini_hochberg, benjamini_yekutieli, fewest_permutations, holm
from mechscope.stats.correlations import permute_correlation
from mechscope.stats.effects import auroc, cliffs_delta, cohens_d, hedges_g, paired_dz, point_biserial
from mechscope.stats.intervals import (
    FEW_CLUSTERS,
    Z_95,
    mean_interval,
    quantile_interval,
    share_difference,
    share_interval,
    wilson,
)
from mechscope.stats.max_t import max_t
from mechscope.stats.permutation import permute_labels, permute_labels_cells, sign_flip, sign_flip_cells
from mechscope.stats.regression import Coefficients, adjusted_difference, adjusted_group_effects, dummies, least_squares
from mechscope.stats.reliability import (
    Reliability,
    deal_blocks,
    half_correlation,
    reliability_of_blocks,
    spearman_brown,
    split_half,
)
from mechscope.stats.results import CellIntervals, CellTests, Interval, Test
from mechscope.stats.shuffling import Shuffles
from mechscope.stats.strata import StratifiedDifference, StratumDifference, stratified_difference

__all__ = [
    "FEW_CLUSTERS",
    "Z_95",
    "Area",
    "CellIntervals",
    "CellTests",
    "Coefficients",
    "Interval",
    "Reliability",
    "Shuffles",
    "StratifiedDifference",
    "StratumDifference",
    "Test",
    "adjusted_difference",
    "adjusted_group_effects",
    "area_difference",
    "auroc",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bootstrap_difference",
    "bootstrap_group_difference",
    "bootstrap_group_difference_cells",
    "bootstrap_mean",
    "bootstrap_mean_cells",
    "cliffs_delta",
    "cohens_d",
    "deal_blocks",
    "dummies",
    "fewest_permutations",
    "half_correlation",
    "hedges_g",
    "holm",
    "least_squares",
    "max_t",
    "mean_interval",
    "measure_area",
    "paired_dz",
    "permute_correlation",
    "permute_labels",
    "permute_labels_cells",
    "point_biserial",
    "quantile_interval",
    "reliability_of_blocks",
    "share_difference",
    "share_interval",
    "sign_flip",
    "sign_flip_cells",
    "spearman_brown",
    "split_half",
    "stratified_difference",
    "wilson",
]
