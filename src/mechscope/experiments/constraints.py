"""Constraints by name: which changed contexts an experiment may use. Every refusal is counted and reported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mechscope.core import unknown_name
from mechscope.corpora.domain import Context
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import FLOOR_RATE, Findings

__all__ = ["CONSTRAINTS", "Constraints", "require_constraints"]

NUMBER = re.compile(r"\d+")
ONE_RUNG, FLOOR, GEAR = "one_rung_per_family", "no_weapon_gating_if_relu_floor", "valid_gear_combinations"
BUDGET, FAMILIAR = "max_ap_budget", "avoid_ood_token_combinations"

CONSTRAINTS: dict[str, str] = {
    ONE_RUNG: "A context has one rung of each family; under cumulative coding its lower tokens are part of it.",
    FLOOR: "Nothing is claimed of a group where the feature is zero in every condition.",
    GEAR: "Every context is one that the domain calls legal.",
    BUDGET: "No context needs more ability points than there are.",
    FAMILIAR: "No context puts a changed token beside one that it never stands beside in the corpus.",
}


def require_constraints(names: Iterable[str]) -> None:
    """Raise NotFoundError, offering the nearest, for a name that is no constraint."""
    for name in names:
        if name not in CONSTRAINTS:
            raise unknown_name("constraint", name, CONSTRAINTS)


@dataclass(eq=False)
class Constraints:
    """The constraints of one experiment at work.

    The domain makes legal contexts alone, so its refusals are what one_rung_per_family, valid_gear_combinations and
    max_ap_budget prevent: each is logged under the most particular of those that the spec names. What the domain's
    rules do not know, token combinations never seen, is checked here.
    """

    names: tuple[str, ...]
    context: ExperimentContext
    findings: Findings
    _companions: dict[int, np.ndarray] = field(default_factory=dict)
    _shapes: dict[str, str] = field(default_factory=dict)

    def refused(self, reason: str) -> None:
        """Log a substitution that the domain refused for this reason; reasons that differ in numbers count as one."""
        reason = self._shapes.setdefault(NUMBER.sub("#", reason), f"{reason}, or the like")
        self.findings.drop(f"illegal: {reason}")
        fitting = [BUDGET] if "budget" in reason else []
        fitting += [ONE_RUNG] if "lower tokens" in reason or "one token a family" in reason else []
        named = next((name for name in (*fitting, GEAR) if name in self.names), None)
        if named is not None:
            self.findings.violate(named, reason)

    def allows(self, base: Context, changed: Context) -> bool:
        """Whether a legal changed context may be used; a refusal is logged and counted."""
        if FAMILIAR not in self.names:
            return True
        new = set(changed.tokens) - set(base.tokens)
        for token in new:
            strange = [other for other in changed.tokens if other != token and not self._met(token)[other]]
            if strange:
                names = self.context.corpus.vocabulary
                pair = f"{names[token]} never stands beside {names[strange[0]]} in the corpus"
                self.findings.drop("combination of tokens that the corpus does not have")
                self.findings.violate(FAMILIAR, pair)
                return False
        return True

    def floor(self, values: np.ndarray, *, touches_group: bool) -> bool:
        """Diagnose the ReLU floor of responses [n, conditions]; True where claims about a group must be withheld.

        The rate is the share of base contexts at zero in every condition measured: there a lowering cannot show, and
        what looks like "no effect here" may be an effect below zero.
        """
        measured = ~np.isnan(values).all(axis=1)
        at_floor = (np.nan_to_num(values[measured], nan=0.0) <= 0).all(axis=1)
        rate = float(at_floor.mean()) if len(at_floor) else None
        self.findings.relu_floor_rate = rate
        if rate is None or rate < FLOOR_RATE:
            return False
        self.findings.warn(
            f"ReLU floor: the feature is zero in every condition in {100 * rate:.0f} % of the base contexts, where a "
            "fall cannot show and a rise may stay hidden; effects are those of the other contexts, thinned"
        )
        if touches_group and FLOOR in self.names:
            self.findings.violate(FLOOR, "the feature is at its floor, so nothing is claimed of the group")
            return True
        return False

    def _met(self, token: int) -> np.ndarray:
        """Which tokens stand in some row with this one, boolean [d_vocab]."""
        if token not in self._companions:
            corpus = self.context.corpus
            rows = np.flatnonzero(self.context.rows_with(token))
            self._companions[token] = np.bincount(corpus.tokens.select(rows).ids, minlength=len(corpus.vocabulary)) > 0
        return self._companions[token]
