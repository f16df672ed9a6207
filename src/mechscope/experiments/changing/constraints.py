"""Constraints by name: which contexts and rows an experiment may use. Every refusal is counted and reported.

Interventional: every changed context is checked before it is run, against the row that it came from, so that what is
held constant is judged too. Observational: rows that break a constraint are left out and counted. Legality itself is
never given up: an illegal change is not run whether a constraint is named or not; naming it logs the violation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mechscope.core import unknown_name
from mechscope.corpora.domain import Context, Domain
from mechscope.corpora.substituted_rows import TableDomain
from mechscope.experiments.changing.companions import Companions
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import FLOOR_RATE, Findings

__all__ = [
    "CONSTRAINTS",
    "FEWEST_ROWS",
    "ILLEGAL_ROW",
    "Constraints",
    "is_at_floor",
    "require_constraints",
    "rungs_in_text",
]

NUMBER = re.compile(r"\d+")
SEVERAL_RUNGS = re.compile(r"lacks its lower tokens|one token a family|never writes them together|shows the rungs")
ONE_RUNG, FLOOR, GEAR = "one_rung_per_family", "no_weapon_gating_if_relu_floor", "valid_gear_combinations"
BUDGET, FAMILIAR = "max_ap_budget", "avoid_ood_token_combinations"
READ_AT_ONCE = 4096
FEWEST_ROWS = 5
"""Rows of the corpus in which two tokens must stand together for their pair to be familiar."""

CONSTRAINTS: dict[str, str] = {
    ONE_RUNG: "A context has one rung of each family; under cumulative coding its lower tokens are part of it.",
    FLOOR: "Nothing is claimed on contexts with a substituted group where the feature is zero in most of them.",
    GEAR: "Every context is one that the domain calls legal.",
    BUDGET: "No context needs more ability points than there are.",
    FAMILIAR: f"No change puts two tokens (or a token and a weapon) together fewer than {FEWEST_ROWS} rows have so; "
    "markers such as <NULL> are no such tokens.",
}
ILLEGAL_ROW = "row that is illegal itself"
OF_ROWS = (ONE_RUNG, GEAR, BUDGET)
UNCHANGED = {
    FLOOR: "nothing was substituted, so no floor can hide what a substitution does",
    FAMILIAR: "rows are as they were met",
}


def require_constraints(names: Iterable[str]) -> None:
    """Raise NotFoundError, offering the nearest, for a name that is no constraint."""
    for name in names:
        if name not in CONSTRAINTS:
            raise unknown_name("constraint", name, CONSTRAINTS)


def is_at_floor(findings: Findings) -> bool:
    """Whether `no_weapon_gating_if_relu_floor` forbids the claims of an experiment."""
    return any(constraint == FLOOR for constraint, _ in findings.violations)


@dataclass(eq=False)
class Constraints:
    """The constraints of one experiment at work."""

    names: tuple[str, ...]
    context: ExperimentContext
    findings: Findings
    _shapes: dict[str, str] = field(default_factory=dict)
    _originals: dict[int, Context] = field(default_factory=dict)

    @property
    def looks_at_contexts(self) -> bool:
        """Whether a legal context must be looked at by itself before it is run."""
        return FAMILIAR in self.names

    def refused(self, reason: str, *, what: str = "illegal", n: int = 1) -> None:
        """Log what breaks the domain's rules, under the most particular constraint that the spec names and that speaks
        of it, `n` times; reasons that differ in numbers alone count as one."""
        reason = self._shapes.setdefault(NUMBER.sub("#", reason), f"{reason}, or the like")
        self.findings.drop(f"{what}: {reason}", n)
        fitting = [BUDGET] if "AP budget" in reason else []
        fitting += [ONE_RUNG] if SEVERAL_RUNGS.search(reason) else []
        named = next((name for name in (*fitting, GEAR) if name in self.names), None)
        if named is not None:
            self.findings.violate(named, reason, n)

    def allows(self, base: Context, changed: Context) -> bool:
        """Whether a changed context may be run; a refusal is logged and counted."""
        if broken := self.broken_rule(changed):
            self.refused(broken)
            return False
        return FAMILIAR not in self.names or self._is_familiar(base, changed)

    def broken_rule(self, context: Context) -> str | None:
        """The first rule of the domain, or of `one_rung_per_family` where it is named, that a context breaks."""
        return self.broken_rules([context])[0]

    def broken_rules(self, contexts: Sequence[Context]) -> list[str | None]:
        """`broken_rule` of each context; in one go where the domain can."""
        domain = self.context.domain
        if isinstance(domain, TableDomain):
            found = domain.faults_table(contexts)
        else:
            found = [domain.faults(context) for context in contexts]
        broken = [faults[0] if faults else None for faults in found]
        # the rules of sets know families; in a text nothing but the constraint forbids a second rung further on
        if ONE_RUNG in self.names and self.context.corpus.kind != "set":
            broken = [why or next(_several_rungs(domain, context), None)
                      for why, context in zip(broken, contexts, strict=True)]  # fmt: skip
        return broken

    def keeps(self, rows: np.ndarray) -> np.ndarray:
        """Which corpus rows an observational experiment may use, boolean [n]; the others are logged and counted.

        Cost: one reading of each row, where a constraint on rows is named; else nothing.
        """
        self.findings.notes += [
            text
            for name, why in UNCHANGED.items()
            if name in self.names and (text := f"{name}: {why}") not in self.findings.notes
        ]
        kept = np.ones(len(rows), bool)
        if not set(self.names) & set(OF_ROWS):
            return kept
        for start in range(0, len(rows), READ_AT_ONCE):
            contexts = self.context.contexts_of(rows[start : start + READ_AT_ONCE])
            for at, broken in enumerate(self.broken_rules(contexts), start=start):
                if broken:
                    self.refused(broken, what=ILLEGAL_ROW)
                    kept[at] = False
        return kept

    def floor(self, values: np.ndarray, *, touches_group: bool) -> bool:
        """Diagnose the ReLU floor of responses [n, conditions]; True where claims about a group must be withheld.

        The rate is the share of base contexts at zero in every condition measured: there a lowering cannot show, and
        what looks like "no effect here" may be an effect below zero. The runner withholds the claims as well.
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

    @cached_property
    def _markers(self) -> frozenset[int]:
        """Tokens that say nothing by themselves, such as the one of an empty set: beside them nothing is strange."""
        shown = enumerate(self.context.corpus.vocabulary)
        marked = [token for token, name in shown if name.startswith("<") and name.endswith(">") and len(name) > 2]
        return self.context.special_ids | frozenset(marked)

    @cached_property
    def _companions(self) -> Companions:
        return Companions(self.context.corpus)

    def _is_familiar(self, base: Context, changed: Context) -> bool:
        for first, second in self._companions.new_pairs(self._original(base), changed):
            if {first, second} & self._markers:
                continue
            if (n := self._companions.count(first, second)) < FEWEST_ROWS:
                names = " and ".join(self._companions.name(item) for item in (first, second))
                self.findings.drop(f"tokens that stand together in fewer than {FEWEST_ROWS} rows")
                self.findings.violate(FAMILIAR, f"{names} stand together in {n} rows of the corpus")
                return False
        return True

    def _original(self, base: Context) -> Context:
        """The row that a context came from, before anything was substituted; the context itself if it was made up."""
        if base.row < 0:
            return base
        if base.row not in self._originals:
            self._originals[base.row] = self.context.contexts_of([base.row])[0]
        return self._originals[base.row]


def rungs_in_text(tokens: tuple[int, ...], written: tuple[tuple[int, ...], ...]) -> list[int]:
    """The rungs of a family that stand anywhere in a text, by index into `written`, the tokens of each rung.

    Where two rungs begin alike the longer one is read, as the domain reads them.
    """
    found, position = set(), 0
    firsts = {rung[0] for rung in written if rung}
    while position < len(tokens):
        longest = None
        if tokens[position] in firsts:
            fitting = [
                at for at, rung in enumerate(written) if rung and tokens[position : position + len(rung)] == rung
            ]
            longest = max(fitting, key=lambda at: len(written[at]), default=None)
        if longest is None:
            position += 1
        else:
            found.add(longest)
            position += len(written[longest])
    return sorted(found)


def _several_rungs(domain: Domain, context: Context) -> Iterator[str]:
    for family in domain.families.values():
        if any(family.tokens) and len(shown := rungs_in_text(context.tokens, family.tokens)) > 1:
            names = " and ".join(family.rung_name(family.rungs[at]) for at in shown)
            yield f"{family.name} shows the rungs {names}"
