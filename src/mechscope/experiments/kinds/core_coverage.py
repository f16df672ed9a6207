"""How much of a feature's activity a proposed signature covers: is a token of its core, or only of its tail?

Rows are counted in four places: all rows of the slice; active rows; the core (activation between 25 and 75 % of the
effective maximum); and high rows (at or above a quantile of the active rows). A token that headlines a feature is in
more than half of the core rows; one in under 30 % marks a tail, however much it is enriched among the highest rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import Field, field_validator
from scipy.stats import hypergeom

from mechscope.core import Spec, UsageError, derive_seed, numpy_generator
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.cells import FEW, flag_of
from mechscope.experiments.changes import token_change
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.levels_of_activity import as_quantile
from mechscope.experiments.selecting import ALPHA
from mechscope.experiments.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import OBSERVED
from mechscope.stats import benjamini_hochberg, wilson

__all__ = ["CoreCoverage", "CoreCoverageVariables"]

CORE_ENDS = (0.25, 0.75)
HEADLINE, NOTES = 0.5, 0.3
CORE, PARTIAL, TAIL, UNSETTLED, FEW_ROWS = "core", "partial", "tail", "unsettled", "not interpreted"
TAIL_ENRICHMENT, LITTLE_CORE = 5.0, 0.2
MOST_IN_COMBINATIONS = 8
PLACES = ("high", "core", "active", "corpus")
COLUMNS = (
    "token", "classification", "n_with",
    *(f"{place}_{part}" for place in PLACES for part in ("share", "low", "high", "n")),
    "lift", "tail_enrichment", "p", "q", "first_core_share", "second_core_share", "flag",
)  # fmt: skip
COMBINATION_COLUMNS = (
    "tokens", "classification", "n_with", *COLUMNS[3:-1], "expected_high_share", "beyond_independence", "flag"
)  # fmt: skip


class CoreCoverageVariables(Spec):
    """The variables of core coverage.

    Attributes:
        tokens: binaries, rungs ("special_charge_up_12": at least 12), tokens; "comeback+stealth_jump" is a combination.
            Empty takes the tokens most over-represented among the high rows.
        threshold: quantile of the active rows from which on a row is high; 0.9 and 90 mean the same.
        n_candidates: how many tokens are taken when none is named.
        most_together: largest combination of the tokens that is counted.
    """

    tokens: tuple[str, ...] = ()
    threshold: float = 0.9
    n_candidates: int = Field(default=20, ge=1)
    most_together: int = Field(default=3, ge=1, le=4)

    @field_validator("tokens", mode="before")
    @classmethod
    def _commas_part_tokens(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("threshold")
    @classmethod
    def _is_a_quantile(cls, value: float) -> float:
        return as_quantile(value, "threshold")


@EXPERIMENTS.register("core_coverage")
class CoreCoverage(ExperimentKind):
    """Coverage of the core by tokens and their combinations."""

    name = "core_coverage"
    aliases = ("coverage",)
    title = "Share of the feature's core that tokens cover"
    variables = CoreCoverageVariables
    modes = (OBSERVED,)
    alternatives = (
        "the token goes with another token, or a weapon, that is what the feature follows",
        "the token is common everywhere: look at the lift, not at the coverage alone",
    )

    def run(
        self, spec: ExperimentSpec, variables: CoreCoverageVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Count."""
        found = slice_rows(spec, context, findings)
        rows = _Places.of(found.values, variables.threshold, context, found.rows, spec)
        findings.n_contexts_tested = len(found)
        findings.note(
            f"high: the {int(rows.high.sum()):,} rows at or above {rows.cut:.4g}, the {variables.threshold:g} quantile "
            f"of the {int(rows.active.sum()):,} active rows; core: the {int(rows.core.sum()):,} rows between "
            f"{CORE_ENDS[0]:g} and {CORE_ENDS[1]:g} of the effective maximum {rows.top:.4g}; shares with Wilson "
            "intervals, which take rows as independent; lift: share of high rows over share of all rows; p: "
            "hypergeometric, high against the others; classified by both halves alike, or left unsettled"
        )
        if int(rows.high.sum()) < FEW or int(rows.core.sum()) < FEW:
            findings.warn(
                f"{int(rows.high.sum())} high and {int(rows.core.sum())} core rows: under {FEW} are not interpreted"
            )
        named = list(variables.tokens) or _candidates(context, rows, variables.n_candidates)
        masks = {name: _holding(context, name)[found.rows] for name in named}
        table = [{"token": name, **rows.count(mask)} for name, mask in masks.items()]
        together = list(_combined(masks, variables.most_together))
        combined = [
            {"tokens": " + ".join(names), **rows.count(mask), **rows.beyond(mask, [masks[name] for name in names])}
            for names, mask in together
        ]
        _correct([*table, *combined])
        findings.n_comparisons = len(table) + len(combined)
        findings.table("token_coverage", COLUMNS, table, caption="OBSERVATIONAL: where rows with the token lie.")
        if combined:
            findings.table(
                "combination_coverage",
                COMBINATION_COLUMNS,
                combined,
                caption="OBSERVATIONAL: rows with all of the tokens; expected: if they were independent in high rows.",
            )
        _conclude(table, spec, findings, int(rows.high.sum()))


