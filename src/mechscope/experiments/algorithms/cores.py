"""All minimal sufficient sets (cores) of a set function: sets S with f(S) >= threshold of which no player can go.

1. Few players: every subset is evaluated; cores are the sufficient sets without a sufficient proper subset. Complete.
2. Monotone f: every core is met by each "hitting set" of players whose removal stops f. Take the smallest sets H that
   hit all known cores; if all players but H suffice, a further core lies there, and QuickXplain finds it; when no H is
   left to try, the list is complete (Reiter 1987; MARCO, Liffiton et al. 2016, walks the same lattice).
3. Otherwise: ddmin from many random starts that lack a random player of each known core. Never claimed to be complete.
Each core is then verified: with each single player left out, f must fall below the threshold. What was evaluated is
searched for contradictions of monotonicity (a sufficient set inside an insufficient one); any voids a claim of 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.algorithms.core_searches import ddmin, quickxplain, run_searches
from mechscope.experiments.algorithms.set_functions import (
    BudgetSpentError,
    Evaluator,
    SetFunction,
    as_matrix,
    as_set,
    members_of,
)

__all__ = ["Core", "CoreSearch", "CoreSearchOptions", "find_cores"]

Method = Literal["exhaustive", "hitting sets", "random starts"]
Baseline = Literal["absent", "mean", "resample"]
STARTS_AT_ONCE = 16
HITTING_SETS_MAX = 20_000


@dataclass(frozen=True)
class CoreSearchOptions:
    """How to search.

    Attributes:
        threshold: a set suffices when its value is at least this.
        is_monotone: whether more players never lower the value, as far as the caller knows.
        baseline: what absent players are replaced by; recorded, and done by the set function.
        budget: evaluations of the set function that the search may use; verification comes on top.
        seed: of orders and starts.
        n_starts: random starts where f is not monotone.
        exhaustive_to: evaluate all subsets up to this many players, budget permitting.
        n_repeats: evaluations averaged for each set, for noisy f.
        n_confirmations: fresh evaluations of each core and its deletions; 0 (f is not noisy) reuses what is known.
    """

    threshold: float
    is_monotone: bool
    baseline: Baseline
    budget: int
    seed: int
    n_starts: int = 64
    exhaustive_to: int = 10
    n_repeats: int = 1
    n_confirmations: int = 0


@dataclass(frozen=True)
class Core:
    """A sufficient set.

    Attributes:
        members: its players, rising.
        value: f of it; the mean of the confirmations if there are any.
        standard_error: of `value` over confirmations; None with fewer than two.
        deletion_values: f without each member, in their order.
        is_sufficient: value >= threshold.
        is_one_minimal: sufficient, and each deletion value < threshold.
    """

    members: tuple[int, ...]
    value: float
    standard_error: float | None
    deletion_values: tuple[float, ...]
    is_sufficient: bool
    is_one_minimal: bool


@dataclass(frozen=True)
class CoreSearch:
    """What was found, and how far the search went.

    Attributes:
        cores: by size, then members.
        method: which of the three ways was taken.
        options: as asked.
        is_complete: there is no further core, given what `statement` assumes.
        statement: completeness in words.
        full_value, empty_value: f of all players and of none.
        n_evaluations, n_batches: what it took, verification included.
        n_contradictions: pairs of evaluated sets that contradict monotonicity.
    """

    cores: tuple[Core, ...]
    method: Method
    options: CoreSearchOptions
    is_complete: bool
    statement: str
    full_value: float
    empty_value: float
    n_evaluations: int
    n_batches: int
    n_contradictions: int


def find_cores(function: SetFunction, n_players: int, options: CoreSearchOptions) -> CoreSearch:
    """Minimal sufficient sets of `function`, verified.

    Args:
        function: boolean [n_sets, n_players] -> float [n_sets]; higher is more.
        n_players: how many players there are.
        options: see there.

    Raises:
        UsageError: a budget below 2, or other counts out of range.
        BadDataError: the function gave something else than one number for each set.
    """
    if options.budget < 2 or options.n_starts < 1 or options.n_confirmations < 0:
        raise UsageError(
            f"budget={options.budget}, n_starts={options.n_starts}, n_confirmations={options.n_confirmations}",
            expected="a budget of 2 or more, 1 or more starts, 0 or more confirmations",
            todo="a few hundred evaluations are enough for most functions",
        )
    evaluator = Evaluator(function, n_players, budget=None, n_repeats=options.n_repeats)
    everyone = (1 << n_players) - 1
    empty_value, full_value = evaluator([0, everyone])
    evaluator.budget = options.budget
    search = _CoreFinder(evaluator, everyone, options)
    found, method, is_complete, statement = search.run(empty_value, full_value)
    evaluator.budget = None
    n_contradictions = _count_contradictions(evaluator, options.threshold)
    if n_contradictions and method == "hitting sets":
        is_complete = False
        statement = f"f is not monotone ({n_contradictions} contradictions among the sets evaluated): others may exist"
    cores = [_verified(evaluator, core, options) for core in sorted(found)]
    return CoreSearch(
        tuple(sorted(cores, key=lambda core: (len(core.members), core.members))),
        method,
        options,
        is_complete,
        statement,
        full_value,
        empty_value,
        evaluator.n_evaluations,
        evaluator.n_batches,
        n_contradictions,
    )


class _CoreFinder:
    """The search before verification; `found` holds the cores as sets."""

    def __init__(self, evaluator: Evaluator, everyone: int, options: CoreSearchOptions) -> None:
        self.evaluator, self.everyone, self.options = evaluator, everyone, options
        self.rng = np.random.default_rng(options.seed)
        self.found: set[int] = set()

    def run(self, empty_value: float, full_value: float) -> tuple[set[int], Method, bool, str]:
        n_players, options = self.evaluator.n_players, self.options
        if empty_value >= options.threshold:
            return {0}, "exhaustive", True, "the baseline alone reaches the threshold: no player is needed"
        is_small = n_players <= options.exhaustive_to and (1 << n_players) * options.n_repeats <= options.budget
        try:
            if is_small:
                self._exhaust()
                return self.found, "exhaustive", True, f"complete: all {1 << n_players} subsets were evaluated"
            if not options.is_monotone:
                return self.found, "random starts", False, self._start_at_random(full_value)
            if full_value < options.threshold:
                return set(), "hitting sets", True, "complete if f is monotone: all players together do not suffice"
            is_complete, statement = self._dualise()
            return self.found, "hitting sets", is_complete, statement
        except BudgetSpentError:
            method: Method = "hitting sets" if options.is_monotone else "random starts"
            return self.found, method, False, f"not complete: the budget of {options.budget} evaluations ran out"

    def _exhaust(self) -> None:
        n_players = self.evaluator.n_players
        is_sufficient = np.array(self.evaluator(range(1 << n_players))) >= self.options.threshold
        has_below = np.zeros_like(is_sufficient)  # some proper subset suffices
        for player in range(n_players):
            below, above = (has_below.reshape(-1, 2, 1 << player)[:, side] for side in (0, 1))
            above |= below | is_sufficient.reshape(-1, 2, 1 << player)[:, 0]
        self.found = set(np.flatnonzero(is_sufficient & ~has_below).tolist())

    def _dualise(self) -> tuple[bool, str]:
        hitting, tried = {0}, set[int]()
        while pending := sorted(hitting - tried, key=lambda h: (h.bit_count(), h))[:STARTS_AT_ONCE]:
            tried.update(pending)
            for core in self._shrink([self.everyone & ~h for h in pending], is_monotone=True):
                if core not in self.found:
                    self.found.add(core)
                    hitting = _hit_too(hitting, core)
            if len(hitting) > HITTING_SETS_MAX:
                return False, f"not complete: {len(hitting)} hitting sets of {len(self.found)} cores were too many"
        return True, f"complete if f is monotone: all {len(tried)} minimal hitting sets were tried"

    def _start_at_random(self, full_value: float) -> str:
        starts, n_done, last_new = [self.everyone], 0, 0
        if full_value < self.options.threshold:  # one player may be what stops the rest
            starts += [self.everyone & ~(1 << player) for player in range(self.evaluator.n_players)]
        n_wanted = self.options.n_starts + len(starts)
        while n_done < n_wanted:
            batch, starts = starts[:STARTS_AT_ONCE], starts[STARTS_AT_ONCE:]
            batch = batch or [self._draw_start() for _ in range(min(STARTS_AT_ONCE, n_wanted - n_done))]
            n_done += len(batch)
            new = set(self._shrink(batch, is_monotone=False)) - self.found
            if new:
                last_new = n_done
                union = self.found | new
                self.found.clear()
                self.found.update(c for c in union if not any(o != c and o & c == o for o in union))
        return f"not claimed to be complete: {n_done} starts, the last new core within the first {last_new}"

    def _draw_start(self) -> int:
        """All players or a random part of them, without one player of each known core."""
        n_players = self.evaluator.n_players
        share = self.rng.choice([0.5, 0.75, 0.9, 1.0])
        start = as_set(np.flatnonzero(self.rng.random(n_players) < share).tolist())
        for core in sorted(self.found):
            if core & start == core:
                start &= ~(1 << int(self.rng.choice(list(members_of(core)))))
        return start

    def _shrink(self, starts: list[int], *, is_monotone: bool) -> list[int]:
        """A core from each start that suffices."""
        values = self.evaluator(starts)
        good = [s for s, value in zip(starts, values, strict=True) if value >= self.options.threshold]
        orders = [self.rng.permutation(list(members_of(s))).tolist() for s in good]
        if not is_monotone:
            return run_searches([ddmin(order) for order in orders], self.evaluator, self.options.threshold)
        sets = run_searches([quickxplain(order) for order in orders], self.evaluator, self.options.threshold)
        # where f turns out not to be monotone, what QuickXplain left can be insufficient or too large
        held = [s for s, value in zip(sets, self.evaluator(sets), strict=True) if value >= self.options.threshold]
        again = [ddmin(list(members_of(s))) for s in held]
        return run_searches(again, self.evaluator, self.options.threshold)


def _hit_too(hitting: set[int], core: int) -> set[int]:
    """The minimal sets that hit `core` beside all that `hitting` hit (Berge's step)."""
    kept = {h for h in hitting if h & core}
    grown = {h | 1 << player for h in hitting - kept for player in members_of(core)}
    return kept | {g for g in grown if not any(k & g == k for k in kept)}


def _count_contradictions(evaluator: Evaluator, threshold: float) -> int:
    sets = list(evaluator.values)
    is_sufficient = np.array([evaluator.values[s] >= threshold for s in sets])
    matrix = as_matrix(sets, evaluator.n_players).astype(np.float32)
    inside, around = matrix[is_sufficient], matrix[~is_sufficient]
    chunks = range(0, len(inside), 1024)
    return sum(
        int((inside[i : i + 1024] @ around.T == inside[i : i + 1024].sum(axis=1)[:, None]).sum()) for i in chunks
    )


def _verified(evaluator: Evaluator, core: int, options: CoreSearchOptions) -> Core:
    members = tuple(members_of(core))
    sets = [core] + [core & ~(1 << player) for player in members]
    error = None
    if options.n_confirmations:
        fresh = evaluator.fresh(sets, n_repeats=options.n_confirmations)
        values = fresh.mean(axis=0).tolist()
        if options.n_confirmations > 1:
            error = float(fresh[:, 0].std(ddof=1) / np.sqrt(options.n_confirmations))
    else:
        values = evaluator(sets)
    is_sufficient = values[0] >= options.threshold
    is_minimal = is_sufficient and all(value < options.threshold for value in values[1:])
    return Core(members, values[0], error, tuple(values[1:]), is_sufficient, is_minimal)
