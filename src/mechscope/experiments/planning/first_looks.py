"""Rules for what was never asked: the first look at a feature, and the types that are still left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mechscope.experiments.planning.associations import Association
from mechscope.experiments.planning.knowledge import Knowledge
from mechscope.experiments.planning.proposals import Proposal, can_ask, new_spec
from mechscope.experiments.types import CAUSAL

__all__ = ["ask_the_rest", "look_first"]

FAMILIES = 2


def look_first(known: Knowledge) -> Iterator[Proposal]:
    """Nothing known: every token once, the families that go with the feature most, and the weapons."""
    if known.records.done:
        return
    stats = known.context.inputs.store.stats(known.feature)
    seen = f"active in {stats.n_nonzero:,} of {stats.n_samples:,} samples, mean {stats.mean:.3g}"
    if can_ask(known.context, "token_influence", {}):
        yield _proposal(known, "token_influence", {}, f"nothing is known yet ({seen}): every token in turn", 100)
    for at, one in enumerate(_families(known)[:FAMILIES]):
        reason = f"nothing is known yet; {one.words}: does setting it move the feature?"
        yield _proposal(known, "family_1d_sweep", {"family": one.name}, reason, 99 - at)
    if known.context.domain.attribute_group and can_ask(known.context, "weapon_sweep", {}):
        group = known.context.domain.attribute_group
        n = len(set(known.context.group_values(group).tolist()))
        yield _proposal(known, "weapon_sweep", {}, f"nothing is known yet; does one of {n} {group}s stand out?", 97)


def ask_the_rest(known: Knowledge) -> Iterator[Proposal]:
    """What was never asked, in the order in which it usually helps; fills a plan that is short."""
    n_done = len(known.records.done)
    for at, (kind, variables, why) in enumerate(_unasked(known)):
        if can_ask(known.context, kind, variables):
            yield _proposal(known, kind, variables, f"{why} (never asked in {n_done} results)", 20 - at / 10, "unasked")


def _unasked(known: Knowledge) -> Iterator[tuple[str, dict[str, Any], str]]:
    asked = {record.kind for record in known.records.done}
    domain = known.context.domain
    if "token_influence" not in asked:
        yield "token_influence", {}, "what each token does"
    if "weapon_sweep" not in asked and (domain.groups or domain.attribute_group):
        yield "weapon_sweep", {}, "which groups stand out"
    swept = {record.text("family") for record in known.records.of("family_1d_sweep", causal=known.context.has_model)}
    unswept = [one for one in _families(known) if one.name not in swept]
    if unswept:
        yield "family_1d_sweep", {"family": unswept[0].name}, f"next family: {unswept[0].words}"
    if "binary_presence" not in asked and domain.binaries:
        yield "binary_presence", {}, f"what each of {len(domain.binaries)} binaries does"
    stats = known.context.inputs.store.stats(known.feature)
    if "decoder_output" not in asked:
        yield (
            "decoder_output",
            {},
            f"what the feature writes, up to an activation of {stats.effective_maximum or 0:.3g}",
        )
    driver = next((one for one in known.drivers if not one.is_binary), None)
    if driver is not None and "within_family_interference" not in asked:
        yield "within_family_interference", {"family": driver.name}, f"{driver.words}; do its rungs add up"
    for kind, why in (
        ("minimal_cores", "the smallest sets that activate it"),
        ("pairwise_interactions", "which pairs act together"),
        ("frequent_itemsets", f"which sets stand in the {stats.n_nonzero:,} active samples"),
        ("core_coverage", f"which tokens cover the {stats.n_nonzero:,} active samples"),
        ("split_half", f"whether its {stats.n_nonzero:,} active samples agree by halves"),
        ("shuffle_null", "what shuffled activations give"),
        ("kit_sweep", "which subs and specials go with it"),
    ):
        if kind not in asked and (kind != "kit_sweep" or domain.attributes):
            yield kind, {}, why
    for one in unswept[1:]:
        yield "family_1d_sweep", {"family": one.name}, f"next family: {one.words}"


def _families(known: Knowledge) -> list[Association]:
    return [one for one in known.associations if not one.is_binary]


def _proposal(
    known: Knowledge, kind: str, variables: dict[str, Any], reason: str, rank: float, rule: str = "first look"
) -> Proposal:
    mode = CAUSAL if kind in ("token_influence", "family_1d_sweep") and known.context.has_model else None
    spec = new_spec(known.context, known.feature, kind, variables, reason, mode=mode)
    return Proposal(rule, reason, spec, rank)
