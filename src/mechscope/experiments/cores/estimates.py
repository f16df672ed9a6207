"""What the trials of cores on held-out contexts say: estimates, corrected tests, controls, and claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechscope.core import derive_seed
from mechscope.experiments.algorithms import kl_bounds
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, PairedCells, flag_of, paired_cells
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.selecting import ALPHA
from mechscope.experiments.cores.players import TokenCore
from mechscope.experiments.cores.trials import Changes, CoreTrials
from mechscope.experiments.findings import Findings
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["CoreVerification"]

TESTS = ("inserted", "removed")
KEPT_COLUMNS = ("core", "n", "n_kept", "precision", "precision_low", "precision_high", "flag")
TEST_COLUMNS = (
    "core", "test", *CELL_COLUMNS, "control_delta", "control_delta_low", "control_delta_high", "n_control",
    "n_refused", "reach", "reach_low", "reach_high", "holds",
)  # fmt: skip


@dataclass(eq=False)
class CoreVerification:
    """The verification of chosen cores.

    Attributes:
        cores: chosen on the other half. trials: where they are tried. findings: takes tables and claims.
        share: of its own activation that a context must keep. level: an activation that counts as reached.
        least: least difference that counts. n: contexts a trial.
    """

    cores: Sequence[TokenCore]
    trials: CoreTrials
    findings: Findings
    share: float
    level: float
    least: float
    n: int

    def run(self, spec: ExperimentSpec, constraints: Constraints) -> None:
        """Try all cores, and write the tables `core_precision` and `core_tests`, claims and findings."""
        kept = [self._kept(core) for core in self.cores]
        self.findings.table(
            "core_precision",
            KEPT_COLUMNS,
            kept,
            caption=f"Held-out contexts, as active as the searched ones, that have the core (n): in how many it keeps "
            f"{self.share:g} of the activation alone. Bounds by Chernoff, each missed with probability "
            f"{ALPHA:g} / {len(self.cores)} at most.",
        )
        bases = self.trials.contexts.verifying(self.n)
        changes = [self.trials.inserted(core, bases) for core in self.cores]
        changes += [self.trials.removed(core, n=self.n) for core in self.cores]
        self.findings.n_contexts_tested += len({row for change in changes for row in change.rows.tolist()})
        self._floor(changes, constraints)
        seed = derive_seed(spec.seed, "core tests")
        cells = self._cells([change.after - change.before for change in changes], changes, seed)
        control = self._cells([change.control - change.before for change in changes], changes, seed)
        self.findings.n_comparisons = cells.n_tested
        rows = [self._row(at, changes[at], cells, control) for at in range(len(changes))]
        self.findings.table(
            "core_tests",
            TEST_COLUMNS,
            rows,
            caption="Held-out contexts, chosen without regard to activation: paired change when the core is put in "
            f"where it is not whole, or taken out where it is. p: sign-flip, max-T over {cells.n_tested}; effect: "
            "d_z. control: a change of the same shape with other tokens in the same contexts. reach: share afterwards "
            f"at or above {self.level:.4g} (inserted), or at or below it (removed). holds: p corrected below 0.05, a "
            "mean of at least the least effect, and the interval beyond the control's mean.",
        )
        self._conclude(rows, kept, spec.feature_id)

    def _kept(self, core: TokenCore) -> dict[str, Any]:
        k, n = self.trials.kept(core, share=self.share, n=self.n)
        row: dict[str, Any] = {"core": str(core), "n": n, "n_kept": k, "flag": flag_of(n)}
        if n >= FEW:
            low, high = kl_bounds(k, n, delta=ALPHA / len(self.cores))
            row |= {"precision": k / n, "precision_low": low, "precision_high": high}
        return row

    def _cells(self, deltas: Sequence[np.ndarray], changes: Sequence[Changes], seed: int) -> PairedCells:
        """One cell a trial; contexts of one row, or one document, are one cluster."""
        rows = np.unique(np.concatenate([change.rows for change in changes]))
        table = np.full((max(len(rows), 1), len(changes)), np.nan)
        for at, (delta, change) in enumerate(zip(deltas, changes, strict=True)):
            table[np.searchsorted(rows, change.rows), at] = delta
        clusters = self.trials.context.clusters_of(rows) if len(rows) else np.zeros(1, np.int64)
        return paired_cells(table, clusters, seed=seed)

    def _row(self, at: int, change: Changes, cells: PairedCells, control: PairedCells) -> dict[str, Any]:
        test, core = TESTS[at // len(self.cores)], self.cores[at % len(self.cores)]
        sign = 1.0 if test == "inserted" else -1.0
        reached = int((sign * (change.after - self.level) >= 0).sum())
        low, high = kl_bounds(reached, len(change), delta=ALPHA / len(cells.n)) if len(change) >= FEW else (None, None)
        end = cells.low[at] if sign > 0 else -cells.high[at]
        beside = sign * control.mean[at] if control.n_clusters[at] >= FEW else 0.0
        holds = cells.p_corrected[at] < ALPHA and sign * cells.mean[at] >= self.least and end > max(beside, 0.0)
        return {
            "core": str(core),
            "test": test,
            **cells.row(at),
            "control_delta": control.mean[at],
            "control_delta_low": control.low[at],
            "control_delta_high": control.high[at],
            "n_control": int(control.n[at]),
            "n_refused": change.n_refused,
            "reach": reached / len(change) if len(change) >= FEW else None,
            "reach_low": low,
            "reach_high": high,
            "holds": bool(holds),
        }

    def _floor(self, changes: Sequence[Changes], constraints: Constraints) -> None:
        inserted = changes[: len(self.cores)]
        rows = np.unique(np.concatenate([change.rows for change in inserted]))
        values = np.full((len(rows), 1 + len(inserted)), np.nan)
        for at, change in enumerate(inserted):
            place = np.searchsorted(rows, change.rows)
            values[place, 0], values[place, 1 + at] = change.before, change.after
        if len(rows):
            constraints.floor(values, touches_group=False)

    def _conclude(self, rows: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]], feature: int) -> None:
        confirmed, n_cores = list[str](), len(self.cores)
        for at, core in enumerate(self.cores):
            inserted, removed, alone = rows[at], rows[n_cores + at], kept[at]
            share = alone.get("precision")
            words = ""
            if share is not None:
                words = (
                    f"; alone it keeps {self.share:g} of it in {100 * share:.0f} % of {alone['n']} held-out contexts"
                )
            if inserted["holds"] and removed["holds"]:
                confirmed.append(str(core))
                self.findings.claim(
                    f"{core} raises feature {feature} by {inserted['mean_delta']:.3g}{_beside(inserted)} where it is "
                    f"put in, and its removal lowers it by {-removed['mean_delta']:.3g}{_beside(removed)}{words}"
                )
            elif inserted["holds"] or removed["holds"]:
                one, other = ("put in", "taken out") if inserted["holds"] else ("taken out", "put in")
                self.findings.find(
                    f"{core} moves feature {feature} when it is {one}, which is not shown when it is {other}{words}"
                )
        self.findings.add(n_verified=n_cores, confirmed_cores=confirmed)
        top = rows[0]
        self.findings.aggregate(
            mean_delta=top["mean_delta"],
            std_delta=top["std_error"] * np.sqrt(top["n"]) if top["n"] >= FEW else None,
            n_samples=self.findings.n_samples,
        )


def _beside(row: dict[str, Any]) -> str:
    """The control in words, where there are enough of it."""
    return f" ({row['control_delta']:+.2g} for other tokens)" if row["n_control"] >= FEW else ""
