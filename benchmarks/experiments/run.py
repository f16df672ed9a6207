"""Experiments on features: sweeps against their bare forward passes, observations of 500K non-zeros, batches.

    python benchmarks/experiments/run.py [--rounds 7] [--rows 1000000] [--parts a,b,c,d] [--cache DIR] [--quick]

(a) family_1d_sweep, interventional, every rung and absent x 500 base contexts, and (b) token_influence,
    interventional, the whole vocabulary x 50 base contexts: CPU seconds of one thread against those of the distinct
    contexts' forward passes, the very same batches through the network and one encoder column in plain torch, id
    tensors ready. A round is one feature and seed: experiment, then the forwards three times (median). What ran before
    is forgotten; tables of the corpus are warm, as in a batch of experiments; the first experiment of the process is
    reported by itself.
(c) every observational kind on a feature with 500K non-zeros: the first experiment (which makes the tables of rungs
    and groups that the later ones find) and the median of the later ones, each on another feature than the one before.
(d) 100 specs over 100 features through `run_specs`, with 1 and with 2 processes, wall seconds, opening included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from forwards import bare_forwards, recorded_batches
from subjects import busy_features, demo_workspace, large_subject

from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import (
    CAUSAL,
    OBSERVED,
    ExperimentContext,
    ExperimentResult,
    ExperimentSpec,
    find_kind,
    get_runner_for_type,
    load_context,
)
from mechscope.services.experiments import read_specs, run_specs
from mechscope.store import write_json
from mechscope.workspace import Workspace

FAMILY = "special_charge_up"
SWEEPS = {
    "a": ("family_1d_sweep", {"family": FAMILY}, 500),
    "b": ("token_influence", {}, 50),
}
NEEDED: dict[str, dict[str, Any]] = {
    "family_1d_sweep": {"family": FAMILY},
    "family_2d_heatmap": {"family_x": FAMILY, "family_y": "quick_respawn"},
    "within_family_interference": {"family": FAMILY},
}
SWEEP_BAR, SECONDS_BAR = 1.3, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large subject; half are non-zero")
    parser.add_argument("--parts", default="a,b,c,d")
    parser.add_argument("--kinds", default="", help="observational kinds of (c), by default all")
    parser.add_argument("--cache", type=Path, help="keeps the demo's workspace between runs")
    parser.add_argument("--quick", action="store_true", help="few rounds and rows: does it all run?")
    options = parser.parse_args()
    n_rounds, n_rows = (2, 20_000) if options.quick else (options.rounds, options.rows)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {platform.machine()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if set("abd") & set(options.parts):
            workspace = demo_workspace(options.cache or root / "demo")
        for part in ("a", "b"):
            if part in options.parts:
                with load_context(workspace=workspace) as context:
                    sweeps(part, context, n_rounds)
        if "c" in options.parts:
            observations(root / "large", n_rows, options.kinds.split(",") if options.kinds else [])
        if "d" in options.parts:
            batches(workspace, root, 10 if options.quick else 100)


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of this process: other people's load does not count."""
    started = time.process_time()
    call()
    return time.process_time() - started


def run(spec: ExperimentSpec, context: ExperimentContext) -> ExperimentResult:
    result = get_runner_for_type(spec.type).run(spec, context)
    if not result.success:
        raise SystemExit(f"{spec.type}: {result.error_message}")
    return result


def verdict(value: float, bar: float) -> str:
    return f"{'holds ' if value <= bar else 'MISSED'} at most {bar:g}"


