"""Cores of many contexts: sought in each, counted over all, and the few that cover most contexts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.algorithms import CoreSearch, CoreSearchOptions, find_cores
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.cores.players import ILLEGAL, Part, Players, TokenCore, kept_alone
from mechscope.stats import wilson

__all__ = ["CoreMethod", "FoundCores", "SearchedContext", "consensus", "count_tokens", "search_contexts"]

CoreMethod = Literal["auto", "quickxplain", "ddmin"]
DISTINCT_MOST = 300
EXHAUSTIVE_TO = 10


@dataclass(frozen=True, eq=False)
class SearchedContext:
    """One context with its cores.

    Attributes:
        players: what it could lose. search: what was found, in numbers of players. cores: the same in tokens.
        activation: of the whole context. baseline: with all players gone.
    """

    players: Players
    search: CoreSearch
    cores: tuple[TokenCore, ...]
    activation: float

    @property
    def baseline(self) -> float:
        """The activation with nothing left that can go."""
        return self.search.empty_value


def search_contexts(
    context: ExperimentContext,
    feature: int,
    bases: Sequence[Players],
    constraints: Constraints,
    *,
    share: float,
    method: CoreMethod,
    budget: int,
    seed: int,
) -> list[SearchedContext]:
    """The cores of each context that keep `share` of its activation; contexts that are not active are left out."""
    values = context.activations([players.base for players in bases], feature)
    found = []
    for at, (players, value) in enumerate(zip(bases, values.tolist(), strict=True)):
        if value <= 0:
            constraints.findings.drop("context whose activation, computed again, is zero")
            continue
        if not len(players):
            constraints.findings.drop("context with nothing to leave out")
            continue
        options = CoreSearchOptions(
            threshold=share * value,
            is_monotone=method == "quickxplain",
            baseline="absent",
            budget=budget,
            seed=derive_seed(seed, f"context {at}"),
            exhaustive_to=EXHAUSTIVE_TO if method == "auto" else 0,
        )
        search = find_cores(_Function(context, feature, players, constraints), len(players), options)
        cores = tuple(players.core(core.members) for core in search.cores if core.is_one_minimal or not core.members)
        found.append(SearchedContext(players, search, cores, value))
    return found


class _Function:
    """Activations of sets of players, each distinct context once."""

    def __init__(self, context: ExperimentContext, feature: int, players: Players, constraints: Constraints) -> None:
        self.context, self.feature, self.players, self.constraints = context, feature, players, constraints

    def __call__(self, present: np.ndarray) -> np.ndarray:
        made = self.players.contexts(present, self.constraints)
        distinct = {one.key: one for one in made if one is not None}
        values = dict.fromkeys(distinct, ILLEGAL)
        if distinct:
            values |= zip(
                distinct, self.context.activations(list(distinct.values()), self.feature).tolist(), strict=True
            )
        return np.array([ILLEGAL if one is None else values[one.key] for one in made])


@dataclass(frozen=True, eq=False)
class FoundCores:
    """Distinct cores over the contexts searched.

    Attributes:
        cores: that are not empty, the most often sufficient first.
        n_minimal: contexts in which each was found as a core.
        n_holding, n_sufficient: contexts that have all of it, and those of them in which it suffices alone.
        covering: a short list of cores of which each context searched has one that suffices there, as far as any does;
            greedily the one first that does for most contexts left.
    """

    cores: tuple[TokenCore, ...]
    n_minimal: dict[TokenCore, int]
    n_holding: dict[TokenCore, int]
    n_sufficient: dict[TokenCore, int]
    covering: tuple[TokenCore, ...]

    @classmethod
    def of(
        cls,
        searched: Sequence[SearchedContext],
        context: ExperimentContext,
        feature: int,
        constraints: Constraints,
        *,
        share: float,
    ) -> FoundCores:
        """Every core of one context tried in the others that have it. At most 300 distinct ones, the commonest."""
        minimal = Counter(core for one in searched for core in one.cores if core.parts)
        if len(minimal) > DISTINCT_MOST:
            constraints.findings.drop("core beyond the 300 commonest", len(minimal) - DISTINCT_MOST)
        known = sorted(minimal, key=lambda core: (-minimal[core], len(core.parts), core))[:DISTINCT_MOST]
        cells, alone = [], []
        for row, one in enumerate(searched):
            for column, core in enumerate(known):
                if core.is_in(context.domain, one.players.base):
                    made = kept_alone(one.players, core, constraints)
                    if made is not None:
                        cells.append((row, column))
                        alone.append(made)
        holds, suffices = (np.zeros((len(searched), len(known)), bool) for _ in range(2))
        if cells:
            at = np.array(cells)
            least = share * np.array([one.activation for one in searched])[at[:, 0]]
            holds[at[:, 0], at[:, 1]] = True
            suffices[at[:, 0], at[:, 1]] = context.activations(alone, feature) >= least
        order = sorted(range(len(known)), key=lambda at: (-suffices[:, at].sum(), len(known[at].parts), known[at]))
        return cls(
            tuple(known[at] for at in order),
            {core: minimal[core] for core in known},
            {core: int(holds[:, at].sum()) for at, core in enumerate(known)},
            {core: int(suffices[:, at].sum()) for at, core in enumerate(known)},
            tuple(known[at] for at in _cover(suffices, order)),
        )

    def row(self, core: TokenCore) -> dict[str, Any]:
        """The columns of one core, its share of the contexts that have it with a Wilson interval."""
        n, k = self.n_holding[core], self.n_sufficient[core]
        low, high = wilson(k, n)
        rank = self.covering.index(core) + 1 if core in self.covering else None
        row = {"core": str(core), "size": len(core.parts), "n": n, "n_sufficient": k, "flag": flag_of(n)}
        row |= {"n_minimal": self.n_minimal[core], "cover_rank": rank}
        if n >= FEW:
            row |= {"share": k / n, "share_low": float(low), "share_high": float(high)}
        return row


def count_tokens(searched: Sequence[SearchedContext]) -> list[dict[str, Any]]:
    """How often each token is in a core of a context that has it, or in all of its cores; commonest first."""
    rows = []
    parts = sorted({part for one in searched for part in one.players.players})
    for part in parts:
        having = [one for one in searched if part in one.players.players]
        in_any = sum(any(_needs(core, part) for core in one.cores) for one in having)
        in_all = sum(bool(one.cores) and all(_needs(core, part) for core in one.cores) for one in having)
        low, high = wilson(in_any, len(having))
        row: dict[str, Any] = {"token": str(part), "n": len(having), "n_in_core": in_any, "n_in_every_core": in_all}
        row |= {"contexts_share": in_any / len(searched), "flag": flag_of(len(having))}
        if len(having) >= FEW:
            row |= {"share": in_any / len(having), "share_low": float(low), "share_high": float(high)}
        rows.append(row)
    return sorted(rows, key=lambda row: (-row["n_in_core"], row["token"]))


def consensus(searched: Sequence[SearchedContext]) -> TokenCore:
    """Each token that is in a core of more than half of the contexts; of a family the highest such rung."""
    counts = Counter(
        part for one in searched for part in one.players.players if any(_needs(core, part) for core in one.cores)
    )
    return TokenCore.of(part for part, n in counts.items() if n > len(searched) / 2)


def _needs(core: TokenCore, part: Part) -> bool:
    """Whether a part is in a core; a rung brings the lower ones."""
    return any(part.name == own.name and part.rung <= own.rung for own in core.parts)


def _cover(suffices: np.ndarray, order: Sequence[int]) -> list[int]:
    left, found = suffices.any(axis=1), list[int]()
    while left.any():
        best = max(order, key=lambda at: int(suffices[left, at].sum()))
        found.append(best)
        left &= ~suffices[:, best]
    return found
