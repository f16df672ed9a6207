"""Contexts for cores: highly active ones to search in, and held-out ones to verify in; no context is in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError, UserError, derive_seed, numpy_generator
from mechscope.corpora.domain import Context, ContextKey
from mechscope.experiments.changing.base_contexts import reason_of
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import Held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.cores.players import TokenCore
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.slicing import Slice, slice_rows
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["CoreContexts"]


@dataclass(frozen=True, eq=False)
class CoreContexts:
    """Where cores are sought and verified.

    Attributes:
        searched: contexts of the selecting half, highly active in the store.
        held_out: rows of the other half, in random order, int64.
        high: those among them that are as active as the searched ones, boolean.
        cut: the stored activation from which on a row is highly active.
    """

    searched: list[Context]
    held_out: np.ndarray
    high: np.ndarray
    cut: float
    context: ExperimentContext
    held: Held
    constraints: Constraints
    taken: frozenset[ContextKey]

    @classmethod
    def draw(
        cls,
        spec: ExperimentSpec,
        context: ExperimentContext,
        findings: Findings,
        constraints: Constraints,
        held: Held,
        *,
        quantile: float,
        n_contexts: int,
    ) -> CoreContexts:
        """Draw them from the slice; `sample_size` of the slice counts the searched ones, where it is given.

        Raises UsageError for an empty slice, or fewer than 5 searched contexts.
        """
        found = _holding(slice_rows(spec, context, findings, should_sample=False), context, held, findings)
        if not found.is_active.any():
            raise UsageError("no row of the slice is active", expected="active rows", todo="widen the slice")
        cut = float(np.quantile(found.values[found.is_active], quantile))
        _, cluster = np.unique(context.clusters_of(found.rows), return_inverse=True)
        generator = numpy_generator(derive_seed(spec.seed, "cores"), "halves")
        is_second = (generator.permutation(int(cluster.max()) + 1) % 2 == 1)[cluster.reshape(len(found))]
        is_high = found.is_active & (found.values >= cut)
        wanted = spec.dataset_slice.sample_size or n_contexts
        seed = spec.dataset_slice.seed if spec.dataset_slice.seed is not None else spec.seed
        order = numpy_generator(seed, "searched contexts").permutation(np.flatnonzero(is_high & ~is_second))
        searched: dict[ContextKey, Context] = {}
        for made in _legal(found.rows[order], context, held, constraints):
            searched.setdefault(made.key, made)
            if len(searched) == wanted:
                break
        if len(searched) < FEW:
            raise UsageError(
                f"{len(searched)} distinct contexts with the feature at or above {cut:.4g}",
                expected=f"at least {FEW}",
                todo="lower high_percentile, hold less constant, or widen the slice",
            )
        rest = generator.permutation(np.flatnonzero(is_second))
        findings.note(
            f"cores were sought in {len(searched)} contexts at or above {cut:.4g}, the {quantile:g} quantile of the "
            f"active rows, and verified on the {len(rest):,} rows of the other half"
            + (f"; held constant everywhere: {held.words}" if held.words else "")
        )
        return cls(
            list(searched.values()),
            found.rows[rest],
            is_high[rest],
            cut,
            context,
            held,
            constraints,
            frozenset(searched),
        )

    def verifying(self, n: int, *, core: TokenCore | None = None, only_high: bool = False) -> list[Context]:
        """At most `n` held-out contexts, in the order drawn: any, those that have a core, or highly active ones."""
        kept = self.high if only_high else np.ones(len(self.held_out), bool)
        if core is not None:
            kept = kept & core.rows(self.context)[self.held_out]
        found: list[Context] = []
        for made in _legal(self.held_out[kept], self.context, self.held, self.constraints):
            if len(found) == n:
                break
            if made.key not in self.taken and (core is None or core.is_in(self.context.domain, made)):
                found.append(made)
        return found


def _holding(found: Slice, context: ExperimentContext, held: Held, findings: Findings) -> Slice:
    for column, name in held.required.items():
        found = found.only(context.group_values(column) == context.known_group(column, name))
        findings.rows[f"after holding {column} {name}"] = len(found)
    if not len(found):
        raise UsageError(f"no row has {held.words}", expected="rows that have it", todo="hold less constant")
    return found


def _legal(rows: np.ndarray, context: ExperimentContext, held: Held, constraints: Constraints) -> Iterator[Context]:
    for row in rows.tolist():
        base = context.contexts_of([row])[0]
        try:
            if faults := context.domain.faults(base):
                constraints.refused(faults[0])
                continue
            made = held.change.apply(context.domain, base)
        except UserError as refusal:
            constraints.refused(reason_of(refusal))
            continue
        if constraints.allows(base, made):
            yield made
