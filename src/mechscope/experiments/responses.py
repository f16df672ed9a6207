"""Responses: the feature's activation in every base context under every change, legal ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import NotFoundError, UserError
from mechscope.corpora.domain import Context
from mechscope.experiments.base_contexts import Bases, reason_of
from mechscope.experiments.changes import Change
from mechscope.experiments.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["Responses", "measure"]


@dataclass(frozen=True, eq=False)
class Responses:
    """What the feature did.

    Attributes:
        names: of the changes.
        values: activations, float64 [n_bases, n_changes]; NaN where the change is illegal or not allowed.
        n_refused: how often each change could not be made, int64 [n_changes].
    """

    names: tuple[str, ...]
    values: np.ndarray
    n_refused: np.ndarray

    def deltas(self, reference: int) -> np.ndarray:
        """Paired differences to one change, float64 [n_bases, n_changes]; NaN where either is missing."""
        found: np.ndarray = self.values - self.values[:, [reference]]
        return found


def measure(
    context: ExperimentContext, feature: int, bases: Bases, changes: Sequence[Change], constraints: Constraints
) -> Responses:
    """Run every legal change of every base context through model and dictionary, each distinct input once, batched.

    An illegal or forbidden change leaves NaN and is counted, by reason, in the findings. Cost: one forward a distinct
    context, and a few microseconds a substitution.

    Raises:
        NotFoundError, UsageError: a change that no context could take (an unknown name, a rung that does not exist).
    """
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
    values = np.full((len(bases), len(changes)), np.nan)
    if contexts:
        at = np.array(places, dtype=np.int64)
        values[at[:, 0], at[:, 1]] = context.activations(contexts, feature)
    return Responses(tuple(change.name for change in changes), values, n_refused)


def _changed(context: ExperimentContext, base: Context, change: Change, constraints: Constraints) -> Context | None:
    try:
        changed = change.apply(context.domain, base)
    except NotFoundError:
        raise
    except UserError as refusal:
        constraints.refused(reason_of(refusal))
        return None
    return changed if constraints.allows(base, changed) else None
