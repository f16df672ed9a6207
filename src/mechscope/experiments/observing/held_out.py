"""What one half of the rows shows, measured on the other, with intervals over units."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.observing.item_associations import ItemAssociations
from mechscope.stats import FEW_CLUSTERS, auroc, bootstrap_group_difference, bootstrap_mean
from mechscope.stats.bundles import N_BUNDLES, bundle_units, bundled_difference, bundled_mean
from mechscope.stats.samples import n_different

__all__ = ["held_out"]


def held_out(measured: ItemAssociations, units: np.ndarray, *, seed: int) -> tuple[list[dict[str, Any]], str]:
    """The best item of the first half measured in the second, and the R2 (held out as it is) with its interval.

    Args:
        measured: the associations; its second half holds whole units.
        units: what is resampled, 0 to G - 1, int64 [n]. seed: of the resamples.

    Returns:
        A row for each statistic, and what was resampled in words.
    """
    n_all = int(units.max()) + 1
    bundles = bundle_units(units, n_all, seed=seed)
    areas, means, z = measured.of_half(0)
    second, items = measured.is_second, measured.items
    values, clusters = measured.values[second], units[second]
    n_units = n_different(clusters)
    rows: list[dict[str, Any]] = []
    for name, strength, scores, chance in (
        ("best_token_auroc", np.abs(areas - 0.5), areas, 0.5),
        ("largest_effect", np.abs(z), means, 0.0),
    ):
        at = int(np.argmax(np.nan_to_num(strength, nan=-1.0)))
        has = measured.table.rows_in(1, at)
        row = {"statistic": name, "item": items.names[at], "selecting_value": scores[at], "n_with": int(has.sum()),
               "n": len(values), "excludes_chance": False}  # fmt: skip
        if min(has.sum(), (~has).sum()) >= FEW and n_units >= FEW:
            if name == "best_token_auroc":
                area = auroc(values, has, clusters=clusters)
                value, low, high = area.value, area.low, area.high
            else:
                value, low, high = _difference(
                    values, has, clusters, None if bundles is None else bundles[second], seed
                )
            outside = low > chance if scores[at] > chance else high < chance
            row |= {"value": value, "low": low, "high": high, "excludes_chance": bool(outside)}
        rows.append(row)
    shares = measured.r_squared_by_row()
    if bundles is None:
        whole = bootstrap_mean(shares, seed=seed, clusters=units)
        value, low, high = whole.value, whole.low, whole.high
    else:
        value, low, high = bundled_mean(shares, bundles, seed=seed)
    rows.append(
        {"statistic": "held_out_r2", "item": f"{len(measured.in_ridge)} items together", "n": len(units),
         "value": value, "low": low, "high": high, "excludes_chance": low > 0}
    )  # fmt: skip
    if bundles is None:
        return rows, "bootstrap"
    return rows, f"bootstrap of {N_BUNDLES:,} bundles of {'rows' if n_all == len(units) else 'documents'}"


def _difference(
    values: np.ndarray, has: np.ndarray, clusters: np.ndarray, bundles: np.ndarray | None, seed: int
) -> tuple[float, float, float]:
    """Mean with an item less that without, and its ends; units with it too few to be resampled are left to t."""
    if bundles is None or min(n_different(clusters[has]), n_different(clusters[~has])) < FEW_CLUSTERS:
        found = bootstrap_group_difference(values, has, seed=seed, clusters=clusters)
        return found.value, found.low, found.high
    return bundled_difference(values, has, bundles, seed=seed)
