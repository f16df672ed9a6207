"""What was measured of one network, and the tables made of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["OURS", "TASKS", "Cellwise", "Measured", "bars", "table"]

OURS = "mechscope"
TASKS = {
    "mid": "(b) one middle layer",
    "streams": "(c) resid + attn + mlp",
    "z": "(d) z",
    "head_out": "(d') head_out",
    "sweep": "(e) sweep, one forward a cell",
    "sweep_batched": "(e) sweep, batched",
    "steer": "(f) steered generation",
    "open": "open",
}
"""Task -> heading."""


@dataclass
class Cellwise:
    """One peer at one task: seconds of bare and measured calls, pair by pair; or why there are none."""

    bare: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    max_difference: float | None = None
    scale: float | None = None
    share_changed: float | None = None
    error: str | None = None

    @property
    def seconds(self) -> float:
        return statistics.median(self.measured)

    @property
    def ratio(self) -> float:
        """The measured median over the bare one."""
        return self.seconds / statistics.median(self.bare)


@dataclass
class Measured:
    """All of one network: peer -> task -> figures."""

    subject: str
    title: str
    cells: dict[str, dict[str, Cellwise]] = field(default_factory=dict)
    peaks_mb: dict[str, float] = field(default_factory=dict)
    opened: dict[str, dict[str, float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add_difference(self, peer: str, task: str, path: Path, reference: Path) -> None:
        """Compare what a peer gave with plain hooks."""
        cell = self.cells[peer][task]
        with np.load(path) as ours, np.load(reference) as theirs:
            if set(ours.files) != set(theirs.files):
                cell.error = f"other values than plain hooks: {sorted(set(ours.files) ^ set(theirs.files))[:3]}"
                return
            wide = {name: (ours[name].astype(np.float64), theirs[name].astype(np.float64)) for name in ours.files}
        if bad := [name for name, (a, b) in wide.items() if a.shape != b.shape]:
            cell.error = f"{bad[0]} has shape {wide[bad[0]][0].shape}, plain hooks' has {wide[bad[0]][1].shape}"
            return
        cell.max_difference = max(float(np.abs(a - b).max()) for a, b in wide.values())
        cell.scale = max(float(np.abs(b).max()) for _, b in wide.values())

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def table(measured: Measured) -> str:
    """Everything of one network as Markdown."""
    peers, tasks = list(measured.cells), [task for task in TASKS if _has(measured, task)]
    shown = [task for task in tasks if task != "open"]
    sections = [f"## {measured.title}"]
    sections.append("CPU seconds of one thread (median; ratio to the bare call of the same pairs)")
    sections.append(_grid([TASKS[task] for task in shown], peers, lambda peer, i: _time(measured, peer, shown[i])))
    if OURS in measured.cells:
        others = [peer for peer in peers if peer != OURS]
        sections.append("Times faster mechscope is (peer's seconds / mechscope's)")
        sections.append(_grid([TASKS[task] for task in shown], others, lambda peer, i: _lead(measured, peer, shown[i])))
    checked = [task for task in shown if any(_difference(measured, peer, task) for peer in peers)]
    sections.append(
        "Largest absolute difference from plain hooks, of the largest value (steering: share of other tokens)"
    )
    sections.append(
        _grid([TASKS[task] for task in checked], peers, lambda peer, i: _difference(measured, peer, checked[i]))
    )
    sections.append("Memory and opening")
    heads = ["peak of (c), MB above what was there", "of plain hooks'", "import s", "open s"]
    sections.append(_grid(heads, peers, lambda peer, i: _cost(measured, peer)[i]))
    reasons = [f"- {peer}: {why}" for peer, why in measured.absent.items()]
    for peer, cells in measured.cells.items():
        reasons += [f"- {peer}, {TASKS[task]}: {cell.error}" for task, cell in cells.items() if cell.error]
    if reasons:
        sections += ["Not measured", "\n".join(reasons)]
    return "\n\n".join(sections)


def bars(measured: Measured) -> list[tuple[str, float, float, bool]]:
    """The aims: what, measured, bound, and whether it holds."""
    found: list[tuple[str, float, float, bool]] = []
    ours = measured.cells.get(OURS, {})
    for task, bound in {"mid": 1.03, "streams": 1.10, "head_out": 1.2, "steer": 1.05}.items():
        if task in ours and ours[task].measured:
            found.append((f"{TASKS[task]}, ratio to bare, at most", ours[task].ratio, bound, ours[task].ratio <= bound))
    if OURS in measured.peaks_mb and "plain" in measured.peaks_mb:
        ratio = measured.peaks_mb[OURS] / measured.peaks_mb["plain"]
        found.append(("peak memory of (c) over plain hooks', at most", ratio, 1.05, ratio <= 1.05))
    if "sweep_batched" in ours and ours["sweep_batched"].measured:
        sweep = ours["sweep_batched"]
        batched = {peer: cells["sweep_batched"] for peer, cells in measured.cells.items() if "sweep_batched" in cells}
        for peer, cell in batched.items():
            if peer != OURS and cell.measured:
                lead = cell.seconds / sweep.seconds
                found.append((f"(e) times faster than {peer}, batched, at least", lead, 2.0, lead >= 2.0))
        lens = measured.cells.get("transformer_lens", {}).get("sweep")
        if lens is not None and lens.measured:
            lead = lens.seconds / sweep.seconds
            found.append(("(e) times faster than TransformerLens, at least", lead, 4.0, lead >= 4.0))
        if sweep.max_difference is not None and sweep.scale:
            error = sweep.max_difference / sweep.scale
            found.append(("(e) relative difference from full recomputation, at most", error, 1e-5, error <= 1e-5))
    return found


def _has(measured: Measured, task: str) -> bool:
    return any(task in cells for cells in measured.cells.values())


def _grid(heads: Sequence[str], peers: Sequence[str], text: Callable[[str, int], str]) -> str:
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {peer} | " + " | ".join(text(peer, i) or "–" for i in range(len(heads))) + " |" for peer in peers]
    return "\n".join(lines)


def _time(measured: Measured, peer: str, task: str) -> str:
    cell = measured.cells[peer].get(task)
    return f"{cell.seconds:.3f} s, {cell.ratio:.3f}x" if cell and cell.measured else ""


def _lead(measured: Measured, peer: str, task: str) -> str:
    ours, theirs = measured.cells[OURS], measured.cells[peer]
    # a sweep is held against ours whatever idiom the peer has
    own = ours.get("sweep_batched" if task == "sweep" else task)
    cell = theirs.get(task)
    return f"{cell.seconds / own.seconds:.2f}" if own and own.measured and cell and cell.measured else ""


def _difference(measured: Measured, peer: str, task: str) -> str:
    cell = measured.cells[peer].get(task)
    if cell is None or cell.max_difference is None:
        return ""
    if task == "steer":
        return f"{cell.max_difference:.2f}"
    return f"{cell.max_difference:.0e} of {cell.scale:.2g}"


def _cost(measured: Measured, peer: str) -> tuple[str, str, str, str]:
    peak, plain = measured.peaks_mb.get(peer), measured.peaks_mb.get("plain")
    opened = measured.opened.get(peer, {})
    again = measured.cells[peer].get("open")
    seconds = again.seconds if again and again.measured else opened.get("open_seconds", float("nan"))
    ratio = f"{peak / plain:.3f}x" if peak and plain else ""
    return (f"{peak:.0f}" if peak else "", ratio, f"{opened.get('import_seconds', float('nan')):.1f}", f"{seconds:.3f}")
