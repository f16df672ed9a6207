"""Constraints by name: which changed contexts an experiment may use. Every refusal is counted and reported."""

from __future__ import annotations

from collections.abc import Iterable

from mechscope.core import unknown_name

__all__ = ["CONSTRAINTS", "require_constraints"]

CONSTRAINTS: dict[str, str] = {
    "one_rung_per_family": "A context has one rung of each family; with cumulative coding its lower tokens belong to it.",
    "no_weapon_gating_if_relu_floor": "Nothing is claimed of a group where the feature is zero in every condition.",
    "valid_gear_combinations": "Every context is one that the domain calls legal.",
    "max_ap_budget": "No context needs more ability points than there are.",
    "avoid_ood_token_combinations": "No context puts a changed token beside one it never stands beside in the corpus.",
}


def require_constraints(names: Iterable[str]) -> None:
    """Raise NotFoundError, offering the nearest, for a name that is no constraint."""
    for name in names:
        if name not in CONSTRAINTS:
            raise unknown_name("constraint", name, CONSTRAINTS)
