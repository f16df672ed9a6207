"""The run folder: spec in, record out, reused when the same spec meets the same inputs.

    spec.yaml               the complete spec, defaults written out
    artifacts.json          digests of inputs and outputs, environment, seeds, controls, number of comparisons, times
    metrics.json            every number, with how it was obtained; byte-equal for equal spec and inputs on one CPU
    activations_index.json  which dense caches were read or made
    predictions.parquet     per-row outcomes, where the run predicts something
    tables/*.parquet        every table of the report
    report.html             the report
    log.jsonl               what was said while it ran

`metrics.json` and then `artifacts.json` are written last: a folder without them is unfinished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mechscope.core import Spec, digest_file, digest_of, short
from mechscope.runs.environment import Environment, describe_environment
from mechscope.store import atomic_path, read_json, write_bytes, write_json

__all__ = ["Run", "RunArtifacts"]


class RunArtifacts(Spec):
    """`artifacts.json`: how the numbers of a run were obtained.

    `outputs` names what the run made elsewhere; `files` are the files of its own folder with their SHA-256.
    """

    kind: str
    spec_digest: str
    run_digest: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    files: dict[str, str]
    seeds: dict[str, int]
    controls: list[str]
    n_comparisons: int
    environment: Environment
    started: str
    wall_seconds: float
    steps_seconds: dict[str, float]


@dataclass
class Run:
    """One run while it goes on. Open with `Run.start`; `finish` makes it whole."""

    folder: Path
    kind: str
    spec: Spec
    inputs: dict[str, str]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps_seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    @classmethod
    def start(cls, root: Path, *, kind: str, spec: Spec, inputs: Mapping[str, str]) -> Run:
        """A run of `spec` on `inputs` (name -> digest), in the folder that belongs to exactly these."""
        run_digest = digest_of({"kind": kind, "spec": spec.digest, "inputs": dict(inputs)})
        folder = root / f"{kind}-{short(run_digest)}"
        run = cls(folder=folder, kind=kind, spec=spec, inputs=dict(inputs))
        if not run.is_finished:
            write_bytes(folder / "spec.yaml", spec.to_yaml().encode())
        return run

    @property
    def is_finished(self) -> bool:
        """Whether the record is whole: written to its end, and every file as it was written."""
        if not (self.folder / "artifacts.json").is_file():
            return False
        files = self.artifacts().files
        return all((self.folder / name).is_file() and digest_file(self.folder / name) == d for name, d in files.items())

    def artifacts(self) -> RunArtifacts:
        """`artifacts.json` of a finished run. Raises BadDataError when it is not there or is damaged."""
        path = self.folder / "artifacts.json"
        return RunArtifacts.parse(read_json(path), where=str(path))

    @property
    def digest(self) -> str:
        """SHA-256 over kind, spec and inputs."""
        return digest_of({"kind": self.kind, "spec": self.spec.digest, "inputs": self.inputs})

    def log(self, line: str) -> None:
        """Append a line to log.jsonl, in one write."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "line": line}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write one table to tables/<name>.parquet."""
        with atomic_path(self.folder / "tables" / f"{name}.parquet") as path:
            pq.write_table(pa.table(dict(columns)), path, compression="zstd")

    def predictions(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write predictions.parquet."""
        with atomic_path(self.folder / "predictions.parquet") as path:
            pq.write_table(pa.table(dict(columns)), path, compression="zstd")

    def report(self, html: str) -> Path:
        """Write report.html and return where it is."""
        path = self.folder / "report.html"
        write_bytes(path, html.encode())
        return path

    def metrics(self) -> dict[str, Any]:
        """The metrics of a finished run. Raises BadDataError when they are not there."""
        value: dict[str, Any] = read_json(self.folder / "metrics.json")
        return value

    def finish(
        self,
        metrics: Mapping[str, Any],
        *,
        activations: Mapping[str, Any],
        outputs: Mapping[str, str],
        seeds: Mapping[str, int],
        controls: Sequence[str],
        n_comparisons: int,
    ) -> RunArtifacts:
        """Write activations_index.json, metrics.json and, last, artifacts.json."""
        write_json(self.folder / "activations_index.json", dict(activations))
        write_json(self.folder / "metrics.json", dict(metrics))
        written = {
            path.relative_to(self.folder).as_posix(): digest_file(path)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in {"artifacts.json", "log.jsonl"}
        }
        artifacts = RunArtifacts(
            kind=self.kind,
            spec_digest=self.spec.digest,
            run_digest=self.digest,
            inputs=self.inputs,
            outputs=dict(outputs),
            files=written,
            seeds=dict(seeds),
            controls=list(controls),
            n_comparisons=n_comparisons,
            environment=describe_environment(),
            started=self.started.isoformat(timespec="seconds"),
            wall_seconds=round(time.perf_counter() - self._began, 3),
            steps_seconds={name: round(value, 3) for name, value in self.steps_seconds.items()},
        )
        write_json(self.folder / "artifacts.json", artifacts.to_json())
        return artifacts
