"""Differences of order k at the corners of designs: tested on a stated scale, held beside other scales and the floor.

The sign of an interaction belongs to a scale: what multiplies has none in the logarithm, and a ReLU or TopK, which
cuts off what lies below its floor, makes one out of effects that add up. So each design is measured on every scale, and
the diagnosis says what the floor has to do with the difference of activations:

    free      no corner of any base context is at zero
    touched   some are; the difference of activations and that before the floor do not contradict each other
    made      the activations interact, and before the floor nothing does, or with the other sign
    hidden    what interacts before the floor is cut off: the activations do not
    at floor  the feature is zero in every corner in at least half of the base contexts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.algorithms import diagnose_floor
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import FEW, PairedCells, paired_cells
from mechscope.experiments.changing.selecting import ALPHA, Confirmation, confirm, with_halves
from mechscope.experiments.findings import FLOOR_RATE
from mechscope.experiments.interactions.factorial import Corners, Scale

__all__ = ["SCALES", "Estimates", "covers_zero", "estimate"]

ROUNDING = 1e-9

SCALES: tuple[Scale, ...] = ("pre_activation", "activation", "log")


def covers_zero(low: float, high: float) -> bool:
    """Whether an interval holds 0, or misses it by rounding alone: effects that add up leave 1e-16. False for NaN."""
    return bool(low <= ROUNDING and high >= -ROUNDING)


@dataclass(frozen=True, eq=False)
class Estimates:
    """What was found of each design.

    Attributes:
        stated: the scale that selects, tests and names.
        least: the least difference that counts, on each scale.
        cells: of every scale, corrected over the designs. above_floor: activations of base contexts without a zero.
        selecting: on the stated scale, the half that chooses; told: what the held-out half says of what it chose.
        signs: +1 or -1 for designs chosen and confirmed, else 0.
        zero_shares: of each corner, float64 [designs, 2^k]. touched: share of base contexts with a corner at zero.
        diagnoses: of each design.
    """

    stated: Scale
    least: Mapping[Scale, float]
    cells: Mapping[Scale, PairedCells]
    above_floor: PairedCells
    selecting: PairedCells
    told: tuple[Confirmation | None, ...]
    signs: tuple[int, ...]
    zero_shares: np.ndarray
    touched: np.ndarray
    diagnoses: tuple[str, ...]

    @property
    def main(self) -> PairedCells:
        """The cells on the stated scale."""
        return self.cells[self.stated]

    def moves(self, scale: Scale, at: int) -> int:
        """The sign of a design on a scale where it passes the corrected test and the least difference, else 0."""
        cells = self.cells[scale]
        is_moving = cells.p_corrected[at] < ALPHA and abs(cells.mean[at]) >= self.least[scale]
        return int(np.sign(cells.mean[at])) if is_moving else 0

    def held_row(self, at: int) -> dict[str, Any]:
        """What the held-out half says, as columns of a table."""
        told = self.told[at]
        return {} if told is None else {"held_out_delta": told.mean, "held_out_p": told.p}

    def scale_row(self, at: int) -> dict[str, Any]:
        """The difference on every scale with its interval, and with corners above zero alone."""
        row: dict[str, Any] = {}
        for name, cells in (*self.cells.items(), ("above_floor", self.above_floor)):
            row |= {name: cells.mean[at] if cells.n[at] >= FEW else None}
            row |= {f"{name}_low": cells.low[at], f"{name}_high": cells.high[at]}
        return row | {"n": int(self.main.n[at]), "n_above_floor": int(self.above_floor.n[at])}


def estimate(
    corners: Corners, bases: Bases, *, stated: Scale, min_effect: float, maximum: float, seed: int
) -> Estimates:
    """Test every design on every scale, and choose on one half of the base contexts what the other confirms.

    Args:
        corners, bases: what was measured.
        stated: the scale that tests and names.
        min_effect: least difference that counts, as a share of `maximum`, the feature's effective maximum.
        seed: of resamples and sign flips.

    On the scale of activations, a design whose difference is not there (same sign, interval away from 0) with all
    corners above zero is not confirmed where any corner is at zero.
    """
    least: dict[Scale, float] = {"log": float(np.log1p(min_effect))}
    least |= dict.fromkeys(("pre_activation", "activation"), min_effect * maximum)
    differences = {scale: corners.differences(scale) for scale in SCALES}
    cells, selecting = with_halves(differences[stated], bases, seed=derive_seed(seed, stated))
    every: dict[Scale, PairedCells] = {stated: cells}
    for scale in SCALES:
        every.setdefault(scale, paired_cells(differences[scale], bases.clusters, seed=derive_seed(seed, scale)))
    is_free = np.isfinite(differences["log"])
    free = np.where(is_free, differences["activation"], np.nan)
    above = paired_cells(free, bases.clusters, seed=derive_seed(seed, "above floor"))
    n_designs = len(corners.designs)
    told: list[Confirmation | None] = [None] * n_designs
    signs = np.zeros(n_designs, np.int64)
    zeros, touched = _floor(corners)
    for at in range(n_designs):
        if not (selecting.p_corrected[at] < ALPHA and abs(selecting.mean[at]) >= least[stated]):
            continue
        sign = float(np.sign(selecting.mean[at]))
        said = confirm(
            differences[stated][:, at], bases, sign=sign, min_effect=least[stated], seed=derive_seed(seed, f"{at}")
        )
        told[at] = said
        is_clear = stated != "activation" or not touched[at] or (above.low[at] > 0 if sign > 0 else above.high[at] < 0)
        signs[at] = int(sign) if said.holds and is_clear else 0
    ordered: dict[Scale, PairedCells] = {scale: every[scale] for scale in SCALES}
    found = Estimates(stated, least, ordered, above, selecting, tuple(told), tuple(signs.tolist()), zeros, touched, ())
    return replace(found, diagnoses=tuple(_diagnosis(found, corners, at) for at in range(n_designs)))


def _floor(corners: Corners) -> tuple[np.ndarray, np.ndarray]:
    """Share of base contexts at zero in each corner [designs, 2^k], and with any corner there [designs]."""
    zeros = np.full((len(corners.designs), 1 << corners.order), np.nan)
    touched = np.full(len(corners.designs), np.nan)
    for at in range(len(corners.designs)):
        measured = ~np.isnan(corners.activation[:, at, 0])
        if measured.any():
            found = diagnose_floor(corners.activation[measured, at], pre_relu=corners.before[measured, at])
            zeros[at], touched[at] = found.zero_share_by_corner, found.touched_share
    return zeros, touched


def _diagnosis(found: Estimates, corners: Corners, at: int) -> str:
    """Which of the cases above; empty below 5 base contexts."""
    if found.main.n_clusters[at] < FEW and found.cells["activation"].n_clusters[at] < FEW:
        return ""
    silent = (np.nan_to_num(corners.activation[:, at], nan=0.0) <= 0).all(axis=1)
    measured = ~np.isnan(corners.activation[:, at, 0])
    if silent[measured].mean() >= FLOOR_RATE:
        return "at floor"
    if not found.touched[at]:
        return "free"
    after, before = found.moves("activation", at), found.moves("pre_activation", at)
    if after and after != before:
        return "made"
    return "hidden" if before and not after else "touched"
