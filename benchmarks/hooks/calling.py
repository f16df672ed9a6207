"""The caller's side of a worker: start it, ask it, give up on it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from pathlib import Path
from typing import Any

__all__ = ["Called", "WorkerError"]

HERE = Path(__file__).parent
SECONDS_AT_MOST = 400.0


class WorkerError(Exception):
    """Why a peer could not do a task."""


class Called:
    """One peer in its own process, on one thread. Stopped by `close`, and by an answer that does not come."""

    def __init__(self, peer: str, python: Path, subject: str, folder: Path, output: Path, *, is_quick: bool) -> None:
        self.peer, self.output = peer, output
        output.mkdir(parents=True, exist_ok=True)
        command = [str(python), str(HERE / "worker.py"), peer, subject, str(folder), str(output)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(
            [*command, "--quick"] if is_quick else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(output / "log.txt").open("w"),
            text=True,
            bufsize=1,
            env={**os.environ, **threads, **quiet},
        )
        try:
            self.about = self._answer()
        except WorkerError:
            self.close()
            raise
        self.tasks: list[str] = self.about["tasks"]

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Raises WorkerError with the worker's own words."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        except BrokenPipeError:
            raise WorkerError("the process ended") from None
        return self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        deadline = time.monotonic() + SECONDS_AT_MOST
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not selector.select(timeout=5.0):
                if time.monotonic() > deadline:
                    self.close()
                    raise WorkerError(f"no answer within {SECONDS_AT_MOST:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with code {self.process.wait()}: {self._last_words()}")
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise WorkerError(told["error"])
        return told

    def _last_words(self) -> str:
        lines = (self.output / "log.txt").read_text().strip().splitlines()
        return lines[-1] if lines else "it said nothing"
