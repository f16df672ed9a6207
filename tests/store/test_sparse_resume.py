"""A build killed at random moments ends with the same files as one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from mechscope.core import digest_file
from mechscope.store.sparse import FeatureStore

BUILD = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
import numpy as np
from mechscope.core import SilentProgress
from mechscope.store.sparse import CompressedRows, FeatureStoreWriter, StoreSpec

class Loud(SilentProgress):
    @contextmanager
    def task(self, name, *, total, unit):
        yield self

    def advance(self, n=1, *, note=""):
        print("event", flush=True)

spec = StoreSpec(n_top=5, n_bands=4, block_nonzeros=3000, file_nonzeros=8000)
with FeatureStoreWriter(Path(sys.argv[1]), key={"seed": 3}, n_features=400, spec=spec) as writer:
    print("ready", writer.next_sample, flush=True)
    for first in range(0, 4000, 100):
        if first < writer.next_sample:
            continue
        generator = np.random.default_rng(first)
        dense = generator.random((100, 400)) * (generator.random((100, 400)) < 0.05)
        rows, features = np.nonzero(dense)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=100))])
        writer.add(first, CompressedRows(indptr, features.astype(np.uint32), dense[rows, features].astype(np.float32)))
        print("event", flush=True)
    writer.finish(n_samples=4000, progress=Loud())
    time.sleep(0.1)
print("done", flush=True)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILD, str(folder)], stdout=subprocess.PIPE, text=True)


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): digest_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_killed_builds_equal_the_uninterrupted_one(tmp_path: Path) -> None:
    assert start(tmp_path / "whole").communicate()[0].endswith("done\n")
    generator = random.Random(7)
    firsts = []
    for n_events in (3, 11, 9, 13, 9, 3, 2, 4):  # the later ones fall into the merge
        process = start(tmp_path / "killed")
        assert process.stdout is not None
        firsts.append(int(process.stdout.readline().split()[1]))
        for _ in range(n_events):
            process.stdout.readline()
        time.sleep(generator.uniform(0, 0.01))
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert 0 < firsts[1] < firsts[2] < 4000  # it went on where it stood
    assert start(tmp_path / "killed").communicate()[0].endswith("done\n")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    with FeatureStore.open(tmp_path / "killed", check=True) as store:
        store.verify()
