"""Which tokens move a feature when they are added or removed, a family of tied rungs judged as one.

Every token has a cell of its differences, added and removed together; every rung of a family has two more, of adding
and of removing alone. All cells share one max-T correction. A token without a family is judged by its own cell, a
family by its added cells (the lowest that moves is where it starts), or by its removed ones (the highest that moves).

A context that is highly active by chance falls back under any change of it. A token therefore counts only if it also
moves the feature, in its direction, beyond what the median token does to the same context when it is added (removed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mechscope.core import derive_seed
from mechscope.corpora.domain import Domain
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import PairedCells, paired_cells
from mechscope.experiments.changing.corpus_means import corpus_means
from mechscope.experiments.changing.lasting import said_rungs
from mechscope.experiments.changing.selecting import (
    ALPHA,
    Confirmation,
    confirm_cells,
    moving_cells,
    with_halves,
)
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["TESTED_COLUMNS", "SweptTokens", "judge_tokens", "token_names"]

TESTED_COLUMNS = ("tested", "tested_delta", "tested_low", "tested_high", "tested_n", "tested_p_corrected",
                  "tested_corpus_delta", "tested_corpus_low", "tested_corpus_high", "said_rungs",
                  "depends_on_context")  # fmt: skip
UP, DOWN, NONE = "enhancer", "suppressor", ""


@dataclass(frozen=True)
class SweptTokens:
    """Tokens by name: their ids, and the family and rung of those that have one."""

    ids: Mapping[str, int]
    family_of: Mapping[str, str]
    rung_of: Mapping[str, int]

    @classmethod
    def of(cls, domain: Domain, ids: Mapping[str, int]) -> Self:
        """Each token's family: the lowest rung that it is part of."""
        place: dict[int, tuple[str, int]] = {}
        for family in domain.families.values():
            for rung, tokens in zip(family.rungs, family.tokens, strict=True):
                for token in tokens:
                    place.setdefault(token, (family.name, rung))
        known = {name: place[token] for name, token in ids.items() if token in place}
        return cls(ids, {name: at[0] for name, at in known.items()}, {name: at[1] for name, at in known.items()})


def token_names(context: ExperimentContext, *, must_switch: bool) -> list[str]:
    """The tokens of a subject that are worth a look: those that its corpus lists in families and binaries; where it
    lists none, the domain's binaries, or, if nothing has to be switched, whatever token stands in some row.

    Special tokens, and tokens that show alike, are left out.
    """
    inputs, corpus = context.inputs, context.corpus
    listed = [*(token for tokens in inputs.families.values() for token in tokens), *inputs.binary_tokens]
    if listed:
        return listed
    if must_switch:
        return [corpus.vocabulary[token] for token in context.domain.binaries.values()]
    shown, counts = np.unique(np.array(corpus.vocabulary, dtype=object).astype(str), return_counts=True)
    alike = set(shown[counts > 1].tolist())
    is_there = np.bincount(corpus.tokens.ids, minlength=len(corpus.vocabulary)) > 0
    return [
        token
        for token, occurs in zip(corpus.vocabulary, is_there, strict=True)
        if occurs and token not in alike and not (token.startswith("<") and token.endswith(">"))
    ]


def judge_tokens(
    tokens: SweptTokens, removed: np.ndarray, added: np.ndarray, bases: Bases, *, least: float, seed: int
) -> tuple[list[dict[str, Any]], int]:
    """A row for each token, in their order, and how many cells the correction runs over.

    Args:
        tokens: names, families.
        removed, added: differences "with minus without", float64 [n_bases, tokens], NaN where not measured.
        bases: their halves, clusters and weights.
        least: least mean difference that counts. seed: of resamples and flips.
    """
    names = list(tokens.ids)
    together = np.where(np.isnan(removed), added, removed)
    of_family = [at for at, name in enumerate(names) if name in tokens.family_of]
    deltas = np.concatenate([together, added[:, of_family], removed[:, of_family]], axis=1)
    typical_removed, typical_added = _typical(removed), _typical(added)
    typical = np.where(np.isnan(removed), typical_added, typical_removed)
    of_cells = [typical, *(column.repeat(len(of_family), axis=1) for column in (typical_added, typical_removed))]
    beyond = deltas - np.concatenate(of_cells, axis=1)
    cells, selecting = with_halves(deltas, bases, seed=seed)
    added_at = {names[at]: len(names) + place for place, at in enumerate(of_family)}
    removed_at = {name: at + len(of_family) for name, at in added_at.items()}
    chosen: dict[str, tuple[int, Confirmation, int]] = {}
    confirmed = _confirmed(deltas, beyond, selecting, bases, least=least, seed=seed)

    def try_cell(name: str, at: int) -> bool:
        """Whether the cell moves in the selecting half and the other confirms it; then it is kept for the token."""
        if at in confirmed:
            chosen[name] = (int(np.sign(selecting.mean[at])), confirmed[at], at)
        return at in confirmed

    for at, name in enumerate(names):
        if name not in tokens.family_of:
            try_cell(name, at)
    for family in dict.fromkeys(tokens.family_of.values()):
        rungs = sorted(
            (name for name in added_at if tokens.family_of[name] == family), key=lambda name: tokens.rung_of[name]
        )
        if not any(try_cell(name, added_at[name]) for name in rungs):
            any(try_cell(name, removed_at[name]) for name in reversed(rungs))
    tables = (removed, added, removed - typical_removed, added - typical_added)
    split = [paired_cells(table, bases.clusters, seed=seed, should_bound=False) for table in tables]
    sides = [np.sign(one.mean) * (one.p_corrected < ALPHA) for one in split]
    parts = (sides[0] * sides[1] < 0) & (sides[0] == sides[2]) & (sides[1] == sides[3])
    weighted = corpus_means(deltas[:, [cell for _, _, cell in chosen.values()]], bases, seed=seed)
    of_corpus = dict(zip(chosen, weighted, strict=True))
    beside, n_beside = _means(np.where(np.isnan(together), np.nan, typical))
    sides_of = {"removed": _means(removed), "added": _means(added)}
    rows = []
    for at, name in enumerate(names):
        row = _row(name, at, cells, tokens, sides_of, chosen.get(name))
        row |= dict.fromkeys(TESTED_COLUMNS) | {"depends_on_context": bool(parts[at])}
        if name in chosen:
            sign, _, cell = chosen[name]
            row |= _tested(cells.row(cell), of_corpus[name])
            row["tested"] = "both" if cell == at else "added" if cell == added_at[name] else "removed"
            row["said_rungs"] = _said_rungs(name, row["tested"], tokens, added_at, cells, sign)
        rows.append(row | {"typical_delta": beside[at] if n_beside[at] else None})
    return rows, cells.n_tested


