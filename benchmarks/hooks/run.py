"""Model access beside its peers in one run: captures, per-head results, patching sweeps, steered generation, memory.

    python benchmarks/hooks/run.py [--peers transformer_lens,nnsight,pyvene,plain] [--models gpt2,neox,llama]
        [--tasks mid,streams,z,head_out,sweep,sweep_batched,steer,open] [--quick]

Every peer has its own virtual environment (made where it is missing) and its own process with one thread. Times are
CPU seconds; each is taken beside a bare call in the same process, who goes first alternates, and the peers take turns
pair by pair, so that a busy machine is busy for all. Idioms of one forward a cell are timed on every seventh cell and
scaled. The bare call is: a forward without output head for captures, one stopped after the middle block for one
middle layer, one forward of the prompt a cell for sweeps, and generation without edits.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from calling import Called, WorkerError
from environments import REQUIREMENTS, InstallError, python_of, versions_in
from results import OURS, TASKS, Cellwise, Measured, bars, table
from subjects import SUBJECTS, save

ON_BATCH = ("mid", "streams", "z", "head_out")
REFERENCE = "plain"
SECONDS_OURS, SECONDS_OTHERS = 12.0, 4.0  # at one task; a pair that has begun is finished


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--peers", default="plain,transformer_lens,nnsight,pyvene", help="mechscope itself always runs")
    parser.add_argument("--models", default="gpt2,neox,llama")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="environments, networks and results")
    parser.add_argument("--pairs", type=int, default=5, help="most pairs of mechscope and plain hooks")
    parser.add_argument("--peer-pairs", type=int, default=2, help="most pairs of the others")
    parser.add_argument("--quick", action="store_true", help="small inputs and few pairs: does it all run?")
    options = parser.parse_args()
    peers = _names(options.peers, REQUIREMENTS, "peer")
    peers = [OURS, REFERENCE, *(peer for peer in peers if peer not in (OURS, REFERENCE))]
    models, named = _names(options.models, SUBJECTS, "model"), _names(options.tasks, TASKS, "task")
    # batched sweeps are held against one forward a cell, which comes before them
    tasks = [task for task in TASKS if task in named or (task == "sweep" and "sweep_batched" in named)]
    n_pairs = {peer: options.pairs if peer in (OURS, REFERENCE) else options.peer_pairs for peer in peers}
    if options.quick:
        n_pairs = dict.fromkeys(peers, 1)
    started = time.monotonic()
    pythons, absent = _environments(peers, options.cache)
    print(f"torch {torch.__version__}, one thread, {platform.machine()}, load {os.getloadavg()[0]:.1f}")
    for peer, python in pythons.items():
        print(f"- {peer}: {', '.join(f'{name} {version}' for name, version in sorted(versions_in(python).items()))}")
    for model in models:
        folder = save(SUBJECTS[model], options.cache / "subjects" / model)
        output = options.cache / "results" / model
        shutil.rmtree(output, ignore_errors=True)
        measured = Measured(model, SUBJECTS[model].title, absent=dict(absent))
        _measure(measured, pythons, tasks, n_pairs, folder=folder, output=output, is_quick=options.quick)
        measured.write(options.cache / "results" / f"{model}.json")
        print(f"\n{table(measured)}\n\nAims", flush=True)
        for what, value, bound, holds in bars(measured):
            print(f"- {'holds ' if holds else 'MISSED'} {what} {bound:g}: {value:.3g}", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s in all; figures in {options.cache / 'results'}")


def _names(given: str, known: Sequence[str] | dict, what: str) -> list[str]:
    names = [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no {what} {unknown[0]!r}; there are {', '.join(known)}")
    return names


def _environments(peers: Sequence[str], cache: Path) -> tuple[dict[str, Path], dict[str, str]]:
    pythons: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for peer in peers:
        try:
            pythons[peer] = python_of(peer, cache.resolve())
        except InstallError as error:
            absent[peer] = f"cannot be installed: {error}"
    return pythons, absent


def _measure(
    measured: Measured,
    pythons: dict[str, Path],
    tasks: Sequence[str],
    n_pairs: Mapping[str, int],
    *,
    folder: Path,
    output: Path,
    is_quick: bool,
) -> None:
    workers: dict[str, Called] = {}
    started = time.monotonic()
    try:
        for peer, python in pythons.items():
            try:
                worker = Called(peer, python, measured.subject, folder, output / peer, is_quick=is_quick)
            except WorkerError as error:
                measured.absent[peer] = str(error)
                continue
            workers[peer] = worker
            measured.cells[peer] = {}
            measured.opened[peer] = {name: worker.about[name] for name in ("import_seconds", "open_seconds")}
            if "streams" in tasks:
                try:
                    measured.peaks_mb[peer] = worker.ask("memory")["peak_mb"]
                except WorkerError as error:
                    measured.cells[peer]["streams"] = Cellwise(error=f"memory: {error}")
        for task in tasks:
            _check(measured, workers, task)
            _take_turns(measured, [worker for worker in workers.values() if task in worker.tasks], task, n_pairs)
            print(
                f"{measured.subject} {task}: done after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True
            )
    finally:
        for worker in workers.values():
            worker.close()


def _take_turns(measured: Measured, workers: Sequence[Called], task: str, n_pairs: Mapping[str, int]) -> None:
    """Peers in turn, and the turn moves on by one each time round; plain hooks come first, to be compared with."""
    ordered = sorted(workers, key=lambda worker: worker.peer != REFERENCE)
    for index in range(max(n_pairs.values())):
        start = index % max(1, len(ordered))
        for worker in (*ordered[start:], *ordered[:start]):
            cell = measured.cells[worker.peer].get(task, Cellwise())
            if index < n_pairs[worker.peer] and not (index and _is_enough(cell, task, worker.peer, index)):
                _take_pair(measured, worker, task, index)


def _is_enough(cell: Cellwise, task: str, peer: str, index: int) -> bool:
    """Whether a peer's time at a task is over; mechscope and plain hooks have more of it."""
    if task.startswith("sweep"):
        return task == "sweep" or peer not in (OURS, REFERENCE) or index == 3
    is_ours = peer in (OURS, REFERENCE)
    if is_ours and index < 3:
        return False
    return sum(cell.bare) + sum(cell.measured) > (SECONDS_OURS if is_ours else SECONDS_OTHERS)


