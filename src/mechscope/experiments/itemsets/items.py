"""What rows hold, as items for mining: rungs of families, binaries, further tokens, names of groups.

Under cumulative coding a rung brings all lower rungs of its family, so that two rungs of one family always go together.
Here a family is never twice in a set. "at_least": the item of a rung is in every row with this rung or a higher one,
and the item of the rung below generalises it; "exactly": it is in the rows whose highest rung it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from mechscope.core import UsageError, unknown_name
from mechscope.experiments.algorithms import BitColumns
from mechscope.experiments.algorithms.bitsets import pack_bits
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["Item", "ItemTable", "RungItems", "read_items"]

MOST_NAMES = 5000

RungItems = Literal["at_least", "exactly"]


@dataclass(frozen=True)
class Item:
    """One item: the rows whose level is at least `level`, or exactly that.

    Attributes:
        name: as tables show it. exclusive: no set holds two items with the same name here; "" for none.
        levels: gives the level of every row of the corpus, [n_rows].
        level, is_least: which levels have the item.
        has_lower: whether the item before it in the table is the more general one, the rung below.
    """

    name: str
    exclusive: str
    levels: Callable[[], np.ndarray]
    level: int = 1
    is_least: bool = True
    has_lower: bool = False

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Which of these corpus rows have it: int64 [n] -> boolean [n]."""
        return self.among(self.levels()[rows])

    def among(self, levels: np.ndarray) -> np.ndarray:
        """Which of these levels have it."""
        found: np.ndarray = levels >= self.level if self.is_least else levels == self.level
        return found


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items by number."""

    items: tuple[Item, ...]

    @property
    def names(self) -> list[str]:
        """The names in order."""
        return [item.name for item in self.items]

    @property
    def exclusive(self) -> np.ndarray:
        """Number of what each item shares with those it excludes, -1 for none: int64 [n_items]."""
        numbers = {name: at for at, name in enumerate(sorted({item.exclusive for item in self.items} - {""}))}
        return np.array([numbers.get(item.exclusive, -1) for item in self.items], np.int64)

    @property
    def has_lower(self) -> np.ndarray:
        """Which items the item before them generalises, boolean [n_items]."""
        return np.array([item.has_lower for item in self.items], bool)

    def columns(self, rows: np.ndarray) -> BitColumns:
        """The packed columns of these corpus rows. O(items x rows)."""
        words = np.zeros((len(self.items), -(-len(rows) // 64)), np.uint64)
        levels, source = np.zeros(0), None
        for at, item in enumerate(self.items):
            if item.levels is not source:  # the items of one family follow each other
                levels, source = item.levels()[rows], item.levels
            words[at] = pack_bits(item.among(levels)[None])[0]
        return BitColumns(words, np.arange(len(self.items)), len(rows))

    def varying(self, rows: np.ndarray) -> ItemTable:
        """Without the items that every one of these rows has, or none: they tell no row from another."""
        counts = self.columns(rows).counts()
        is_kept = (counts > 0) & (counts < len(rows))
        kept = []
        for at in np.flatnonzero(is_kept).tolist():
            item = self.items[at]
            kept.append(replace(item, has_lower=item.has_lower and bool(is_kept[at - 1])))
        return ItemTable(tuple(kept))


def read_items(
    context: ExperimentContext,
    *,
    rungs: RungItems,
    tokens: Sequence[str] = (),
    groups: Sequence[str] = (),
    leave_out: Sequence[str] = (),
) -> ItemTable:
    """The items of a subject.

    Args:
        context: the subject.
        rungs: what the item of a rung says; see the top of this file.
        tokens: further tokens. A subject without families and binaries takes its whole vocabulary.
        groups: group columns and attributes whose names are items too.
        leave_out: families and binaries that are held constant.

    Raises:
        NotFoundError: an unknown token or group. UsageError: a group of more than 5000 names.
    """
    domain, vocabulary = context.domain, context.corpus.vocabulary
    items = [item for name in domain.families if name not in leave_out for item in _family_items(context, name, rungs)]
    items += [
        Item(name, "", partial(context.rows_with, token))
        for name, token in domain.binaries.items()
        if name not in leave_out
    ]
    if not domain.families and not domain.binaries and not tokens:
        tokens = [vocabulary[token] for token in np.unique(context.corpus.tokens.ids).tolist()]
    ids = {token: at for at, token in enumerate(vocabulary)}
    known = {item.name for item in items}
    for token in dict.fromkeys(tokens):
        if token not in ids:
            raise unknown_name("token", token, list(vocabulary)[:5000])
        if token not in known:
            items.append(Item(token, "", partial(context.rows_with, ids[token])))
    for column in dict.fromkeys(groups):
        items += _group_items(context, column)
    return ItemTable(tuple(items))


def _family_items(context: ExperimentContext, name: str, rungs: RungItems) -> list[Item]:
    family, is_least = context.domain.families[name], rungs == "at_least"
    levels = partial(context.family_rungs, name)
    return [
        Item(f"{name}_{family.rung_name(rung)}", f"family {name}", levels, rung, is_least, is_least and at > 0)
        for at, rung in enumerate(family.rungs)
    ]


def _group_items(context: ExperimentContext, column: str) -> list[Item]:
    values = context.group_values(column)
    names, index = np.unique(values.astype(str), return_inverse=True)
    if len(names) > MOST_NAMES:
        raise UsageError(
            f"{len(names):,} names in {column!r}",
            expected=f"a group of at most {MOST_NAMES:,} names",
            todo="name another group",
        )
    levels = partial(index.reshape, len(values))
    return [Item(f"{column} {name}", f"group {column}", levels, at, False) for at, name in enumerate(names.tolist())]
