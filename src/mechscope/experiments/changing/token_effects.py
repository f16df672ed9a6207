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
from mechscope.experiments.changing.cells import PairedCells
from mechscope.experiments.changing.selecting import ALPHA, Confirmation, confirm, with_halves
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["SweptTokens", "judge_tokens", "token_names"]

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
    chosen: dict[str, tuple[int, Confirmation]] = {}

    def try_cell(name: str, at: int) -> bool:
        """Whether the cell moves in the selecting half and the other confirms it; then it is kept for the token."""
        if not (selecting.p_corrected[at] < ALPHA and abs(selecting.mean[at]) >= least):
            return False
        sign = float(np.sign(selecting.mean[at]))
        told, control = (
            confirm(table[:, at], bases, sign=sign, min_effect=least, seed=derive_seed(seed, f"{name} {at}"))
            for table in (deltas, beyond)
        )
        if told.holds and control.holds:
            chosen[name] = (int(sign), told)
        return told.holds and control.holds

    for at, name in enumerate(names):
        if name not in tokens.family_of:
            try_cell(name, at)
    for family in dict.fromkeys(tokens.family_of.values()):
        rungs = sorted(
            (name for name in added_at if tokens.family_of[name] == family), key=lambda name: tokens.rung_of[name]
        )
        if not any(try_cell(name, added_at[name]) for name in rungs):
            any(try_cell(name, removed_at[name]) for name in reversed(rungs))
    rows = []
    for at, name in enumerate(names):
        row = _row(name, at, cells, tokens, removed[:, at], added[:, at], chosen.get(name))
        beside = typical[~np.isnan(together[:, at]), at]
        rows.append(row | {"typical_delta": float(beside.mean()) if len(beside) else None})
    return rows, cells.n_tested


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
    removed: np.ndarray,
    added: np.ndarray,
    chosen: tuple[int, Confirmation] | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"token": name, **cells.row(at), "verdict": NONE, "held_out_delta": None, "held_out_p": None}
    for word, values in (("removed", removed), ("added", added)):
        known = values[~np.isnan(values)]
        row |= {f"{word}_delta": float(known.mean()) if len(known) else None, f"n_{word}": len(known)}
    row |= {"family": tokens.family_of.get(name), "start": None}
    if chosen is not None:
        sign, told = chosen
        row |= {"verdict": UP if sign > 0 else DOWN, "held_out_delta": told.mean, "held_out_p": told.p}
        row["start"] = tokens.rung_of.get(name)
    return row