def _check(measured: Measured, workers: dict[str, Called], task: str) -> None:
    """Compare values on a short batch; a peer that fails is not timed."""
    paths: dict[str, Path] = {}
    for peer, worker in sorted(workers.items(), key=lambda item: item[0] != REFERENCE):
        if task not in worker.tasks or measured.cells[peer].get(task, Cellwise()).error:
            continue
        measured.cells[peer][task] = Cellwise()
        if task not in ON_BATCH:
            continue
        try:
            paths[peer] = Path(worker.ask("check", task=task)["values"])
            measured.add_difference(peer, task, paths[peer], paths[REFERENCE])
        except WorkerError as error:
            measured.cells[peer][task].error = str(error)


def _take_pair(measured: Measured, worker: Called, task: str, index: int) -> None:
    cell = measured.cells[worker.peer].get(task)
    if cell is None or cell.error:
        return
    try:
        told = worker.ask("pair", task=task, bare_first=index % 2 == 0)
    except WorkerError as error:
        cell.error = str(error)
        return
    cell.bare.append(told["bare"])
    cell.measured.append(told["measured"])
    cell.share_changed = told.get("share_changed")
    if index == 0 and "values" in told:
        # every sweep is held against one forward a cell
        name = "sweep" if task == "sweep_batched" else task
        reference = worker.output.parent / REFERENCE / f"{name}.npz"
        if reference.exists():
            measured.add_difference(worker.peer, task, Path(told["values"]), reference)


if __name__ == "__main__":
    main()