def _means(deltas: np.ndarray) -> tuple[list[float], list[int]]:
    """Mean and number of what was measured of each token; NaN and 0 where nothing was."""
    n = (~np.isnan(deltas)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return (np.nansum(deltas, axis=0) / np.where(n > 0, n, np.nan)).tolist(), n.tolist()


def _confirmed(
    deltas: np.ndarray, beyond: np.ndarray, selecting: PairedCells, bases: Bases, *, least: float, seed: int
) -> dict[int, Confirmation]:
    """The cells that move in the selecting half and that the other confirms, also beyond the median token."""
    moving = moving_cells(selecting, min_effect=least)
    told, control = (
        confirm_cells(
            table[:, moving],
            bases,
            signs=np.sign(selecting.mean[moving]),
            min_effect=least,
            seed=derive_seed(seed, "confirm"),
            should_correct=False,
        )
        for table in (deltas, beyond)
    )
    return {at: one for at, one, other in zip(moving, told, control, strict=True) if one.holds and other.holds}


def _tested(cell: Mapping[str, Any], corpus: Mapping[str, float]) -> dict[str, Any]:
    """The numbers of the very cell that was tested."""
    kept = {f"tested_{name}": cell[name] for name in ("low", "high", "n", "p_corrected")}
    return {"tested_delta": cell["mean_delta"], **kept, **{f"tested_{name}": value for name, value in corpus.items()}}


def _said_rungs(
    name: str, tested: str, tokens: SweptTokens, added_at: Mapping[str, int], cells: PairedCells, sign: int
) -> str | None:
    """Whether a family's verdict holds of the rungs above too, by what adding them does; None without a family."""
    family = tokens.family_of.get(name)
    if family is None:
        return None
    rung = tokens.rung_of[name]
    if tested == "removed":
        return f"with rung {rung} or more"
    known = sorted((tokens.rung_of[one], at) for one, at in added_at.items()
                   if tokens.family_of[one] == family and tokens.rung_of[one] >= rung)  # fmt: skip
    return said_rungs([one for one, _ in known], [cells.row(at) for _, at in known], [0], sign=sign)


def _typical(deltas: np.ndarray) -> np.ndarray:
    """What the median token does to each context, float64 [n_bases, 1]; 0 where no token was measured."""
    is_known = ~np.isnan(deltas).all(axis=1, keepdims=True)
    found: np.ndarray = np.nanmedian(np.where(is_known, deltas, 0.0), axis=1, keepdims=True)
    return found


def _row(
    name: str,
    at: int,
    cells: PairedCells,
    tokens: SweptTokens,
    sides: Mapping[str, tuple[list[float], list[int]]],
    chosen: tuple[int, Confirmation, int] | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"token": name, **cells.row(at), "verdict": NONE, "held_out_delta": None, "held_out_p": None}
    for word, (means, counts) in sides.items():
        row |= {f"{word}_delta": means[at] if counts[at] else None, f"n_{word}": counts[at]}
    row |= {"family": tokens.family_of.get(name), "start": None}
    if chosen is not None:
        sign, told, _ = chosen
        row |= {"verdict": UP if sign > 0 else DOWN, "held_out_delta": told.mean, "held_out_p": told.p}
        row["start"] = tokens.rung_of.get(name)
    return row