def sweeps(part: str, context: ExperimentContext, n_rounds: int) -> None:
    kind, variables, n_bases = SWEEPS[part]
    print(f"\n({part}) {kind}, interventional, {n_bases} base contexts", flush=True)
    ratios = []
    for at, feature in enumerate(busy_features(context, n_rounds + 1)):
        spec = ExperimentSpec.parse(
            {"type": kind, "feature_id": feature, "mode": CAUSAL, "variables": variables, "seed": at,
             "dataset_slice": {"sample_size": n_bases}}
        )  # fmt: skip
        context.__dict__.pop("activations", None)  # what was run is forgotten; the model stays open
        with recorded_batches() as given:
            taken = seconds(lambda spec=spec: run(spec, context))  # type: ignore[misc]
        bare = bare_forwards(context, given, feature)
        forwards = statistics.median(seconds(bare) for _ in range(3))
        n = sum(len(batch.input_ids) for batch in given)
        word = "first of the process" if not at else f"round {at}"
        print(f"- {word}: {n:,} distinct contexts, {taken:.3f} s, forwards {forwards:.3f} s, {taken / forwards:.2f}x")
        if at:
            ratios.append(taken / forwards)
    middle = statistics.median(ratios)
    print(f"median {middle:.3f}x ({min(ratios):.2f}-{max(ratios):.2f}): {verdict(middle, SWEEP_BAR)}", flush=True)


def observations(folder: Path, n_rows: int, kinds: list[str]) -> None:
    started = time.monotonic()
    context = large_subject(folder, n_rows)
    features = sorted(busy_features(context, 16), key=lambda f: abs(context.inputs.store.count(f) - n_rows // 2))[:2]
    n_active = [context.inputs.store.count(feature) for feature in features]
    print(f"\n(c) observational, {n_rows:,} rows (built in {time.monotonic() - started:.0f} s), features with "
          f"{' and '.join(f'{n:,}' for n in n_active)} non-zeros; CPU seconds", flush=True)  # fmt: skip
    with context:
        for kind in kinds or EXPERIMENTS.names():
            if OBSERVED not in find_kind(kind).modes:
                continue
            taken, error = [], None
            for feature in (features * 2)[:3]:
                spec = ExperimentSpec.parse(
                    {"type": kind, "feature_id": feature, "mode": OBSERVED, "variables": NEEDED.get(kind, {})}
                )
                begun = time.process_time()
                result = get_runner_for_type(kind).run(spec, context)
                taken.append(time.process_time() - begun)
                error = error or result.error_message
                if taken[-1] > 20 * SECONDS_BAR:
                    break
            later = statistics.median(taken[1:] or taken)
            said = f" (failed: {error.splitlines()[0]})" if error else ""
            print(f"- {kind}: first {taken[0]:.2f} s, later {later:.2f} s: {verdict(later, SECONDS_BAR)}{said}",
                  flush=True)  # fmt: skip


def batches(workspace: Path, root: Path, n: int) -> None:
    print(f"\n(d) {n} specs over {n} features, family_1d_sweep observational and interventional in turn; wall seconds")
    with load_context(workspace=workspace) as context:
        features = busy_features(context, n)
    folder = root / "specs"
    folder.mkdir()
    paths = []
    for at, feature in enumerate(features):
        spec = ExperimentSpec.parse(
            {"id": f"bench-{at:03d}", "type": "family_1d_sweep", "feature_id": feature, "variables": {"family": FAMILY},
             "mode": (OBSERVED, CAUSAL)[at % 2]}
        )  # fmt: skip
        paths.append(folder / f"{at:03d}.json")
        write_json(paths[-1], spec.to_json())
    taken = {}
    for n_processes in (1, 2):
        begun = time.monotonic()
        found = run_specs(
            Workspace.open(workspace), read_specs(paths), output=root / f"out{n_processes}", n_processes=n_processes
        )
        taken[n_processes] = time.monotonic() - begun
        failed = sum(result is None or not result.success for _, result, _ in found)
        print(f"- {n_processes} processes: {taken[n_processes]:.1f} s, {failed} failed", flush=True)
    print(f"efficiency of two processes: {taken[1] / (2 * taken[2]):.2f} of 1 "
          f"(load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")  # fmt: skip


if __name__ == "__main__":
    main()
