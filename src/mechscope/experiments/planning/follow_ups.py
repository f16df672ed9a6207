"""Rules that follow from results: each says what to measure next, and on which number and record that rests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mechscope.experiments.changing.cells import FEW, MODERATE
from mechscope.experiments.kind import find_kind
from mechscope.experiments.planning.knowledge import VALIDATIONS, Knowledge, Mover
from mechscope.experiments.planning.proposals import Proposal, can_ask, changed, new_spec
from mechscope.experiments.planning.records import Record
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.experiments.words import group_word

__all__ = [
    "avoid_floor",
    "close_gaps",
    "cross_primary",
    "follow_dominant_weapon",
    "probe_suppressors",
    "reduce_uncertainty",
    "validate_claims",
]

RELIABLE = 0.7
FEW_CONTEXTS = 60
MOST_CONTEXTS = 2000
MOST_CROSSED = 3
HIGH_ROWS = {"percentile_min": 75.0, "percentile_max": 100.0, "zeros": False}
ABOVE_FLOOR = {"percentile_min": 50.0, "percentile_max": 100.0, "zeros": False}


def follow_dominant_weapon(known: Knowledge) -> Iterator[Proposal]:
    """DOMINANT WEAPON (or another group): is it the weapon, or its sub or special?"""
    for record in known.records.of("weapon_sweep"):
        if record.text("recommended_followup") != "kit_sweep" or not can_ask(known.context, "kit_sweep", {}):
            continue
        delta, second = record.number("top_delta"), record.number("second_delta")
        group = record.text("group") or group_word(known.context.domain)
        reason = (
            f"DOMINANT {group.upper()} {record.text('dominant_weapon')} (delta {_said(delta)}, the next "
            f"{_said(second)}; weapon_sweep {record.id}): its sub or special may be what the feature follows"
        )
        spec = new_spec(
            known.context, known.feature, "kit_sweep", {"analyze_combinations": True}, reason, mode=OBSERVED
        )
        yield Proposal("dominant weapon", reason, spec, 90)
        return


def avoid_floor(known: Knowledge) -> Iterator[Proposal]:
    """A feature at its floor in most contexts: before the ReLU where the type can, else where it is active."""
    for record in reversed(known.records.done):
        told = record.result.diagnostics
        if not told.relu_floor_detected or record.spec is None or not record.spec.dataset_slice.zeros:
            continue
        rate = f"{100 * (told.relu_floor_rate or 0):.0f} % of {told.n_contexts_tested} contexts"
        says = f"the feature is at zero in every condition in {rate} ({record.kind} {record.id})"
        before = {**record.spec.variables, "scale": "pre_activation"}
        if record.spec.variables.get("scale") != "pre_activation" and can_ask(known.context, record.kind, before):
            reason = f"{says}: the same before the ReLU, where no floor hides a fall"
            spec = changed(record, reason, variables=before)
        else:
            reason = f"{says}: the same in the upper half of the active rows"
            spec = changed(record, reason, dataset_slice=record.spec.dataset_slice.to_json() | ABOVE_FLOOR)
        if spec is not None:
            yield Proposal("relu floor", reason, spec, 85)


def cross_primary(known: Knowledge) -> Iterator[Proposal]:
    """A confirmed driver against what may act with it."""
    if not known.drivers or not can_ask(known.context, "family_2d_heatmap", {"family_x": "a", "family_y": "b"}):
        return
    primary = known.drivers[0]
    crossed = {
        frozenset((known.name_of(spec.variables.get("family_x")), known.name_of(spec.variables.get("family_y"))))
        for spec in known.records.specs
        if find_kind(spec.type).name == "family_2d_heatmap"
    }
    if sum(primary.name in pair for pair in crossed) >= MOST_CROSSED:
        return
    for name, why in _secondaries(known, primary):
        if frozenset((primary.name, name)) in crossed:
            continue
        reason = f"primary {primary.words}; secondary {why}: do they add up?"
        spec = new_spec(
            known.context, known.feature, "family_2d_heatmap", {"family_x": primary.name, "family_y": name}, reason
        )
        yield Proposal("primary x secondary", reason, spec, 80)
        return


def _secondaries(known: Knowledge, primary: Mover) -> Iterator[tuple[str, str]]:
    """Names that may act with the primary, and the number for each: what interventions showed comes first."""
    for mover in known.movers:
        if mover.name != primary.name:
            yield mover.name, mover.words
    for one in known.associations:
        if one.name != primary.name and one.share > 0:
            yield one.name, one.words


def close_gaps(known: Knowledge) -> Iterator[Proposal]:
    """What rows show and nothing was changed for."""
    for record in reversed(known.records.done):
        if record.result.evidence != OBSERVED or record.spec is None or record.kind in VALIDATIONS:
            continue
        says = next(iter(record.result.claims), "")
        if not says or not can_ask(known.context, record.kind, record.spec.variables, CAUSAL):
            continue
        reason = f"only observed so far, n = {_n(record):,} ({record.kind} {record.id}: {says}): the same intervened"
        sliced = record.spec.dataset_slice.to_json() | {"sample_size": None}
        spec = changed(record, reason, mode=CAUSAL, dataset_slice=sliced)
        if spec is not None:
            yield Proposal("evidence gap", reason, spec, 75)


def validate_claims(known: Knowledge) -> Iterator[Proposal]:
    """After a claim: does the feature come out again on other rows, and above shuffled activations?"""
    if not known.claimed:
        return
    claim = known.claimed[0]
    says = f"{claim.kind} {claim.id} claims that {claim.result.claims[0]} (n = {_n(claim):,})"
    for kind, asks in (
        ("split_half", "does the feature come out again on another half of the rows?"),
        ("shuffle_null", "is it more than shuffled activations give?"),
    ):
        if not known.records.of(kind) and can_ask(known.context, kind, {}):
            reason = f"{says}; {asks}"
            yield Proposal("validation", reason, new_spec(known.context, known.feature, kind, {}, reason), 70)
    for record in known.records.of("split_half")[:1]:
        reliability = record.number("reliability")
        if reliability is not None and reliability < RELIABLE:
            reason = (
                f"split-half reliability is {reliability:.2f}, below {RELIABLE} (split_half {record.id}): {claim.kind} "
                f"{claim.id} again on other and more samples (n = {_n(claim):,} then)"
            )
            spec = _larger(claim, reason)
            if spec is not None:
                yield Proposal("validation", reason, spec, 72)


def probe_suppressors(known: Knowledge) -> Iterator[Proposal]:
    """What lowers the feature, where there is something to lower."""
    binaries = [one for one in known.suppressors if one.is_binary]
    asked: list[tuple[str, dict[str, Any], list[Mover]]] = [
        ("family_1d_sweep", {"family": one.name}, [one]) for one in known.suppressors if not one.is_binary
    ]
    if binaries:
        asked.insert(0, ("binary_presence", {"tokens": sorted(one.name for one in binaries)}, binaries))
    asked.sort(key=lambda one: one[2][0].delta)
    for kind, variables, movers in asked:
        if not can_ask(known.context, kind, variables, CAUSAL):
            continue
        more = f" and {len(movers) - 1} more binaries" if len(movers) > 1 else ""
        where = "so there (top quarter of the active rows)"
        reason = f"{movers[0].words}{more}: a fall shows in full only in high rows, {where}"
        spec = new_spec(known.context, known.feature, kind, variables, reason, mode=CAUSAL, dataset_slice=HIGH_ROWS)
        yield Proposal("suppressor", reason, spec, 65)


def reduce_uncertainty(known: Knowledge) -> Iterator[Proposal]:
    """Few base contexts, few samples behind the strongest cell, or an interval too wide to say anything."""
    for record in reversed(known.records.done):
        if not record.is_causal or record.spec is None:
            continue
        says = _doubt(record)
        if not says:
            continue
        reason = f"{says} ({record.kind} {record.id}): the same on more contexts"
        spec = _larger(record, reason)
        if spec is not None:
            yield Proposal("uncertainty", reason, spec, 60)


def _doubt(record: Record) -> str:
    """What is uncertain about an intervention, in numbers; empty when nothing is."""
    n = record.result.diagnostics.n_contexts_tested
    asked = record.spec.dataset_slice.sample_size if record.spec is not None else None
    if asked is not None and n < asked / 2:
        return ""  # there are no more contexts to be had
    if 0 < n < FEW_CONTEXTS:
        return f"only {n} base contexts"
    cells = [
        (name, row)
        for name, table in record.result.tables.items()
        if {"mean_delta", "low", "high", "n"} <= set(table.columns) and not name.startswith(("observed", "off_"))
        for row in table.rows
        if isinstance(row.get("mean_delta"), float)
    ]
    least = record.number("min_effect")
    strong = [
        (name, row)
        for name, row in cells
        if least and abs(_number(row, "mean_delta")) >= least and _number(row, "n") >= FEW
    ]
    for name, row in sorted(strong, key=lambda one: -abs(_number(one[1], "mean_delta")))[:1]:
        if FEW <= _number(row, "n") <= MODERATE:
            return f"the largest change in {name} ({_number(row, 'mean_delta'):+.3g}) rests on n = {row['n']}"
    wide = [(name, row) for name, row in strong if _number(row, "low") <= 0 <= _number(row, "high")]
    if strong and len(wide) > len(strong) / 2:
        name, row = wide[0]
        ends = f"{_number(row, 'mean_delta'):+.3g} [{_number(row, 'low'):+.3g}, {_number(row, 'high'):+.3g}]"
        return f"{len(wide)} of {len(strong)} changes in {name} have intervals across 0, such as {ends}, n = {row['n']}"
    return ""


def _larger(record: Record, reason: str) -> Any:
    """The same on four times as many samples and another seed; None where it is as large as it gets."""
    if record.spec is None:
        return None
    n = record.spec.dataset_slice.sample_size or max(record.result.diagnostics.n_contexts_tested, 1)
    if n >= MOST_CONTEXTS:
        return None
    size = min(MOST_CONTEXTS, max(4 * n, 200)) if record.is_causal else None
    sliced = record.spec.dataset_slice.to_json() | {"sample_size": size, "seed": None}
    return changed(record, reason, seed=record.spec.seed + 1, dataset_slice=sliced)


def _n(record: Record) -> int:
    return record.result.aggregates.n_samples or record.result.diagnostics.n_contexts_tested


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.3g}"


def _number(row: Any, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else float("nan")
