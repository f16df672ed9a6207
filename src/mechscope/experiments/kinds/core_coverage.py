"""How much of a feature's activity a proposed signature covers: is a token of its core, or only of its tail?

Rows are counted in four places: all rows of the slice; active rows; the core (activation between 25 and 75 % of the
effective maximum); and high rows (at or above a quantile of the active rows). A token that headlines a feature is in
more than half of the core rows; one in under 30 % marks a tail, however much it is enriched among the highest rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.changes import parse_held, token_change
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.changing.token_effects import token_names
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.dots import DotSeries, dots_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.enrichment import count_packed_in_high
from mechscope.experiments.observing.levels import rows_holding_constant, second_half
from mechscope.experiments.observing.levels_of_activity import as_quantile
from mechscope.experiments.observing.slicing import slice_rows
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import OBSERVED
from mechscope.reports import Figure
from mechscope.stats import wilson

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
    "lift", "tail_enrichment", "p", "p_corrected", "first_core_share", "second_core_share", "flag",
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
        stable_tokens, stable_groups, stable_weapon: what every row counted has, as in a sweep.
    """

    tokens: tuple[str, ...] = ()
    threshold: float = 0.9
    n_candidates: int = Field(default=20, ge=1)
    most_together: int = Field(default=3, ge=1, le=4)
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None

    @field_validator("tokens", mode="before")
    @classmethod
    def _commas_part_tokens(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("threshold")
    @classmethod
    def _is_a_quantile(cls, value: float) -> float:
        return as_quantile(value, "threshold")

    @property
    def groups_held(self) -> dict[str, str]:
        """`stable_groups` with the weapon in it."""
        return self.stable_groups | ({} if self.stable_weapon is None else {"weapon": self.stable_weapon})


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
        held = parse_held(
            context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=variables.groups_held
        )
        findings.add(held=held.words)
        found = slice_rows(spec, context, findings)
        if held.words:
            found = rows_holding_constant(found, context, held)
            findings.rows[f"after holding {held.words}"] = len(found)
        rows = _Places.of(found.values, variables.threshold, context, found.rows, spec)
        findings.n_contexts_tested = len(found)
        findings.note(
            f"high: the {rows.n['high']:,} rows at or above {rows.cut:.4g}, the {variables.threshold:g} quantile "
            f"of the {rows.n['active']:,} active rows; core: the {rows.n['core']:,} rows between "
            f"{CORE_ENDS[0]:g} and {CORE_ENDS[1]:g} of the effective maximum {rows.top:.4g}; shares with Wilson "
            "intervals, which take rows as independent; lift: share of high rows over share of all rows; p: "
            "hypergeometric, two-sided, high against the others; p_corrected: max-T over all signatures; classified by "
            "both halves alike, or left unsettled"
        )
        if rows.n["high"] < FEW or rows.n["core"] < FEW:
            findings.warn(f"{rows.n['high']} high and {rows.n['core']} core rows: under {FEW} are not interpreted")
        named = list(variables.tokens) or _candidates(context, rows, variables.n_candidates)
        tested = rows.corpus if variables.tokens else rows.second
        if not variables.tokens:
            findings.note("tokens were taken by their lift in one half of the rows; p is that of the other half")
        masks = {name: _holding(context, name) & rows.corpus for name in named}
        table = [{"token": name, **rows.count(mask)} for name, mask in masks.items()]
        together = list(_combined(masks, variables.most_together))
        combined = [
            {"tokens": " + ".join(names), **rows.count(mask), **rows.beyond(mask, [masks[name] for name in names])}
            for names, mask in together
        ]
        every = np.stack([*masks.values(), *(mask for _, mask in together)])
        told = count_packed_in_high(
            every & tested, rows.high & tested, _count(tested), seed=derive_seed(spec.seed, "core coverage")
        )
        for at, row in enumerate((*table, *combined)):
            row |= {"p": told["p"][at], "p_corrected": told["p_corrected"][at]}
        findings.n_comparisons = len(table) + len(combined)
        findings.table("token_coverage", COLUMNS, table, caption="OBSERVATIONAL: where rows with the token lie.")
        if combined:
            findings.table(
                "combination_coverage",
                COMBINATION_COLUMNS,
                combined,
                caption="OBSERVATIONAL: rows with all of the tokens; expected: if they were independent in high rows.",
            )
        _conclude(table, spec, findings, rows.n["high"])

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The share of each token in the high, core and all rows, with the bars that headline and tail lie at."""
        table = result.tables["token_coverage"]
        series = [
            DotSeries(f"{place} rows", table.rows, f"{place}_share", f"{place}_low", f"{place}_high", f"{place}_n")
            for place in ("high", "core", "corpus")
        ]
        return {
            "coverage": dots_figure(
                series,
                row_name="token",
                order=[str(row["token"]) for row in table.rows],
                title=f"Where rows with a token lie, feature {result.feature_id}",
                caption="Share of the rows that hold the token, Wilson intervals; line: half of them, from which on a "
                "token may headline the core.",
                value_title="share of rows with the token",
                reference=HEADLINE,
            )
        }


@dataclass(frozen=True, eq=False)
class _Places:
    """Rows of the corpus packed into bits, uint64 [words], those of the slice alone; the halves check each other.

    Attributes:
        n: how many rows are `high`, `core`, `active` and `corpus`.
    """

    high: np.ndarray
    core: np.ndarray
    active: np.ndarray
    corpus: np.ndarray
    second: np.ndarray
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
        second = second_half(context.clusters_of(rows), derive_seed(spec.seed, "core coverage"))
        masks = (active & (values >= cut), core, active, np.ones(len(values), bool), second)
        high, core, of_active, everything, of_second = (context.packed_rows(rows[mask]) for mask in masks)
        return cls(high, core, of_active, everything, of_second, cut, top)

    @cached_property
    def n(self) -> dict[str, int]:
        return {place: _count(getattr(self, place)) for place in ("high", "core", "active", "corpus")}

    def count(self, mask: np.ndarray) -> dict[str, Any]:
        """The columns of a signature that these rows hold."""
        n_with = _count(mask)
        found: dict[str, Any] = {"n_with": n_with}
        for place in PLACES:
            k, n = _count(mask & getattr(self, place)), self.n[place]
            low, high = wilson(k, n)
            share = k / n if n else None
            found |= dict(zip((f"{place}_{part}" for part in ("share", "low", "high", "n")),
                              (share, float(low), float(high), n), strict=True))  # fmt: skip
        halves = [_share(mask, self.core & half) for half in (~self.second, self.second)]
        return found | {
            "classification": _classify(halves, self.n["core"]),
            "lift": _ratio(found["high_share"], found["corpus_share"]),
            "tail_enrichment": _ratio(found["high_share"], found["core_share"]),
            "first_core_share": halves[0],
            "second_core_share": halves[1],
            "flag": flag_of(min(self.n["core"], self.n["high"], n_with)),
        }

    def beyond(self, mask: np.ndarray, parts: Sequence[np.ndarray]) -> dict[str, Any]:
        """The share of high rows if the parts were independent there, and how many times that the share is."""
        shares = [_count(one & self.high) / max(1, self.n["high"]) for one in (mask, *parts)]
        expected = float(np.prod(shares[1:]))
        return {"expected_high_share": expected, "beyond_independence": _ratio(shares[0], expected)}


def _count(words: np.ndarray) -> int:
    return int(np.bitwise_count(words).sum())


def _share(mask: np.ndarray, inside: np.ndarray) -> float | None:
    n = _count(inside)
    return _count(mask & inside) / n if n >= FEW else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _classify(halves: Sequence[float | None], n_core: int) -> str:
    if n_core < FEW or any(share is None for share in halves):
        return FEW_ROWS
    said = {CORE if share > HEADLINE else PARTIAL if share >= NOTES else TAIL for share in halves if share is not None}
    return said.pop() if len(said) == 1 else UNSETTLED


def _holding(context: ExperimentContext, name: str) -> np.ndarray:
    """Which rows of the corpus hold a token, at least a rung, or all parts of a combination, packed [words]."""
    held = context.packed_rows(np.arange(context.corpus.n_rows))
    for part in name.split("+"):
        change = token_change(context.domain, context.corpus.vocabulary, part)
        for family, rung in change.rungs.items():
            held &= context.packed_rows(np.flatnonzero(context.family_rungs(family) >= rung))
        for token in (*(context.domain.binaries[binary] for binary in change.binaries), *change.tokens_on):
            held &= context.packed_rows_with(token)
    return held


def _candidates(context: ExperimentContext, places: _Places, n: int) -> list[str]:
    """The tokens with the largest lift in the high rows of the first half, of those in at least 5 of them."""
    names = [name for name in token_names(context, must_switch=False) if "+" not in name]
    ids = {name: index for index, name in enumerate(context.corpus.vocabulary)}
    first = places.corpus & ~places.second
    lifts = {}
    for name in names:
        mask = context.packed_rows_with(ids[name]) & first
        n_high = _count(mask & places.high)
        if n_high >= FEW:
            lifts[name] = n_high / _count(mask)
    if not lifts:
        raise UsageError(
            f"no token is in {FEW} of the {_count(places.high & first)} high rows that candidates are taken from",
            expected="a slice with more active rows, or tokens by name",
            todo=f'widen the slice, or name them: "tokens": ["{next(iter(names), "a token")}"]',
        )
    return sorted(lifts, key=lambda name: -lifts[name])[:n]


def _combined(masks: dict[str, np.ndarray], most: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    singles = list(masks)[:MOST_IN_COMBINATIONS]
    for size in range(2, most + 1):
        for names in combinations(singles, size):
            yield names, np.bitwise_and.reduce([masks[name] for name in names])


def _conclude(table: list[dict[str, Any]], spec: ExperimentSpec, findings: Findings, n_high: int) -> None:
    by_class = {kind: [row["token"] for row in table if row["classification"] == kind]
                for kind in (CORE, PARTIAL, TAIL, UNSETTLED)}  # fmt: skip
    findings.aggregate(n_samples=n_high)
    findings.add(**{f"{kind}_tokens": names for kind, names in by_class.items()})
    for row in table:
        is_told = row["lift"] is not None and row["lift"] > 1 and row["p_corrected"] < ALPHA
        if row["classification"] == CORE and is_told:
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
