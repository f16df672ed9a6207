"""One peer with one network in a process of its own: takes commands as JSON lines, answers with JSON lines.

    python worker.py PEER SUBJECT FOLDER OUTPUT [--quick]

Commands: {"do": "memory"}, {"do": "check", "task": ...}, {"do": "pair", "task": ..., "bare_first": ...}.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from bare import N_PROMPT_RUNS, Bare
from subjects import SUBJECTS, Inputs

M_MMAP_THRESHOLD = -3
ON_BATCH = ("mid", "streams", "z", "head_out")


def claim_output() -> TextIO:
    """The channel to the caller; whatever a library prints goes to the log instead."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return channel


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, which has one thread; giving memory back is not counted."""
    gc.collect()
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def resident_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def give_back_memory(mmap_threshold: int) -> None:
    """Return what is free to the system, and have blocks from `mmap_threshold` bytes on live outside the heap.

    In the heap, what earlier work left behind and where it lies would decide the peak, by tens of MB.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, mmap_threshold)
    libc.malloc_trim(0)


class Worker:
    def __init__(self, peer: str, subject: str, folder: Path, output: Path, *, is_quick: bool) -> None:
        self.subject = SUBJECTS[subject]
        self.inputs = Inputs(self.subject, is_quick)
        self.output = output
        self.bare = Bare(self.subject, folder)
        self.import_seconds, module = cpu_seconds(lambda: importlib.import_module(f"peers.{peer}"))
        self.open_seconds, self.access = cpu_seconds(lambda: module.Access(self.subject, folder, self.inputs))

    def describe(self) -> dict[str, Any]:
        """Cost of import and of opening, and the tasks that this peer does."""
        tasks = [*ON_BATCH, "sweep", "sweep_batched", "steer", "open"]
        return {
            "import_seconds": self.import_seconds,
            "open_seconds": self.open_seconds,
            "tasks": [task for task in tasks if hasattr(self.access, task)],
        }

    def memory(self) -> dict[str, Any]:
        """Peak memory above what was resident before, of the capture of all streams; asked for first of all."""
        give_back_memory(64 << 10)
        self.access.streams(self.inputs.batch)  # weights are mapped from their file and count once they were read
        give_back_memory(64 << 10)
        before = resident_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        kept = self.access.streams(self.inputs.batch)
        peak = resident_mb("VmHWM")
        del kept
        give_back_memory(32 << 20)  # where glibc ends up by itself once large blocks were freed
        return {"before_mb": before, "peak_mb": peak - before}

    def check(self, task: str) -> dict[str, Any]:
        """Values on a short batch, for comparison."""
        return self.keep(task, getattr(self.access, task)(self.inputs.short))

    def pair(self, task: str, *, bare_first: bool) -> dict[str, Any]:
        """The bare call and the measured call, one after the other."""
        scales = {"bare": 1.0, "measured": 1.0}
        if task in ("sweep", "sweep_batched"):
            scales["bare"] = len(self.inputs.cells) / N_PROMPT_RUNS
        if task == "sweep":
            scales["measured"] = len(self.inputs.cells) / len(self.inputs.sample)
        seconds, result = {}, None
        for name in ("bare", "measured") if bare_first else ("measured", "bare"):
            call = self.bare_call(task) if name == "bare" else self.measured_call(task)
            spent, value = cpu_seconds(call)
            seconds[name] = spent * scales[name]
            if name == "measured":
                result = value
        return seconds | (self.keep_task(task, result) if task not in (*ON_BATCH, "open") else {})

    def bare_call(self, task: str) -> Callable[[], Any]:
        if task == "mid":
            return lambda: self.bare.truncated(self.inputs.batch)
        if task in ("sweep", "sweep_batched", "open"):
            return lambda: self.bare.prompts(self.inputs)
        if task == "steer":
            return lambda: self.bare.generate(self.inputs)
        return lambda: self.bare.base(self.inputs.batch)

    def measured_call(self, task: str) -> Callable[[], Any]:
        method = getattr(self.access, task)
        if task in ON_BATCH:
            return lambda: method(self.inputs.batch)
        if task == "sweep":
            return lambda: method([self.inputs.cells[index] for index in self.inputs.sample])
        if task == "sweep_batched":
            return lambda: method(self.inputs.cells)
        return method  # type: ignore[no-any-return]

    def keep_task(self, task: str, result: Any) -> dict[str, Any]:
        if task == "steer":
            changed = float(
                (result != self.bare.generate(self.inputs))[:, self.inputs.prompts.shape[1] :].float().mean()
            )
            return self.keep(task, {"tokens": result}) | {"share_changed": changed}
        rows = result if task == "sweep" else result[self.inputs.sample]
        return self.keep("sweep" if task == "sweep" else "sweep_batched", {"logits": rows})

    def keep(self, task: str, values: dict[str, Any]) -> dict[str, Any]:
        path = self.output / f"{task}.npz"
        np.savez(path, **{name: value.detach().numpy() for name, value in values.items()})
        return {"values": str(path)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("peer")
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    channel = claim_output()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)

    def answer(call: Callable[[], dict[str, Any]]) -> bool:
        try:
            told = call()
        except Exception as error:  # the caller lists the reason beside the peer
            import_line = str(error).strip().split("\n", 1)[0]
            told = {"error": f"{type(error).__name__}: {import_line[:300]}"}
            print(f"--- {options.peer}: {told['error']}", file=sys.stderr)
            sys.excepthook(type(error), error, error.__traceback__)
        channel.write(json.dumps(told) + "\n")
        return "error" not in told

    made: list[Worker] = []

    def make() -> dict[str, Any]:
        made.append(Worker(options.peer, options.subject, options.folder, options.output, is_quick=options.quick))
        return made[0].describe()

    if not answer(make):
        return
    for line in sys.stdin:
        command = json.loads(line)
        method = getattr(made[0], command.pop("do"))
        answer(lambda method=method, command=command: method(**command))


if __name__ == "__main__":
    main()
