"""The itemsets of one half of the rows, and what the other half says of the best of them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from mechscope.core import Spec
from mechscope.experiments.algorithms import P_FLOOR, mine_itemsets
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.findings import Findings
from mechscope.experiments.itemsets.evidence import DETAIL_COLUMNS, EVIDENCE_COLUMNS, HeldOutRows, null_of_sets
from mechscope.experiments.itemsets.halves import ActivityHalves
from mechscope.experiments.itemsets.items import ItemTable, RungItems
from mechscope.experiments.itemsets.lattice import Lattice, contrast_activity
from mechscope.experiments.observing.levels_of_activity import as_quantile
from mechscope.stats import holm

__all__ = ["ItemsetMining", "ItemsetVariables"]

CLOSED_SHOWN, SETS_MOST = 40, 200_000
COLUMNS = ("items", *EVIDENCE_COLUMNS, "p_corrected", "p_null", "confirmed", "flag")
DETAILS = ("items", "size", *DETAIL_COLUMNS, "times_null", "selecting_leverage", "selecting_q", "closed", "maximal")
AT_MOST = f"A p of {P_FLOOR:g} stands for any below it."
CLOSED_COLUMNS = ("items", "size", "n", "active_support", "leverage", "selecting_p", "selecting_q", "maximal")


class ItemsetVariables(Spec):
    """The variables of frequent itemsets.

    Attributes:
        min_support: share of the active rows (of the selecting half) that a set must be in.
        max_size: most items in a set.
        top_k: how many sets, and how many single items, are held against the held-out half.
        rungs: what the item of a rung says: the family has "at_least" this rung, or "exactly" this one.
        high_percentile: of the active rows, from which on a row counts as active (90 and 0.9 mean the same); lower
            active rows are then left out. None: every row above zero.
        tokens: further tokens that are items. groups: group columns and attributes whose names are items.
        stable_tokens: binaries, rungs and tokens that every row has.
        null: which margins the null keeps: "columns" (how common each item is), or "swaps" (how many items each row has
            too).
        n_draws: of the null.
    """

    min_support: float = Field(default=0.05, gt=0, le=1)
    max_size: int = Field(default=4, ge=1, le=8)
    top_k: int = Field(default=20, ge=1)
    rungs: RungItems = "at_least"
    high_percentile: float | None = None
    tokens: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    stable_tokens: tuple[str, ...] = ()
    null: Literal["columns", "swaps"] = "columns"
    n_draws: int = Field(default=199, ge=19)

    @field_validator("high_percentile")
    @classmethod
    def _is_a_quantile(cls, value: float | None) -> float | None:
        return None if value is None else as_quantile(value, "high_percentile")


class ItemsetMining:
    """The sets of the selecting half, and what the held-out half says of the best of them."""

    def __init__(
        self, variables: ItemsetVariables, items: ItemTable, halves: ActivityHalves, findings: Findings
    ) -> None:
        self.variables, self.items, self.halves, self.findings = variables, items, halves, findings
        active, inactive = (items.columns(rows) for rows in halves.selecting)
        self.sets = mine_itemsets(
            active,
            min_support=min(1.0, max(variables.min_support, FEW / active.n_rows)),
            max_length=variables.max_size,
            families=items.exclusive,
            max_sets=SETS_MOST,
        )
        self.members = self.sets.tuples()
        self.lattice = Lattice.of(self.sets, items.has_lower)
        self.contrast = contrast_activity(self.lattice, inactive)

    def chosen(self) -> tuple[list[int], list[int]]:
        """Indices of single items and of larger sets, by falling leverage, one for each combination of families."""
        contrast = self.contrast
        is_more = (contrast.p_parts < ALPHA) & (contrast.leverage > 0)
        order = np.flatnonzero(is_more)[np.argsort(-contrast.leverage[is_more], kind="stable")]
        exclusive, seen = self.items.exclusive, set[tuple[int, ...]]()
        found: tuple[list[int], list[int]] = ([], [])
        for at in order.tolist():
            members = self.members[at]
            kind = tuple(sorted(-1 - exclusive[item] if exclusive[item] >= 0 else item for item in members))
            into = found[len(members) > 1]
            if kind not in seen and len(into) < self.variables.top_k:
                seen.add(kind)
                into.append(at)
        self.findings.drop("frequent set that adds nothing to a part of it", len(self.members) - int(is_more.sum()))
        return found

    def confirm(self, *, seed: int) -> list[dict[str, Any]]:
        """Rows of both tables, written; larger sets first."""
        singles, larger = self.chosen()
        chosen = [*larger, *singles]
        held_out = HeldOutRows(self.items, *self.halves.held_out, self.halves.clusters)
        rows = [self._row(at, held_out) for at in chosen]
        if larger:
            self._against_null(rows[: len(larger)], [self.members[at] for at in larger], seed=seed)
        corrected = _corrected(rows)
        self.findings.n_comparisons = corrected
        for name, part in (("itemsets", rows[: len(larger)]), ("single_items", rows[len(larger) :])):
            self.findings.table(
                name,
                COLUMNS,
                [{key: row.get(key) for key in COLUMNS} for row in part],
                caption="OBSERVATIONAL, held-out rows: share of active rows with the set against that of inactive rows "
                "(contrast: the difference); lift, leverage: of set -> active; p: one-sided Fisher; p_corrected: the "
                f"larger of it and p_parts, Holm over {corrected} sets; p_null: the items stand together among active "
                f"rows more than chance makes them (max-T over the sets). 95 % intervals: Wilson, Newcombe. {AT_MOST}",
            )
        self.findings.table(
            "itemset_details",
            DETAILS,
            [{key: row.get(key) for key in DETAILS} for row in rows],
            caption="Of the same sets. p_parts: of what a set adds to a part of it (an item left out, the rung below), "
            "the largest; confidence: of set -> active; growth: active over inactive support; times_null: active "
            "support over that of the null; selecting_: on the half that chose them, q over all sets that could have "
            "been frequent.",
        )
        self._describe()
        return rows

    def _row(self, at: int, held_out: HeldOutRows) -> dict[str, Any]:
        members = self.members[at]
        return {
            "items": " + ".join(self.items.items[item].name for item in members),
            "size": len(members),
            **held_out.row(members),
            "selecting_leverage": self.contrast.leverage[at],
            "selecting_q": self.contrast.q[at],
            "closed": bool(self.lattice.is_closed[at]),
            "maximal": bool(self.lattice.is_maximal[at]),
        }

    def _against_null(self, rows: list[dict[str, Any]], sets: list[tuple[int, ...]], *, seed: int) -> None:
        kind = self.variables.null
        columns = self.items.columns(self.halves.held_out[0])
        null, n_rows = null_of_sets(columns, sets, null=kind, n_draws=self.variables.n_draws, seed=seed)
        for at, row in enumerate(rows):
            if row["n"] >= FEW:
                expected = null.mean[at] / n_rows
                row |= {"p_null": null.p_max[at], "times_null": row["active_support"] / expected if expected else None}
        kept = "how common each item is" + (" and how many each row has" if kind == "swaps" else "")
        self.findings.note(
            f"p_null, times_null: {null.n_draws} draws over {n_rows:,} held-out active rows that keep {kept}; a set "
            "whose items go together everywhere passes it too: the contrast is what speaks of the feature"
            + ("" if self.halves.clusters is None else "; it takes the rows of one document as independent")
        )

    def _describe(self) -> None:
        sets, lattice, contrast = self.sets, self.lattice, self.contrast
        active, inactive = map(len, self.halves.selecting)
        self.findings.add(
            n_frequent=len(sets),
            n_closed=int(lattice.is_closed.sum()),
            n_maximal=int(lattice.is_maximal.sum()),
            n_candidates=contrast.n_candidates,
            n_active=active + len(self.halves.held_out[0]),
            n_inactive=inactive + len(self.halves.held_out[1]),
        )
        order = np.flatnonzero(lattice.is_closed & (sets.lengths > 1))
        order = order[np.argsort(-sets.counts[order], kind="stable")]
        self.findings.table(
            "closed_sets",
            CLOSED_COLUMNS,
            [
                {
                    "items": " + ".join(self.items.items[item].name for item in self.members[at]),
                    "size": len(self.members[at]),
                    "n": int(sets.counts[at]),
                    "active_support": sets.supports[at],
                    "leverage": contrast.leverage[at],
                    "selecting_p": contrast.p[at],
                    "selecting_q": contrast.q[at],
                    "maximal": bool(lattice.is_maximal[at]),
                }
                for at in order[:CLOSED_SHOWN].tolist()
            ],
            caption=f"OBSERVATIONAL, selecting half ({active:,} active and {inactive:,} inactive rows): the commonest "
            f"{min(CLOSED_SHOWN, len(order))} of {len(order):,} closed sets of two items and more among active rows "
            "(no more particular set is in as many rows; maximal: none is frequent). Common is not particular: see "
            f"leverage. q: Benjamini-Hochberg over all {contrast.n_candidates:,} sets that could have been frequent. "
            f"{AT_MOST}",
        )
        n_pairs = _rung_pairs(self.items)
        self.findings.drop("pair of rungs of one family, or names of one group, that is never one set", n_pairs)
        self.findings.note(
            "two rungs of one family are never in one set: under cumulative coding they go together by construction; "
            + (
                "the item of a rung is in every row with at least that rung, and of several rungs the one with the "
                "largest leverage is shown, tested against the rung below it"
                if self.variables.rungs == "at_least"
                else "a family stands for its highest rung in a row, exactly"
            )
        )
        self.findings.note(
            f"mined on {active:,} active rows of one half (sets in at least {self.variables.min_support:g} of them, up "
            f"to {self.variables.max_size} items); supports, p and intervals come from the other half"
        )


def _rung_pairs(items: ItemTable) -> int:
    exclusive = items.exclusive
    _, sizes = np.unique(exclusive[exclusive >= 0], return_counts=True)
    return int((sizes * (sizes - 1) // 2).sum())


def _corrected(rows: list[dict[str, Any]]) -> int:
    """Write `p_corrected` (of the set and of what it adds to its parts) and `confirmed`; how many were tested."""
    p = np.array([max(row["p"], row["p_parts"]) if "p" in row else np.nan for row in rows])
    n_tested = int((~np.isnan(p)).sum())
    corrected = holm(p, skip_nan=True) if n_tested else p
    for row, value in zip(rows, corrected.tolist(), strict=True):
        row["p_corrected"] = value
        row["confirmed"] = bool(value < ALPHA)
    return n_tested