@dataclass(frozen=True, eq=False)
class _Places:
    """Boolean masks [n] over the rows of the slice, and the two halves that check each other."""

    high: np.ndarray
    core: np.ndarray
    active: np.ndarray
    corpus: np.ndarray
    is_second: np.ndarray
    cut: float
    top: float

    @classmethod
    def of(
        cls, values: np.ndarray, quantile: float, context: ExperimentContext, rows: np.ndarray, spec: ExperimentSpec
    ) -> _Places:
        active = values > 0
        if not active.any():
            raise UsageError(
                "no row of the slice is active",
                expected="active rows",
                todo="widen the slice, or choose another feature",
            )
        cut = float(np.quantile(values[active], quantile))
        stored = context.row_activations(spec.feature_id)
        top = float(np.quantile(stored[stored > 0], 0.995))
        core = (values >= CORE_ENDS[0] * top) & (values < CORE_ENDS[1] * top)
        _, cluster = np.unique(context.clusters_of(rows), return_inverse=True)
        halves = numpy_generator(derive_seed(spec.seed, "core coverage"), "halves").permutation(int(cluster.max()) + 1)
        return cls(
            active & (values >= cut), core, active, np.ones(len(values), bool), (halves % 2 == 1)[cluster], cut, top
        )

    def count(self, mask: np.ndarray) -> dict[str, Any]:
        """The columns of a signature that these rows hold."""
        found: dict[str, Any] = {"n_with": int(mask.sum())}
        for place in PLACES:
            inside = getattr(self, place)
            k, n = int((mask & inside).sum()), int(inside.sum())
            low, high = wilson(k, n)
            share = k / n if n else None
            found |= dict(zip((f"{place}_{part}" for part in ("share", "low", "high", "n")),
                              (share, float(low), float(high), n), strict=True))  # fmt: skip
        halves = [_share(mask, self.core & half) for half in (~self.is_second, self.is_second)]
        n_core, n_high = int(self.core.sum()), int(self.high.sum())
        p = hypergeom.sf(int((mask & self.high).sum()) - 1, len(mask), int(mask.sum()), n_high)
        return found | {
            "classification": _classify(halves, n_core),
            "lift": _ratio(found["high_share"], found["corpus_share"]),
            "tail_enrichment": _ratio(found["high_share"], found["core_share"]),
            "p": float(p) if n_high >= FEW and mask.sum() >= FEW else None,
            "q": None,
            "first_core_share": halves[0],
            "second_core_share": halves[1],
            "flag": flag_of(min(n_core, n_high, int(mask.sum()))),
        }

    def beyond(self, mask: np.ndarray, parts: Sequence[np.ndarray]) -> dict[str, Any]:
        """The share of high rows if the parts were independent there, and how many times that the share is."""
        expected = float(np.prod([part[self.high].mean() for part in parts]))
        return {
            "expected_high_share": expected,
            "beyond_independence": _ratio(float(mask[self.high].mean()), expected),
        }


