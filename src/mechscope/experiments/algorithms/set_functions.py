"""A set function behind a memory, a batch door and a budget.

A set function takes boolean [n_sets, n_players] (which players are present) and gives float [n_sets]; the rest of the
players are at their baseline, which is the caller's business. Sets are integers here: bit i says player i is present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from mechscope.core import BadDataError, UsageError

__all__ = ["BudgetSpentError", "Evaluator", "SetFunction", "as_matrix", "as_set", "members_of"]

SetFunction = Callable[[np.ndarray], np.ndarray]


class BudgetSpentError(Exception):
    """Signals inside this package that the evaluations asked for exceed the budget; never reaches a caller."""


class Evaluator:
    """Values of sets, each evaluated once.

    Args:
        function: the set function.
        n_players: bits of a set.
        budget: greatest number of evaluations; None for no bound.
        n_repeats: calls to average for each set, for noisy functions; each counts against the budget.
        batch_size: sets in one call at most.

    Attributes:
        values: value by set.
        n_evaluations: sets handed to `function` so far, repeats counted.
        n_batches: calls of `function` so far.
    """

    def __init__(
        self, function: SetFunction, n_players: int, *, budget: int | None, n_repeats: int = 1, batch_size: int = 4096
    ) -> None:
        if n_repeats < 1 or batch_size < 1 or n_players < 0 or (budget is not None and budget < 1):
            raise UsageError(
                f"n_players={n_players}, budget={budget}, n_repeats={n_repeats}, batch_size={batch_size}",
                expected="1 or more of each (players may be none)",
                todo="raise what is too small",
            )
        self.n_players, self.budget = n_players, budget
        self.values: dict[int, float] = {}
        self.n_evaluations = self.n_batches = 0
        self._function, self._n_repeats, self._batch_size = function, n_repeats, batch_size

    def __call__(self, sets: Sequence[int]) -> list[float]:
        """Values of `sets`; new ones go through the function in batches.

        Raises:
            BudgetSpentError: they do not fit in what is left; nothing was evaluated then.
            BadDataError: the function gave another shape, or a value that is no number.
        """
        new = list(dict.fromkeys(s for s in sets if s not in self.values))
        if self.budget is not None and self.n_evaluations + len(new) * self._n_repeats > self.budget:
            raise BudgetSpentError
        if new:
            self.values.update(zip(new, self.fresh(new, n_repeats=self._n_repeats).mean(axis=0).tolist(), strict=True))
        return [self.values[s] for s in sets]

    def fresh(self, sets: Sequence[int], *, n_repeats: int) -> np.ndarray:
        """New evaluations past memory and budget: float64 [n_repeats, n_sets]."""
        matrix = np.tile(as_matrix(sets, self.n_players), (n_repeats, 1))
        parts = []
        for first in range(0, len(matrix), self._batch_size):
            batch = matrix[first : first + self._batch_size]
            values = np.asarray(self._function(batch), np.float64)
            if values.shape != (len(batch),) or np.isnan(values).any():
                raise BadDataError(
                    f"values of shape {values.shape} with {int(np.isnan(values).sum())} that are no number",
                    expected=f"one number for each of {len(batch)} sets",
                    todo="mend the function that was given",
                )
            parts.append(values)
            self.n_batches += 1
        self.n_evaluations += len(matrix)
        return np.concatenate(parts).reshape(n_repeats, len(sets))


def as_matrix(sets: Sequence[int], n_players: int) -> np.ndarray:
    """Sets as boolean [n_sets, n_players]."""
    n_bytes = -(-n_players // 8)
    raw = np.frombuffer(b"".join(s.to_bytes(n_bytes, "little") for s in sets), np.uint8).reshape(len(sets), n_bytes)
    return np.unpackbits(raw, axis=1, count=n_players, bitorder="little").view(bool)


def as_set(players: Iterable[int]) -> int:
    """The set of these players."""
    total = 0
    for player in players:
        total |= 1 << player
    return total


def members_of(players: int) -> Iterator[int]:
    """The players of a set, rising."""
    while players:
        lowest = players & -players
        yield lowest.bit_length() - 1
        players ^= lowest
