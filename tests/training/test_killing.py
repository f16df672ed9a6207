"""SIGKILL at random moments: after restarts the weights equal those of the run that was left alone."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from mechscope.dictionaries import Dictionary
from mechscope.store import is_complete
from mechscope.training import ArraySource, TrainSpec, train


def run(folder: Path) -> None:
    torch.set_num_threads(1)
    source = ArraySource(torch.randn(3000, 24, generator=torch.Generator().manual_seed(0)))
    spec = TrainSpec(
        architecture="topk",
        k=4,
        n_features=256,
        n_steps=240,
        batch_size=128,
        n_threads=1,
        checkpoint_every=8,
        dead_window_samples=2000,
    )
    train(source, spec, folder)


def starter() -> Callable[[Path], BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mechscope.training"])

    def start(folder: Path) -> BaseProcess:
        process = context.Process(target=run, args=(folder,))
        process.start()
        return process

    return start


def wait(process: BaseProcess) -> int | None:
    process.join(timeout=120)
    return process.exitcode


@pytest.mark.slow
def test_killed_training_ends_in_the_same_weights_over_eight_processes(tmp_path: Path) -> None:
    start = starter()
    assert wait(start(tmp_path / "warm")) == 0
    started = time.perf_counter()
    assert wait(start(tmp_path / "whole")) == 0
    seconds = time.perf_counter() - started

    moments, n_kills = random.Random(0), 0
    for _ in range(5):
        process = start(tmp_path / "killed")
        time.sleep(moments.uniform(0.05, 0.35) * seconds)
        process.kill()
        n_kills += wait(process) == -signal.SIGKILL
    assert n_kills >= 2
    assert wait(start(tmp_path / "killed")) == 0
    assert is_complete(tmp_path / "killed")
    whole, killed = Dictionary.load(tmp_path / "whole"), Dictionary.load(tmp_path / "killed")
    assert torch.equal(whole.W_dec, killed.W_dec)
    assert whole.digest == killed.digest