def _share(mask: np.ndarray, inside: np.ndarray) -> float | None:
    n = int(inside.sum())
    return int((mask & inside).sum()) / n if n >= FEW else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _classify(halves: Sequence[float | None], n_core: int) -> str:
    if n_core < FEW or any(share is None for share in halves):
        return FEW_ROWS
    said = {CORE if share > HEADLINE else PARTIAL if share >= NOTES else TAIL for share in halves if share is not None}
    return said.pop() if len(said) == 1 else UNSETTLED


def _holding(context: ExperimentContext, name: str) -> np.ndarray:
    """Which rows of the corpus hold a token, at least a rung, or all parts of a combination, boolean [n_rows]."""
    held = np.ones(context.corpus.n_rows, bool)
    for part in name.split("+"):
        change = token_change(context.domain, context.corpus.vocabulary, part)
        for family, rung in change.rungs.items():
            held &= context.family_rungs(family) >= rung
        for token in (*(context.domain.binaries[binary] for binary in change.binaries), *change.tokens_on):
            held &= context.rows_with(token)
    return held


def _candidates(context: ExperimentContext, rows: _Places, n: int) -> list[str]:
    """The tokens with the largest lift in the high rows, of those in at least 5 of them."""
    inputs, corpus = context.inputs, context.corpus
    names = [*(token for tokens in inputs.families.values() for token in tokens), *inputs.binary_tokens]
    ids = {name: index for index, name in enumerate(corpus.vocabulary)}
    order = context.rows_in_store
    lifts = {}
    if len(order) == len(rows.high):
        for name in names:
            mask = context.rows_with(ids[name])[order]
            n_high = int((mask & rows.high).sum())
            if n_high >= FEW:
                lifts[name] = n_high / int(mask.sum())
    if not lifts:
        raise UsageError("no tokens named, on a slice of the rows or one with few high rows", expected="tokens",
                         todo='name them: "tokens": ["comeback"]')  # fmt: skip
    return sorted(lifts, key=lambda name: -lifts[name])[:n]


def _combined(masks: dict[str, np.ndarray], most: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    singles = list(masks)[:MOST_IN_COMBINATIONS]
    for size in range(2, most + 1):
        for names in combinations(singles, size):
            yield names, np.logical_and.reduce([masks[name] for name in names])


def _correct(rows: list[dict[str, Any]]) -> None:
    p = np.array([np.nan if row["p"] is None else row["p"] for row in rows])
    if not np.isnan(p).all():
        for row, q in zip(rows, benjamini_hochberg(p, skip_nan=True), strict=True):
            row["q"] = q


def _conclude(table: list[dict[str, Any]], spec: ExperimentSpec, findings: Findings, n_high: int) -> None:
    by_class = {kind: [row["token"] for row in table if row["classification"] == kind]
                for kind in (CORE, PARTIAL, TAIL, UNSETTLED)}  # fmt: skip
    findings.aggregate(n_samples=n_high)
    findings.add(**{f"{kind}_tokens": names for kind, names in by_class.items()})
    for row in table:
        if row["classification"] == CORE and row["q"] is not None and row["q"] < ALPHA:
            findings.claim(
                f"{row['token']} is in {100 * row['core_share']:.0f} % of the core rows of feature {spec.feature_id}, "
                f"and {row['lift']:.2g} times as common in its high rows as in all rows (associated)"
            )
        if row["classification"] != TAIL or row["high_share"] is None or row["core_share"] >= LITTLE_CORE:
            continue
        if row["high_share"] > TAIL_ENRICHMENT * row["core_share"]:
            findings.find(
                f"{row['token']} marks the tail: in {100 * row['high_share']:.0f} % of the high rows and "
                f"{100 * row['core_share']:.1f} % of the core"
            )
