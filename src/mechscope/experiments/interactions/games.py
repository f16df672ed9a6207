"""The game of a few tokens in every base context: exact Shapley and Banzhaf interaction of its pairs.

Players are tokens that can all stand together; the value of a set of them is the feature in the base context with these
and without the others. All 2^n sets are run in each base context, so that the indices are exact there, and their mean
over base contexts has an interval. Where the plain second difference takes the other players as the base context has
them, Shapley's index averages it over sets of the other players, every size alike, and Banzhaf's over all sets alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mechscope.core import UserError, derive_seed
from mechscope.experiments.algorithms import interaction_index
from mechscope.experiments.algorithms.shapiq_indices import ShapiqIndex, shapiq_pairs
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, PairedCells, paired_cells
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.factorial import Design, Scale, measure_corners, scale_words
from mechscope.experiments.interactions.factors import Factor
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["play_pairs"]

NEEDED_SHARE = 0.2
FEWEST_PLAYERS = 3


def play_pairs(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    bases: Bases,
    factors: Sequence[Factor],
    *,
    scale: Scale,
    n_players: int,
    also: Sequence[ShapiqIndex] = (),
) -> None:
    """Write the tables `shapley_pairs` and `shapley_values` for the first factors that can stand together.

    Args:
        factors: in order of preference; one is passed over where fewer than a fifth of the base contexts can hold it
            with those before it.
        scale: of the value; the logarithm counts base contexts with every set above zero alone.
        n_players: how many at most.
        also: indices of shapiq to give beside.

    Cost: 2^n forwards a base context.
    """
    players = _together(context, bases, factors, n_players)
    if len(players) < FEWEST_PLAYERS:
        findings.note("no Shapley interaction: no three of the tokens can be set together in enough base contexts")
        return
    constraints = Constraints(spec.constraints, context, Findings())
    values = measure_corners(context, spec.feature_id, bases, [players], constraints).on(scale)[:, 0]
    games = values[np.isfinite(values).all(axis=1)]
    clusters = bases.clusters[np.isfinite(values).all(axis=1)]
    if len(np.unique(clusters)) < FEW:
        findings.note(f"no Shapley interaction: {len(games)} base contexts hold every set of the players")
        return
    pairs = list(combinations(range(len(players)), 2))
    first, second = (np.array(side) for side in zip(*pairs, strict=True))

    def cells(table: np.ndarray, name: str) -> PairedCells:
        return paired_cells(table, clusters, seed=derive_seed(spec.seed, f"game {name}"))

    shapley = cells(np.stack([interaction_index(game)[first, second] for game in games]), "shapley")
    others = {"banzhaf": np.stack([interaction_index(game, kind="banzhaf")[first, second] for game in games])}
    full = (1 << len(players)) - 1
    for name, base in (("alone", np.zeros(len(pairs), np.int64)), ("among_all", full & ~(1 << first | 1 << second))):
        corners = (base, base | 1 << first, base | 1 << second, base | 1 << first | 1 << second)
        none, one, other, both = (games[:, at] for at in corners)
        others[name] = both - one - other + none
    others |= {name: np.stack([shapiq_pairs(game, name)[first, second] for game in games]) for name in also}
    measured = {name: cells(table, name) for name, table in others.items()}
    rows = []
    for at, pair in enumerate(pairs):
        row = {"first": players[pair[0]].name, "second": players[pair[1]].name, **shapley.row(at)}
        for name, one_index in measured.items():
            row |= {name: one_index.mean[at], f"{name}_low": one_index.low[at], f"{name}_high": one_index.high[at]}
        rows.append(row)
    ends = [f"{name}{end}" for name in measured for end in ("", "_low", "_high")]
    held = f"the {len(games)} base contexts that can hold every set of {', '.join(player.name for player in players)}"
    findings.table(
        "shapley_pairs",
        ("first", "second", *CELL_COLUMNS, *ends),
        rows,
        caption=f"Exact in {held}; value: the feature {scale_words(scale, context)}. mean_delta: Shapley interaction "
        f"index; p: sign-flip, max-T over {shapley.n_tested} pairs; banzhaf: Banzhaf's; alone, among_all: the second "
        "difference with the other players absent, and present." + (" Others by shapiq." if also else ""),
    )
    single = cells(np.stack([interaction_index(game, order=1) for game in games]), "values")
    findings.table(
        "shapley_values",
        ("token", *CELL_COLUMNS),
        [{"token": player.name, **single.row(at)} for at, player in enumerate(players)],
        caption=f"Shapley value of each player, in {held}: they add up to all players less none.",
    )
    findings.add(shapley_players=[player.name for player in players], n_games=len(games))


def _together(context: ExperimentContext, bases: Bases, factors: Sequence[Factor], n_players: int) -> Design:
    """The first factors that enough base contexts can hold all at once, of different topics."""
    chosen: list[Factor] = []
    for factor in factors:
        if len(chosen) < n_players and factor.topic not in {other.topic for other in chosen}:
            trial = [*chosen, factor]
            n = sum(_can_hold(context, bases, at, trial) for at in range(len(bases)))
            if n >= max(FEW, NEEDED_SHARE * len(bases)):
                chosen = trial
    return tuple(chosen)


def _can_hold(context: ExperimentContext, bases: Bases, at: int, factors: Sequence[Factor]) -> bool:
    base = bases.contexts[at]
    if any(factor.refusal(context, base) for factor in factors):
        return False
    change = factors[0].on
    for factor in factors[1:]:
        change = change.joined(factor.on)
    try:
        change.apply(context.domain, base)
    except UserError:
        return False
    return True
