"""The next experiments on a feature: 2 to 5 specs with a reason each, from what is known and unknown.

1. The records of the feature are read: results with their specs, and specs that wait.
2. Every rule proposes. What was run, has failed or waits with the same settings is struck out, and so is a repeat on
   more samples where one at least as large was run.
3. The highest ranks are taken, at most two of a rule before the others had their turn; what was never asked fills up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mechscope.core import NotFoundError, UsageError, UserError
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.naming import ExperimentFolders
from mechscope.experiments.planning.first_looks import ask_the_rest, look_first
from mechscope.experiments.planning.follow_ups import (
    avoid_floor,
    close_gaps,
    cross_primary,
    follow_dominant_weapon,
    probe_suppressors,
    reduce_uncertainty,
    validate_claims,
)
from mechscope.experiments.planning.knowledge import Knowledge
from mechscope.experiments.planning.proposals import Proposal
from mechscope.experiments.planning.records import NOT_SETTINGS, Records, read_records, settings_of

__all__ = ["FEWEST", "MOST", "RULES", "Plan", "plan_experiments"]

FEWEST, MOST = 2, 5
A_RULE = 2

Rule = Callable[[Knowledge], Iterator[Proposal]]
RULES: tuple[Rule, ...] = (
    look_first,
    follow_dominant_weapon,
    avoid_floor,
    cross_primary,
    close_gaps,
    validate_claims,
    probe_suppressors,
    reduce_uncertainty,
    ask_the_rest,
)


@dataclass(frozen=True)
class Plan:
    """What to run next.

    Attributes:
        proposals: the sooner the better first. known: what the plan rests on, in sentences.
        n_struck: proposals with the settings of something that was run, has failed or waits.
    """

    proposals: tuple[Proposal, ...]
    known: tuple[str, ...]
    n_struck: int


def plan_experiments(
    context: ExperimentContext,
    feature: int,
    folders: Sequence[ExperimentFolders],
    *,
    most: int = MOST,
) -> Plan:
    """The next experiments on a feature. Runs none; opens no model.

    Args:
        context: the subject. folders: where its specs and results lie.
        most: at most so many, 2 to 5.

    Raises:
        NotFoundError: no such feature.
        UsageError: `most` out of range, or a feature that is never active.
    """
    n_features = context.inputs.store.n_features
    if not 0 <= feature < n_features:
        raise NotFoundError(
            f"feature {feature} is not in subject {context.name!r}",
            expected=f"an id from 0 to {n_features - 1}",
            todo="choose one of these",
        )
    if not FEWEST <= most <= MOST:
        raise UsageError(f"a plan of {most}", expected=f"{FEWEST} to {MOST} experiments", todo="choose such a number")
    if not context.inputs.store.stats(feature).n_nonzero:
        raise UsageError(
            f"feature {feature} is never active in {context.name!r}",
            expected="a feature that is active somewhere",
            todo="choose another (`mechscope features overview` shows how often one is active)",
        )
    records = read_records(folders, context, feature)
    known = Knowledge(context, feature, records)
    fresh, n_struck = _fresh((one for rule in RULES for one in rule(known)), records, context)
    return Plan(tuple(_chosen(fresh, most)), tuple(_sentences(known)), n_struck)


def _fresh(proposals: Iterator[Proposal], records: Records, context: ExperimentContext) -> tuple[list[Proposal], int]:
    """Proposals that nothing was run for, the best rank of each first."""
    exact, sizes = set(), dict[str, int]()
    for spec in records.specs:
        try:
            exact.add(settings_of(spec, context))
            text = settings_of(spec, context, without=NOT_SETTINGS)
        except UserError:  # a spec that cannot run here stands in no one's way
            continue
        size = spec.dataset_slice.sample_size
        sizes[text] = max(sizes.get(text, 0), size or 0)
    found, n_struck, taken = [], 0, set[str]()
    for one in sorted(proposals, key=lambda proposal: -proposal.rank):
        settings = settings_of(one.spec, context)
        alike = settings_of(one.spec, context, without=NOT_SETTINGS)
        size = one.spec.dataset_slice.sample_size
        if settings in exact or (alike in sizes and (size is None or sizes[alike] >= size)):
            n_struck += 1
        elif alike not in taken:
            taken.add(alike)
            found.append(one)
    return found, n_struck


def _chosen(fresh: Sequence[Proposal], most: int) -> list[Proposal]:
    """The highest ranks, two of a rule before a third; first looks belong together."""
    counts: dict[str, int] = {}
    first: list[Proposal] = []
    later: list[Proposal] = []
    for one in fresh:
        counts[one.rule] = counts.get(one.rule, 0) + 1
        (first if counts[one.rule] <= A_RULE or one.rule == "first look" else later).append(one)
    return sorted([*first, *later][:most], key=lambda one: -one.rank)


def _sentences(known: Knowledge) -> Iterator[str]:
    records = known.records
    n_claims = sum(len(record.result.claims) for record in records.done)
    yield f"{len(records.done)} results, {len(records.failed)} failed, {n_claims} claims"
    if records.waiting:
        yield f"{len(records.waiting)} specs wait to be run: " + ", ".join(s.file_name for s in records.waiting)
    yield from (f"left out: {n} times {reason}" for reason, n in records.skipped)
    if records.done:
        yield from (f"driver: {one.words}" for one in known.drivers[:3])
        yield from (f"lowers it: {one.words}" for one in known.suppressors[:3])
    yield from (
        f"reliability {record.number('reliability') or 0:.2f} (split_half {record.id})"
        for record in records.of("split_half")[:1]
    )
