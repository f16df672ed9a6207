"""Base contexts of an intervention: real rows, drawn evenly from the regions of the feature's activation.

Regions are the rows at zero and the quarters of the active rows by rank. Each gives as many base contexts as the
others, as far as it has them, so that both what raises the feature and what silences it can be seen; the mean over base
contexts is therefore not the mean over the corpus, which `weights` give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from mechscope.core import UsageError, UserError, numpy_generator
from mechscope.corpora.domain import Context
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.changing.constraints import ILLEGAL_ROW, Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.slicing import Slice, slice_rows
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["BASES", "REGION_NAMES", "Bases", "draw_bases"]

BASES = 500
FEWEST_BASES = 5
N_QUARTERS = 4
ENOUGH_AT_ZERO, UNDERSAMPLED = 30, 1.5
READ_AT_ONCE = 128
Read = tuple[int, Context, str | None]
"""Index into the slice, context of that row, and the rule that it breaks."""
REGION_NAMES = (
    "zero",
    "active, lowest quarter",
    "active, second quarter",
    "active, third quarter",
    "active, top quarter",
)


@dataclass(frozen=True, eq=False)
class Bases:
    """Base contexts, with what is held constant already in them.

    Attributes:
        contexts: legal, n of them.
        stored: activation of the row each came from, before anything was substituted, float64 [n].
        region: index into `REGION_NAMES` of that activation, int64 [n].
        weights: what each stands for among the rows of the slice, mean 1, float64 [n].
        clusters: equal where two are not independent (one document, or the same tokens), int64 [n].
        is_held_out: the half that confirms what the other half selected, boolean [n]; clusters are never cut.
    """

    contexts: list[Context]
    stored: np.ndarray
    region: np.ndarray
    weights: np.ndarray
    clusters: np.ndarray
    is_held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.contexts)


def draw_bases(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    *,
    held: Held | None = None,
    n_bases: int = BASES,
) -> Bases:
    """Base contexts from the spec's slice; `sample_size` of the slice counts them, `n_bases` where it is not given.

    Args:
        spec, context: the experiment and its subject.
        findings: takes what was left out, counted.
        held: what stays constant: substituted in (a row where that is illegal is dropped) or required of the row.
        n_bases: how many when the spec does not say.

    Raises:
        UsageError: an empty slice, or fewer than 5 base contexts; the commonest rule that refused is named.
        NotFoundError: an unknown group, name or family.
    """
    held = held or Held()
    found = slice_rows(spec, context, findings, should_sample=False)
    for column, name in held.required.items():
        found = found.only(context.group_values(column) == context.known_group(column, name))
        findings.rows[f"after holding {column} {name}"] = len(found)
    wanted = spec.dataset_slice.sample_size or n_bases
    seed = spec.dataset_slice.seed if spec.dataset_slice.seed is not None else spec.seed
    constraints = Constraints(spec.constraints, context, findings)
    drawn, contexts, region = _draw(found, context, constraints, held, wanted, seed)
    if len(drawn) < FEWEST_BASES:
        reasons = sorted(findings.dropped.items(), key=lambda item: -item[1])
        raise UsageError(
            f"{len(drawn)} base contexts" + (f" hold {held.words}" if held.words else ""),
            expected=f"at least {FEWEST_BASES}",
            todo=f"widen the slice, or hold less constant (refused most often: {reasons[0][0]})"
            if reasons
            else "widen the slice",
        )
    clusters = _clusters(context, contexts)
    chosen = numpy_generator(seed, "held-out half").permutation(int(clusters.max()) + 1)
    findings.note(
        f"{len(drawn)} base contexts from {len(found):,} rows of the slice, in equal numbers from the rows at zero and "
        "from each quarter of the active rows, as far as there are"
        + (f"; held constant in all of them: {held.words}" if held.words else "")
    )
    weights = _weights(_regions(found.values), region)
    n_zero = int((region == 0).sum())
    if 0 < n_zero < ENOUGH_AT_ZERO and weights[region == 0][0] > UNDERSAMPLED:
        findings.warn(
            f"only {n_zero} base contexts are at zero, where most rows are: whether a fall is more than the falling "
            f"back of contexts active by chance is better told with {ENOUGH_AT_ZERO * len(REGION_NAMES)} or more"
        )
    return Bases(
        contexts=contexts,
        stored=found.values[drawn],
        region=region,
        weights=weights,
        clusters=clusters,
        is_held_out=(chosen % 2 == 1)[clusters],
    )


def _draw(
    found: Slice, context: ExperimentContext, constraints: Constraints, held: Held, wanted: int, seed: int
) -> tuple[np.ndarray, list[Context], np.ndarray]:
    """Index into the slice, context and region of each base context; regions take turns until there are enough."""
    generator = numpy_generator(seed, "base contexts")
    regions = _regions(found.values)
    n_read = min(READ_AT_ONCE, wanted // len(REGION_NAMES) + 1)
    orders = [generator.permutation(np.flatnonzero(regions == region)) for region in range(len(REGION_NAMES))]
    # what every region gives first is read in one go: most draws need no more
    begun = _read(found.rows, np.concatenate([order[:n_read] for order in orders]), context, constraints)
    firsts = [list(islice(begun, len(order[:n_read]))) for order in orders]
    waiting = [
        _legal_ones(
            chain(first, _contexts(found.rows, order[n_read:], context, constraints)), context, constraints, held
        )
        for first, order in zip(firsts, orders, strict=True)
    ]
    drawn: list[tuple[int, Context]] = []
    while waiting and len(drawn) < wanted:
        for source in list(waiting):
            taken = next(source, None)
            if taken is None:
                waiting.remove(source)
            elif len(drawn) < wanted:
                drawn.append(taken)
    index = np.array([at for at, _ in drawn], dtype=np.int64)
    return index, [made for _, made in drawn], regions[index] if len(index) else index


def _legal_ones(
    read: Iterable[Read], context: ExperimentContext, constraints: Constraints, held: Held
) -> Iterator[tuple[int, Context]]:
    for at, base, broken in read:
        if broken:
            constraints.refused(broken, what=ILLEGAL_ROW)
            continue
        try:
            made = held.change.apply(context.domain, base)
        except UserError as refusal:
            constraints.refused(reason_of(refusal), what=f"base context that cannot hold {held.words}")
            continue
        if made is base or constraints.allows(base, made):
            yield at, made


def _contexts(
    rows: np.ndarray, order: np.ndarray, context: ExperimentContext, constraints: Constraints
) -> Iterator[Read]:
    """Readings in order, some at a time as they are asked for."""
    for start in range(0, len(order), READ_AT_ONCE):
        yield from _read(rows, order[start : start + READ_AT_ONCE], context, constraints)


def _read(rows: np.ndarray, at: np.ndarray, context: ExperimentContext, constraints: Constraints) -> Iterator[Read]:
    """The contexts of rows[at], together: to read and judge them one by one costs ten times as much."""
    contexts = context.contexts_of(rows[at])
    return zip(at.tolist(), contexts, constraints.broken_rules(contexts), strict=True)


def reason_of(refusal: UserError) -> str:
    """The rule that a refused substitution broke, without the context that it was about."""
    return refusal.seen.rsplit(" is illegal: ", 1)[-1]


def _regions(values: np.ndarray) -> np.ndarray:
    """0 at zero, 1 to 4 by the quarter among active rows (by rank, ties in order of the rows)."""
    regions = np.zeros(len(values), np.int64)
    active = np.flatnonzero(values > 0)
    order = active[np.argsort(values[active], kind="stable")]
    regions[order] = 1 + np.arange(len(order)) * N_QUARTERS // max(1, len(order))
    return regions


def _weights(all_regions: np.ndarray, region: np.ndarray) -> np.ndarray:
    shares = np.bincount(all_regions, minlength=len(REGION_NAMES)) / len(all_regions)
    drawn = np.bincount(region, minlength=len(REGION_NAMES)) / len(region)
    weights = shares[region] / drawn[region]
    scaled: np.ndarray = weights / weights.mean()
    return scaled


def _clusters(context: ExperimentContext, contexts: list[Context]) -> np.ndarray:
    if context.corpus.names_with_role("document", "row"):
        return context.clusters_of(np.array([made.row for made in contexts], dtype=np.int64))
    known: dict[object, int] = {}
    return np.array([known.setdefault(made.key, len(known)) for made in contexts], dtype=np.int64)
