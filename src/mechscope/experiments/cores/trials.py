"""Trials of cores on held-out contexts: kept alone, put into contexts without them, taken out of contexts with them.

    kept      nothing but the core is left of highly active contexts that have it: how often does the share stay?
    inserted  contexts without the core, whatever their activation, get it: activation after minus before
    removed   contexts with the core, whatever their activation, lose it: activation after minus before

Contexts are never chosen by their activation where a difference is taken: those that were low would rise by themselves.
Each change has a control, one of the same shape in the same context: as many other families at these rungs and other
binaries are put in, or as many other things taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import UserError, numpy_generator
from mechscope.corpora.domain import Context
from mechscope.experiments.changing.base_contexts import reason_of
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.cores.contexts import CoreContexts
from mechscope.experiments.cores.players import Part, Players, TokenCore, kept_alone, lowest_rung

__all__ = ["Changes", "CoreTrials"]

TRIES = 3


@dataclass(frozen=True, eq=False)
class Changes:
    """One trial of one core.

    Attributes:
        before, after, control: activations, float64 [n]; control is NaN where no other change fitted.
        rows: corpus row of each context, int64 [n].
        n_refused: contexts in which it would have been illegal.
    """

    before: np.ndarray
    after: np.ndarray
    control: np.ndarray
    rows: np.ndarray
    n_refused: int

    def __len__(self) -> int:
        return len(self.rows)


class CoreTrials:
    """The trials of one experiment.

    Args:
        context, feature: what is measured.
        contexts: where. constraints: what is allowed.
        held: families and binaries that every condition has.
        seed: of the controls.
    """

    def __init__(
        self,
        context: ExperimentContext,
        feature: int,
        contexts: CoreContexts,
        constraints: Constraints,
        *,
        held: Sequence[str],
        seed: int,
    ) -> None:
        self.context, self.feature, self.domain = context, feature, context.domain
        self.contexts, self.constraints, self.held = contexts, constraints, frozenset(held)
        self.generator = numpy_generator(seed, "controls of cores")

    def kept(self, core: TokenCore, *, share: float, n: int) -> tuple[int, int]:
        """In how many held-out highly active contexts that have the core it keeps this share alone, and in how many."""
        made = []
        for base in self.contexts.verifying(n, core=core, only_high=True):
            alone = kept_alone(Players.of(self.domain, base, leave_out=self.held), core, self.constraints)
            if alone is not None:
                made.append((base, alone))
        before, after = (self._values([pair[side] for pair in made]) for side in (0, 1))
        is_active = before > 0
        return int((after >= share * before)[is_active].sum()), int(is_active.sum())

    def inserted(self, core: TokenCore, bases: Sequence[Context]) -> Changes:
        """Put the core into those of `bases` that lack it."""
        others = [base for base in bases if not core.is_in(self.domain, base)]
        made = [self._with(base, core.parts) for base in others]
        controls = [self._other_in(base, core) if one is not None else None
                    for base, one in zip(others, made, strict=True)]  # fmt: skip
        return self._measured(others, made, controls)

    def removed(self, core: TokenCore, *, n: int) -> Changes:
        """Take the core out of held-out contexts that have it: its families as a whole, and its binaries."""
        bases = self.contexts.verifying(n, core=core)
        made = [self._without(base, [part.name for part in core.parts]) for base in bases]
        controls = [self._other_out(base, core) if one is not None else None
                    for base, one in zip(bases, made, strict=True)]  # fmt: skip
        return self._measured(bases, made, controls)

    def _measured(
        self, bases: Sequence[Context], made: Sequence[Context | None], controls: Sequence[Context | None]
    ) -> Changes:
        pairs = [(base, one, other) for base, one, other in zip(bases, made, controls, strict=True) if one is not None]
        control = np.full(len(pairs), np.nan)
        there = [at for at, (_, _, other) in enumerate(pairs) if other is not None]
        control[there] = self._values([other for _, _, other in pairs if other is not None])
        return Changes(
            before=self._values([base for base, _, _ in pairs]),
            after=self._values([one for _, one, _ in pairs]),
            control=control,
            rows=np.array([base.row for base, _, _ in pairs], np.int64),
            n_refused=len(bases) - len(pairs),
        )

    def _values(self, contexts: Sequence[Context]) -> np.ndarray:
        return self.context.activations(contexts, self.feature) if contexts else np.zeros(0)

    def _with(self, base: Context, parts: Sequence[Part], *, is_logged: bool = True) -> Context | None:
        rungs = {part.name: part.rung for part in parts if part.rung > self._rung(base, part)}
        binaries = {part.name: True for part in parts if not part.rung}
        return self._changed(base, rungs, binaries, is_logged=is_logged)

    def _without(self, base: Context, names: Sequence[str], *, is_logged: bool = True) -> Context | None:
        rungs = {name: lowest_rung(self.domain, base, name) for name in names if name in self.domain.families}
        binaries = {name: False for name in names if name in self.domain.binaries}
        return self._changed(base, rungs, binaries, is_logged=is_logged)

    def _changed(
        self, base: Context, rungs: dict[str, int], binaries: dict[str, bool], *, is_logged: bool
    ) -> Context | None:
        try:
            changed = self.domain.substitute(base, rungs=rungs, binaries=binaries)
        except UserError as refusal:
            if is_logged:
                self.constraints.refused(reason_of(refusal))
            return None
        if changed.key == base.key:
            return None
        is_allowed = self.constraints.allows(base, changed) if is_logged else not self.constraints.broken_rule(changed)
        return changed if is_allowed else None

    def _rung(self, base: Context, part: Part) -> int:
        return self.domain.rung(base, part.name) if part.rung else 0

    def _other_in(self, base: Context, core: TokenCore) -> Context | None:
        """As many other families at the rungs of the core, and other binaries, as are new to this context."""
        new = [
            part
            for part in core.parts
            if (self._rung(base, part) < part.rung if part.rung else not self.domain.has(base, part.name))
        ]
        rungs, taken = [part.rung for part in new if part.rung], {part.name for part in core.parts} | self.held
        families = [name for name in self.domain.families if name not in taken]
        binaries = [name for name in self.domain.binaries if name not in taken and not self.domain.has(base, name)]
        n_binaries = len(new) - len(rungs)
        for _ in range(TRIES):
            open_families = [
                [f for f in families if r in self.domain.families[f].rungs and self.domain.rung(base, f) < r]
                for r in rungs
            ]
            names = self._distinct(open_families)
            if names is None or len(binaries) < n_binaries:
                return None
            drawn = self.generator.permutation(len(binaries))[:n_binaries].tolist()
            parts = [Part(name, rung) for name, rung in zip(names, rungs, strict=True)]
            parts += [Part(binaries[at]) for at in drawn]
            if (made := self._with(base, parts, is_logged=False)) is not None:
                return made
        return None

    def _other_out(self, base: Context, core: TokenCore) -> Context | None:
        """As many other families and binaries of this context taken out."""
        mine = {part.name for part in core.parts}
        others = [name for name in self.domain.families if self.domain.rung(base, name)]
        others += [name for name in self.domain.binaries if self.domain.has(base, name)]
        others = [name for name in others if name not in mine | self.held]
        if len(others) < len(mine):
            return None
        drawn = self.generator.choice(len(others), len(mine), replace=False)
        return self._without(base, [others[at] for at in drawn], is_logged=False)

    def _distinct(self, choices: Sequence[Sequence[str]]) -> list[str] | None:
        """One of each list, at random, none twice; None when a list runs out."""
        taken: list[str] = []
        for names in choices:
            left = [name for name in names if name not in taken]
            if not left:
                return None
            taken.append(left[int(self.generator.integers(len(left)))])
        return taken
