"""Whether two things in a grid act together: second differences, pairs that both halves show, and the ReLU's part."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, PairedCells, paired_cells
from mechscope.experiments.changing.responses import Responses
from mechscope.experiments.changing.selecting import ALPHA, confirm_cells, moving_cells, with_halves
from mechscope.experiments.findings import Findings
from mechscope.experiments.interactions.grids import GridAxis, effects_together, second_differences

__all__ = ["said_of_interaction", "write_interactions"]

INTERACTION_COLUMNS = ("x", "y", *CELL_COLUMNS, "before_floor", "before_floor_low", "before_floor_high")
OVERALL_COLUMNS = ("scale", *CELL_COLUMNS)
HELD_OUT_COLUMNS = ("pair", "selecting_delta", "selecting_p_corrected", "held_out_delta", "held_out_low",
                    "held_out_high", "held_out_n", "held_out_p", "together", "added_up", "holds")  # fmt: skip
OVERALL = "the mean of all pairs"

Row = dict[str, Any]


def write_interactions(
    responses: Responses,
    x: GridAxis,
    y: GridAxis,
    bases: Bases,
    findings: Findings,
    *,
    feature: int,
    min_effect: float,
    seed: int,
) -> tuple[int, str | None]:
    """Write the second difference of every pair of levels, their mean, and which of them both halves show.

    Args:
        responses: of the cells of the grid in order, with what lies below the floor.
        feature: whose interaction it is, for the words.
        min_effect: least interaction that counts, in activation units.

    Returns:
        Pairs tested, the mean included; and, where an interaction holds in both halves and before the floor, its claim.
    """
    assert responses.before_floor is not None
    pairs, below = (second_differences(table, x, y) for table in (responses.values, responses.before_floor))
    together = effects_together(responses.values, x, y)
    levels = [(i, j) for i in x.levels[1:] for j in y.levels[1:]]
    tested, selecting = with_halves(pairs, bases, seed=derive_seed(seed, "pairs"))
    before = paired_cells(below, bases.clusters, seed=derive_seed(seed, "before the floor"))
    rows = [
        {"x": i, "y": j, **tested.row(at), "before_floor": before.mean[at], "before_floor_low": before.low[at],
         "before_floor_high": before.high[at]}
        for at, (i, j) in enumerate(levels)
    ]  # fmt: skip
    findings.table("interactions", INTERACTION_COLUMNS, rows, caption="Second differences; p: sign-flip, max-T over "
                   f"{tested.n_tested}, their mean included; before_floor: of what the feature is before ReLU or TopK "
                   "selects, which cannot make them there.")  # fmt: skip
    overall = _write_overall(pairs, below, bases, findings, seed)
    names = [*(f"{i} x {j}" for i, j in levels), OVERALL]
    held = _conclude(pairs, below, together, selecting, names, bases, findings, min_effect, seed)
    words = (
        None if held is None else said_of_interaction(held, overall, feature=feature, names=f"{x.name} and {y.name}")
    )
    return tested.n_tested, words


def _write_overall(pairs: np.ndarray, below: np.ndarray, bases: Bases, findings: Findings, seed: int) -> Row:
    both = [paired_cells(part[:, -1:], bases.clusters, seed=derive_seed(seed, "overall")) for part in (pairs, below)]
    rows = [
        {"scale": name, **cells.row(0)} for name, cells in zip(("as activation", "before the floor"), both, strict=True)
    ]
    findings.table("overall_interaction", OVERALL_COLUMNS, rows,
                   caption="Second difference, the mean over each context's pairs; p: sign-flip.")  # fmt: skip
    everything = rows[0]
    findings.add(
        interaction=everything["mean_delta"], interaction_low=everything["low"], interaction_high=everything["high"],
        interaction_p=everything["p"], interaction_before_floor=rows[1]["mean_delta"],
    )  # fmt: skip
    return everything


def _conclude(
    pairs: np.ndarray,
    below: np.ndarray,
    together: np.ndarray,
    selecting: PairedCells,
    names: list[str],
    bases: Bases,
    findings: Findings,
    least: float,
    seed: int,
) -> Row | None:
    """Sign and size, at the pair of levels (or the mean of all) that both halves show largest; its row if claimable."""
    moving = moving_cells(selecting, min_effect=least)
    signs = np.sign(selecting.mean[moving])
    told = confirm_cells(pairs[:, moving], bases, signs=signs, min_effect=least, seed=derive_seed(seed, "confirm"))
    second = bases.is_held_out
    bounds = paired_cells(pairs[second][:, moving], bases.clusters[second], seed=derive_seed(seed, "held out"))
    both = [_known_mean(together[second, at]) for at in moving]
    rows = [
        {"pair": names[at], "selecting_delta": selecting.mean[at], "selecting_p_corrected": selecting.p_corrected[at],
         "held_out_delta": one.mean, "held_out_low": bounds.low[i], "held_out_high": bounds.high[i],
         "held_out_n": one.n, "held_out_p": one.p, "together": both[i], "added_up": both[i] - one.mean,
         "holds": one.holds}
        for i, (at, one) in enumerate(zip(moving, told, strict=True))
    ]  # fmt: skip
    findings.table("held_out", HELD_OUT_COLUMNS, rows,
                   caption="Pairs that interact in one half of the base contexts, tested on the other, from which the "
                   "numbers called held out, together (both against neither) and added_up (the sum of each by itself) "
                   "come.")  # fmt: skip
    held = [at for at, one in zip(moving, told, strict=True) if one.holds]
    findings.add(interaction_is_free_of_floor=False)
    if not held:
        return None
    free_of_floor = paired_cells(below[:, held], bases.clusters, seed=derive_seed(seed, "held"))
    agrees = np.sign(free_of_floor.mean) == np.sign(selecting.mean[held])
    is_free = agrees & (np.nan_to_num(free_of_floor.p_corrected, nan=1.0) < ALPHA)
    shown = [at for at, free in zip(held, is_free, strict=True) if free] or held
    top = max(shown, key=lambda at: abs(float(selecting.mean[at])))
    word = "positive" if selecting.mean[top] > 0 else "negative"
    row = rows[moving.index(top)]
    findings.add(interaction_sign=word, interaction_pair=names[top], interaction_of_pair=row["held_out_delta"])
    findings.add(interaction_is_free_of_floor=bool(is_free.any()))
    if not is_free.any():
        findings.warn(f"the {word} interaction is not seen before the floor: the ReLU may have made it")
        return None
    if len({float(np.sign(selecting.mean[at])) for at in shown}) > 1:
        findings.find(f"the interaction is {word} at {names[top]}, and has the other sign elsewhere in the grid")
    return row


def _known_mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _of_each(together: float, added_up: float) -> str:
    """What both do beside what each does: two that lower a feature and interact above 0 lower it less together."""
    if together * added_up <= 0:
        return f"change {{}} by {together:+.3g} together, where each by itself adds up to {added_up:+.3g}"
    verb, word = "raise" if together > 0 else "lower", "more" if abs(together) > abs(added_up) else "less"
    return f"{verb} {{}} by {abs(together):.3g} together, {word} than the {abs(added_up):.3g} of each added up"


def said_of_interaction(row: Row, overall: Row, *, feature: int, names: str) -> str:
    """A confirmed interaction in words: held-out numbers, and the mean over all pairs of levels beside them."""
    text = f"{names} {_of_each(row['together'], row['added_up']).format(f'feature {feature}')}"
    text += f" (second difference at {row['pair']}, held-out half: {row['held_out_delta']:+.3g} "
    text += f"[{row['held_out_low']:+.3g}, {row['held_out_high']:+.3g}], n = {row['held_out_n']}, "
    text += f"p = {row['held_out_p']:.2g}"
    if row["pair"] != OVERALL:
        text += f"; the mean of all pairs, all base contexts: {overall['mean_delta']:+.3g} "
        text += f"[{overall['low']:+.3g}, {overall['high']:+.3g}], n = {overall['n']}"
    return text + ")"
