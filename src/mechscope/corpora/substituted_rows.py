"""Many substitutions at once: what a domain that can work on tables hands back, as arrays in place of contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mechscope.corpora.corpus import Ragged
from mechscope.corpora.domain import Context

__all__ = ["SubstitutedRows", "TableDomain"]


@dataclass(frozen=True, eq=False)
class SubstitutedRows:
    """Every legal result of every change on every context.

    Attributes:
        tokens: of m rows, ids in rising order. inputs: name -> what the model is given beside them, int64 [m].
        context, change: which context and which change each of n results came from, int64 [n].
        row: which of the m rows each result is, int64 [n]; changes that leave a context as it is share its row.
        refused: (change, why it is illegal in words) -> how many contexts could not take it.
    """

    tokens: Ragged
    inputs: dict[str, np.ndarray]
    context: np.ndarray
    change: np.ndarray
    row: np.ndarray
    refused: dict[tuple[int, str], int]


@runtime_checkable
class TableDomain(Protocol):
    """A domain that judges and substitutes in many contexts at once."""

    def faults_table(self, contexts: Sequence[Context]) -> list[Sequence[str]]:
        """`faults` of each context."""
        ...

    def substitute_table(
        self, contexts: Sequence[Context], changes: Sequence[Mapping[str, Any]]
    ) -> SubstitutedRows | None:
        """What `substitute` gives for each context with each set of its keyword arguments; None where a table cannot
        tell (several tokens switched at once, a context that is illegal itself). Raises NotFoundError and UsageError
        as `substitute` does for names and rungs that do not exist.
        """
        ...
