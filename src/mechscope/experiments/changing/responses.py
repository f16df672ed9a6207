"""Responses: the feature's activation in every base context under every change, legal ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import NotFoundError, UserError
from mechscope.corpora.domain import Context
from mechscope.corpora.substituted_rows import SubstitutedRows, TableDomain
from mechscope.experiments.changing.activation import ActivationFunction
from mechscope.experiments.changing.base_contexts import Bases, reason_of
from mechscope.experiments.changing.changes import Change
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["Responses", "measure"]


@dataclass(frozen=True, eq=False)
class Responses:
    """What the feature did.

    Attributes:
        names: of the changes.
        values: activations, float64 [n_bases, n_changes]; NaN where the change is illegal or not allowed.
        before_floor: the same before ReLU or TopK selects; None unless it was asked for.
        n_refused: how often each change could not be made, int64 [n_changes].
    """

    names: tuple[str, ...]
    values: np.ndarray
    n_refused: np.ndarray
    before_floor: np.ndarray | None = None

    def deltas(self, reference: int) -> np.ndarray:
        """Paired differences to one change, float64 [n_bases, n_changes]; NaN where either is missing."""
        found: np.ndarray = self.values - self.values[:, [reference]]
        return found


def measure(
    context: ExperimentContext,
    feature: int,
    bases: Bases,
    changes: Sequence[Change],
    constraints: Constraints,
    *,
    should_look_below: bool = False,
) -> Responses:
    """Run every legal change of every base context through model and dictionary, each distinct input once, batched.

    An illegal or forbidden change leaves NaN and is counted, by reason, in the findings. `should_look_below` also
    keeps what the feature is before its floor. Cost: one forward a distinct context, and a microsecond or a
    few a substitution.

    Raises:
        NotFoundError, UsageError: a change that no context could take (an unknown name, a rung that does not exist).
    """
    activations = context.activations
    rows = _as_table(context, bases, changes, constraints) if isinstance(activations, ActivationFunction) else None
    values = np.full((len(bases), len(changes)), np.nan)
    before = values.copy() if should_look_below else None
    # what lies before the floor first, so that the same forwards give the activations
    if rows is None:
        contexts, at, n_refused = _one_by_one(context, bases, changes, constraints)
        if contexts and before is not None:
            before[at] = activations.before_floor(contexts, feature)
        if contexts:
            values[at] = activations(contexts, feature)
    else:
        at, n_refused = (rows.context, rows.change), _logged(rows, len(changes), constraints)
        if before is not None:
            before[at] = activations.before_floor_of_rows(rows.tokens, rows.inputs, feature)[rows.row]
        values[at] = activations.of_rows(rows.tokens, rows.inputs, feature)[rows.row]
    return Responses(tuple(change.name for change in changes), values, n_refused, before)


def _logged(rows: SubstitutedRows, n_changes: int, constraints: Constraints) -> np.ndarray:
    """How often each change was refused; the reasons are logged."""
    n_refused, by_reason = np.zeros(n_changes, np.int64), dict[str, int]()
    for (column, reason), n in rows.refused.items():
        n_refused[column] += n
        by_reason[reason] = by_reason.get(reason, 0) + n
    for reason, n in by_reason.items():
        constraints.refused(reason, n=n)
    return n_refused


def _as_table(
    context: ExperimentContext, bases: Bases, changes: Sequence[Change], constraints: Constraints
) -> SubstitutedRows | None:
    """All changes at once, where the domain can and no constraint looks at single contexts."""
    if not isinstance(context.domain, TableDomain) or constraints.looks_at_contexts:
        return None
    return context.domain.substitute_table(bases.contexts, [change.arguments for change in changes])


def _one_by_one(
    context: ExperimentContext, bases: Bases, changes: Sequence[Change], constraints: Constraints
) -> tuple[list[Context], tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The legal contexts, their base and change, and how often each change could not be made."""
    contexts: list[Context] = []
    places: list[tuple[int, int]] = []
    n_refused = np.zeros(len(changes), np.int64)
    for column, change in enumerate(changes):
        for row, base in enumerate(bases.contexts):
            changed = _changed(context, base, change, constraints)
            if changed is None:
                n_refused[column] += 1
                continue
            contexts.append(changed)
            places.append((row, column))
    at = np.array(places, dtype=np.int64).reshape(-1, 2)
    return contexts, (at[:, 0], at[:, 1]), n_refused


def _changed(context: ExperimentContext, base: Context, change: Change, constraints: Constraints) -> Context | None:
    try:
        changed = change.apply(context.domain, base)
    except NotFoundError:
        raise
    except UserError as refusal:
        constraints.refused(reason_of(refusal))
        return None
    return changed if constraints.allows(base, changed) else None
