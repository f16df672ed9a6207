"""The words of an experiment: its type, its mode, its evidence. Light: nothing is imported."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

__all__ = ["CAUSAL", "OBSERVED", "Evidence", "ExperimentType", "Mode", "type_name"]

Mode = Literal["interventional", "observational"]
Evidence = Literal["interventional", "observational"]

CAUSAL: Mode = "interventional"
OBSERVED: Mode = "observational"


class ExperimentType(StrEnum):
    """The types that ship; a member is the string that a spec holds. Other packages may add further types."""

    FAMILY_1D_SWEEP = "family_1d_sweep"
    FAMILY_2D_HEATMAP = "family_2d_heatmap"
    FREQUENT_ITEMSETS = "frequent_itemsets"
    MINIMAL_CORES = "minimal_cores"
    SPLIT_HALF = "split_half"
    SHUFFLE_NULL = "shuffle_null"
    WEAPON_SWEEP = "weapon_sweep"
    KIT_SWEEP = "kit_sweep"
    GROUP_SWEEP = "group_sweep"
    ATTRIBUTE_SWEEP = "attribute_sweep"
    BINARY_PRESENCE = "binary_presence"
    CORE_COVERAGE = "core_coverage"
    TOKEN_INFLUENCE = "token_influence"
    PAIRWISE_INTERACTIONS = "pairwise_interactions"
    CONDITIONAL_INTERACTIONS = "conditional_interactions"
    GROUP_CONTRAST = "group_contrast"
    WITHIN_FAMILY_INTERFERENCE = "within_family_interference"
    DECODER_OUTPUT = "decoder_output"


def type_name(text: str) -> str:
    """A type as it is registered: lower case, with underscores ("family-1d-sweep" and "Family_1D_Sweep" alike)."""
    return text.strip().lower().replace("-", "_")
