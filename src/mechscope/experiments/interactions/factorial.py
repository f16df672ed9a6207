"""Factorial designs on base contexts: every combination of two or three factors, paired, on several scales.

A design's corners are the 2^k combinations of its k factors being there or not, all else as the base context has it.
A base context counts for a design when all its corners are legal and allowed. Two base contexts that differ in the
factors alone have the same corners; the later one is left out, so that no corner is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechscope.core import NotFoundError, UserError
from mechscope.corpora.domain import Context
from mechscope.experiments.algorithms import corner_signs
from mechscope.experiments.changing.base_contexts import Bases, reason_of
from mechscope.experiments.changing.changes import Change
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.interactions.factors import Factor

__all__ = ["Corners", "Design", "Scale", "measure_corners", "scale_words"]

Design = tuple[Factor, ...]
Scale = Literal["pre_activation", "activation", "log"]


@dataclass(frozen=True, eq=False)
class Corners:
    """The feature at the corners of designs of k factors each.

    Attributes:
        designs: of k factors each.
        activation, before: after and before the dictionary's ReLU or TopK, float64 [n_bases, n_designs, 2^k]; bit b
            of a corner's number says that factor b is there. NaN where a base context does not count for a design.
        n_refused: base contexts with an illegal corner, int64 [n_designs].
    """

    designs: tuple[Design, ...]
    activation: np.ndarray
    before: np.ndarray
    n_refused: np.ndarray

    @property
    def order(self) -> int:
        """k."""
        return len(self.designs[0])

    def on(self, scale: Scale) -> np.ndarray:
        """Values at the corners on a scale; "log" is NaN wherever a corner of the design is at zero."""
        if scale == "pre_activation":
            return self.before
        return np.log(self.above_floor()) if scale == "log" else self.activation

    def above_floor(self) -> np.ndarray:
        """Activations of the base contexts with all corners above zero, NaN for the others."""
        is_above = (self.activation > 0).all(axis=2, keepdims=True)
        return np.where(is_above, self.activation, np.nan)

    def differences(self, scale: Scale) -> np.ndarray:
        """The difference of order k of each base context and design, float64 [n_bases, n_designs]."""
        found: np.ndarray = self.on(scale) @ corner_signs(self.order)
        return found


def measure_corners(
    context: ExperimentContext, feature: int, bases: Bases, designs: Sequence[Design], constraints: Constraints
) -> Corners:
    """Run the corners of every design in every base context where all of them are legal, each input once, batched.

    Refusals are counted by reason in the findings. Cost: one forward a distinct corner.

    Raises NotFoundError or UsageError for factors that no context can take.
    """
    changes = [_corner_changes(design) for design in designs]
    contexts: list[Context] = []
    places: list[tuple[int, int]] = []
    n_refused = np.zeros(len(designs), np.int64)
    for column, (design, corners) in enumerate(zip(designs, changes, strict=True)):
        seen: set[object] = set()
        for row, base in enumerate(bases.contexts):
            made = _made(context, base, design, corners, constraints)
            if made is None:
                n_refused[column] += 1
            elif made[0].key in seen:
                constraints.findings.drop("base context that differs from another in the factors alone")
            else:
                seen.add(made[0].key)
                contexts += made
                places.append((row, column))
    shape = (len(bases), len(designs), 1 << len(designs[0]))
    activation, before = np.full(shape, np.nan), np.full(shape, np.nan)
    if contexts:
        at = np.array(places, dtype=np.int64)
        before[at[:, 0], at[:, 1]] = context.activations.before_floor(contexts, feature).reshape(-1, shape[2])
        activation[at[:, 0], at[:, 1]] = context.activations(contexts, feature).reshape(-1, shape[2])
    return Corners(tuple(designs), activation, before, n_refused)


def scale_words(scale: Scale, context: ExperimentContext) -> str:
    """The scale in words."""
    kind = {"relu": "ReLU", "topk": "TopK"}.get(context.inputs.dictionary.spec.architecture, "activation function")
    words = {"pre_activation": f"before the {kind}", "log": f"of the logarithm, after the {kind}"}
    return words.get(scale, f"of the activation, after the {kind}")


def _corner_changes(design: Design) -> list[Change]:
    """The change that makes each corner."""
    changes = []
    for number in range(1 << len(design)):
        joined = Change("as it is")
        for bit, factor in enumerate(design):
            joined = joined.joined(factor.on if number >> bit & 1 else factor.off, name=f"corner {number}")
        changes.append(joined)
    return changes


def _made(
    context: ExperimentContext, base: Context, design: Design, changes: Sequence[Change], constraints: Constraints
) -> list[Context] | None:
    """The corners of one base context; None, with the reason counted, when one cannot be made."""
    for factor in design:
        if refusal := factor.refusal(context, base):
            constraints.findings.drop(refusal)
            return None
    found: list[Context] = []
    for change in reversed(changes):  # everything on is what is refused most often
        try:
            corner = change.apply(context.domain, base)
        except NotFoundError:
            raise
        except UserError as reason:
            constraints.refused(reason_of(reason))
            return None
        if not constraints.allows(base, corner):
            return None
        found.append(corner)
    return found[::-1]
