"""What a context can lose: its families step by step and its binaries, as the players of a core search.

A family at rung 12 of 3, 6, 12 gives three players; the family stands at the highest rung whose player, and those of
all lower rungs, are there. So a core says the lowest rung that suffices, and under cumulative coding a rung comes with
the lower ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mechscope.core import UserError
from mechscope.corpora.domain import Context, Domain
from mechscope.experiments.changing.base_contexts import reason_of
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["Part", "Players", "TokenCore", "kept_alone", "lowest_rung"]

ILLEGAL = 0.0
"""Value of a set of players that no legal context shows: it never suffices."""


@dataclass(frozen=True, order=True)
class Part:
    """A binary (rung 0), or a family at a rung or above it; `label` is what tables call it."""

    name: str
    rung: int = 0
    label: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.label or (f"{self.name}_{self.rung}" if self.rung else self.name)


@dataclass(frozen=True, order=True)
class TokenCore:
    """Binaries and families at their lowest sufficient rungs, in order; empty when nothing is needed."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, parts: Iterable[Part]) -> TokenCore:
        """The core of these parts; of a family the highest rung."""
        return cls(tuple({part.name: part for part in sorted(parts)}.values()))

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts)) or "nothing"

    @property
    def rungs(self) -> dict[str, int]:
        """The families."""
        return {part.name: part.rung for part in self.parts if part.rung}

    @property
    def binaries(self) -> tuple[str, ...]:
        """The binaries."""
        return tuple(part.name for part in self.parts if not part.rung)

    def is_in(self, domain: Domain, context: Context) -> bool:
        """Whether a context has all of it."""
        return all(
            domain.rung(context, part.name) >= part.rung if part.rung else domain.has(context, part.name)
            for part in self.parts
        )

    def rows(self, context: ExperimentContext) -> np.ndarray:
        """Which rows of the corpus have all of it, boolean [n_rows]."""
        found = np.ones(context.corpus.n_rows, bool)
        for part in self.parts:
            if part.rung:
                found &= context.family_rungs(part.name) >= part.rung
            else:
                found &= context.rows_with(context.domain.binaries[part.name])
        return found


@dataclass(frozen=True, eq=False)
class Players:
    """The players of one context.

    Attributes:
        base: the context with all of them. domain: its rules.
        players: a step of a family each (its rung), or a binary.
        floors: family -> rung that it keeps without any of its players; above 0 where it cannot be absent.
    """

    base: Context
    domain: Domain
    players: tuple[Part, ...]
    floors: Mapping[str, int]

    @classmethod
    def of(cls, domain: Domain, base: Context, *, leave_out: Iterable[str] = ()) -> Players:
        """What `base` has, without the families and binaries that are held constant."""
        players, floors, held = list[Part](), dict[str, int](), set(leave_out)
        for name, family in domain.families.items():
            rung = domain.rung(base, name)
            if name in held or not rung:
                continue
            floors[name] = lowest_rung(domain, base, name)
            players += [
                Part(name, step, f"{name}_{family.rung_name(step)}")
                for step in family.rungs
                if floors[name] < step <= rung
            ]
        players += [Part(name) for name in domain.binaries if name not in held and domain.has(base, name)]
        return cls(base, domain, tuple(players), floors)

    def __len__(self) -> int:
        return len(self.players)

    def core(self, members: Iterable[int]) -> TokenCore:
        """The core that these players make."""
        return TokenCore.of(self.players[player] for player in members)

    def contexts(self, present: np.ndarray, constraints: Constraints) -> list[Context | None]:
        """The context of each set of players, boolean [n_sets, n_players]; None where it is illegal."""
        known: dict[tuple[int, ...], Context | None] = {}
        found = []
        for levels in map(tuple, self._levels(present).tolist()):
            if levels not in known:
                known[levels] = self._made(levels, constraints)
            found.append(known[levels])
        return found

    def _levels(self, present: np.ndarray) -> np.ndarray:
        """How many steps of each ladder are there without a gap, int64 [n_sets, n_ladders]."""
        return np.stack(
            [np.logical_and.accumulate(present[:, steps], axis=1).sum(axis=1) for steps in self._ladders.values()],
            axis=1,
        )

    @cached_property
    def _ladders(self) -> dict[str, list[int]]:
        """Name -> its players, lowest rung first."""
        found: dict[str, list[int]] = {}
        for at, part in enumerate(self.players):
            found.setdefault(part.name, []).append(at)
        return found

    def _made(self, levels: tuple[int, ...], constraints: Constraints) -> Context | None:
        rungs, binaries = {}, {}
        for (name, steps), level in zip(self._ladders.items(), levels, strict=True):
            if level == len(steps):
                continue
            if self.players[steps[0]].rung:
                rungs[name] = self.players[steps[level - 1]].rung if level else self.floors[name]
            else:
                binaries[name] = False
        try:
            made = self.domain.substitute(self.base, rungs=rungs, binaries=binaries) if rungs or binaries else self.base
        except UserError as refusal:
            constraints.refused(reason_of(refusal))
            return None
        return made if constraints.allows(self.base, made) else None


def kept_alone(players: Players, core: TokenCore, constraints: Constraints) -> Context | None:
    """The context with nothing left but a core that it has, and what is held constant."""
    kept = [
        part.rung <= core.rungs.get(part.name, 0) if part.rung else part.name in core.binaries
        for part in players.players
    ]
    return players.contexts(np.array([kept], bool), constraints)[0] if kept else players.base


def lowest_rung(domain: Domain, base: Context, family: str) -> int:
    """The lowest rung that a family can have here, 0 when it can be absent."""
    rung = domain.rung(base, family)
    for lowest in (0, *(step for step in domain.families[family].rungs if step < rung)):
        try:
            domain.substitute(base, rungs={family: lowest})
        except UserError:
            continue
        return lowest
    return rung
