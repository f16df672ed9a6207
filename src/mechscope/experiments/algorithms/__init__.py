"""Algorithms behind experiments, as pure functions: itemsets, minimal cores, interactions."""

from mechscope.experiments.algorithms.bitsets import BitColumns, keep_highest_rung
from mechscope.experiments.algorithms.core_precision import Precision, bound_precision, kl_bounds
from mechscope.experiments.algorithms.cores import Core, CoreSearch, CoreSearchOptions, find_cores
from mechscope.experiments.algorithms.differences import (
    FloorDiagnosis,
    Scale,
    corner_sets,
    corner_signs,
    diagnose_floor,
    on_scale,
    take_differences,
)
from mechscope.experiments.algorithms.interactions import (
    ENUMERATED_PLAYERS_MAX,
    IndexKind,
    enumerate_values,
    interaction_index,
    moebius,
)
from mechscope.experiments.algorithms.itemset_measures import (
    P_FLOOR,
    Contrasts,
    Rules,
    adjust_p,
    contrast_itemsets,
    find_rules,
    hypergeometric_tail,
)
from mechscope.experiments.algorithms.itemset_nulls import (
    MinedNull,
    NullKind,
    SetNull,
    count_under_null,
    excess_of_sets,
    mine_under_null,
    shuffled_columns,
)
from mechscope.experiments.algorithms.itemsets import (
    ItemSets,
    closed_sets,
    count_candidates,
    maximal_sets,
    mine_itemsets,
)
from mechscope.experiments.algorithms.sampled_interactions import SampledIndex, sample_interaction
from mechscope.experiments.algorithms.set_functions import SetFunction

__all__ = [
    "ENUMERATED_PLAYERS_MAX",
    "P_FLOOR",
    "BitColumns",
    "Contrasts",
    "Core",
    "CoreSearch",
    "CoreSearchOptions",
    "FloorDiagnosis",
    "IndexKind",
    "ItemSets",
    "MinedNull",
    "NullKind",
    "Precision",
    "Rules",
    "SampledIndex",
    "Scale",
    "SetFunction",
    "SetNull",
    "adjust_p",
    "bound_precision",
    "closed_sets",
    "contrast_itemsets",
    "corner_sets",
    "corner_signs",
    "count_candidates",
    "count_under_null",
    "diagnose_floor",
    "enumerate_values",
    "excess_of_sets",
    "find_cores",
    "find_rules",
    "hypergeometric_tail",
    "interaction_index",
    "keep_highest_rung",
    "kl_bounds",
    "maximal_sets",
    "mine_itemsets",
    "mine_under_null",
    "moebius",
    "on_scale",
    "sample_interaction",
    "shuffled_columns",
    "take_differences",
]
