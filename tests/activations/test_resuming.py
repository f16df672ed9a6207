"""Whatever interrupts a collection, what stands at the end has the bytes of an uninterrupted one."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import activation_cases
import pytest
import torch
from activation_cases import KILLED_SPEC, ForwardCounter, killed_corpus, make_language_model

from mechscope.activations import collect
from mechscope.activations.writing import SiteWriter
from mechscope.core import BadDataError, ConflictError
from mechscope.models.model import Model

MODEL = make_language_model()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes that are killed: with another number of threads products round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def contents(root: Path) -> dict[str, bytes]:
    """Every file's bytes by its path, timings and locks apart."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for name in [name for name in found if name.endswith("manifest.json")]:
        manifest = json.loads(found[name])
        manifest["facts"].pop("timings")
        found[name] = json.dumps(manifest).encode()
    return {name: data for name, data in found.items() if not name.endswith(".lock")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole")
    collect(MODEL, killed_corpus(), KILLED_SPEC, root)
    found = contents(root)
    assert sum(name.endswith("safetensors") for name in found) > 12
    return found


@pytest.fixture
def forwards() -> Iterator[ForwardCounter]:
    counter = ForwardCounter(MODEL)
    yield counter
    counter.close()


class Stop(Exception):  # noqa: N818
    pass


def stop_after(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `n` batches reach a writer, then raise."""
    left = [n]
    real = SiteWriter.add

    def add(writer: SiteWriter, *arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        real(writer, *arguments)

    monkeypatch.setattr(SiteWriter, "add", add)


@pytest.mark.parametrize("n", [0, 1, 35, 64, 150])
def test_it_goes_on_after_an_interruption_anywhere(
    tmp_path: Path, uninterrupted: dict[str, bytes], forwards: ForwardCounter, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    with monkeypatch.context() as patch:
        stop_after(n, patch)
        with pytest.raises(Stop):
            collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert not list(tmp_path.glob("*/manifest.json"))
    n_kept = len(list(tmp_path.glob("*/part-*")))
    n_before, forwards.n = forwards.n, 0
    collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert contents(tmp_path) == uninterrupted
    if n_kept > 1:
        assert forwards.n < n_before + 160  # finished shards were not collected again


def test_one_site_can_be_missing_while_another_is_finished(
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(MODEL, killed_corpus(), KILLED_SPEC.updated(sites=["mlp_out:0"]), tmp_path)
    with monkeypatch.context() as patch:
        stop_after(70, patch)
        with pytest.raises(Stop):
            collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert contents(tmp_path) == uninterrupted


def interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    with monkeypatch.context() as patch:
        stop_after(150, patch)
        with pytest.raises(Stop):
            collect(MODEL, killed_corpus(), KILLED_SPEC, root)
    shards = sorted(root.glob("*/part-*"))
    assert len(shards) > 2
    return shards


def test_leftovers_of_a_killed_writer_are_cleared(
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = interrupted(tmp_path, monkeypatch)
    (shards[0].parent / ".tmp-1-part-000009.safetensors").write_bytes(b"half")
    collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert contents(tmp_path) == uninterrupted


def test_damaged_and_foreign_files_are_never_taken_over(
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = interrupted(tmp_path, monkeypatch)
    whole = shards[0].read_bytes()
    other = next(path for path in shards if path.parent != shards[0].parent)
    flipped = whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:]
    for data, message in (
        (whole[:-7], "not a whole tensor file"),
        (b"hello", "not a whole tensor file"),
        (flipped, "does not match its own checksum"),
        (other.read_bytes(), "is a shard of another collection"),
        (shards[1].read_bytes(), "is a shard of another collection"),
    ):
        shards[0].write_bytes(data)
        with pytest.raises(BadDataError, match=message):
            collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    shards[0].write_bytes(whole)
    (shards[0].parent / "notes.txt").write_text("mine")
    with pytest.raises(BadDataError, match=r"notes\.txt does not belong to this collection"):
        collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    (shards[0].parent / "notes.txt").unlink()
    collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert contents(tmp_path) == uninterrupted


def test_a_disk_that_fills_up_keeps_the_finished_shards(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    """A limit on the file size stands in for the disk: writes fail in the middle of a shard."""
    largest = max(len(data) for name, data in uninterrupted.items() if name.endswith("safetensors"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, before[1]))
    try:
        with pytest.raises(ConflictError, match="could not be written"):
            collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("*/manifest.json"))
    assert not list(tmp_path.glob("*/.tmp-*"))
    collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert contents(tmp_path) == uninterrupted


class Collectors:
    """Processes that collect, started and awaited through one process that has torch imported."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, activation_cases.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, command: str, argument: object) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{command} {argument}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        self._server.communicate()


@pytest.fixture(scope="module")
def collectors() -> Iterator[Collectors]:
    made = Collectors()
    yield made
    made.close()


@pytest.mark.slow
def test_slow_since_torch_is_imported_anew_sigkill_at_random_moments(
    tmp_path: Path, uninterrupted: dict[str, bytes], collectors: Collectors
) -> None:
    moments = random.Random(0)
    for n_shards in (0, 1, 3, 4, 7, 9):
        process = collectors.ask("start", tmp_path)
        while len(list(tmp_path.glob("*/part-*"))) < n_shards:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(process, signal.SIGKILL)
        assert collectors.ask("wait", process) == signal.SIGKILL
    assert len(list(tmp_path.glob("*/part-*"))) < sum(name.endswith("safetensors") for name in uninterrupted)
    collect(MODEL, killed_corpus(), KILLED_SPEC, tmp_path)
    assert contents(tmp_path) == uninterrupted


@pytest.mark.slow
def test_slow_since_torch_is_imported_anew_two_processes_at_once(
    tmp_path: Path, uninterrupted: dict[str, bytes], collectors: Collectors
) -> None:
    both = [collectors.ask("start", tmp_path), collectors.ask("start", tmp_path)]
    assert [collectors.ask("wait", process) for process in both] == [0, 0]
    assert contents(tmp_path) == uninterrupted


def test_the_subprocess_has_the_same_model() -> None:
    assert isinstance(MODEL, Model)
    assert make_language_model().weights_digest == MODEL.weights_digest
