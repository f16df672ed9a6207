"""Threads that run models at the same time get what each would get alone, and leave nothing changed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.utils import logging

from mechscope.models import Batch, Model, Sampling
from mechscope.models.interventions import scale, zero
from mechscope.models.remarks import quiet
from mechscope.models.turns import turn

Bare = Callable[[str], nn.Module]
ROWS = [[5, 9, 12, 7, 3], [5, 11, 7, 1, 2]]
BATCH = Batch.from_rows(ROWS)


@pytest.fixture(autouse=True)
def _busy_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run_together(*works: Callable[[], Any], n_times: int = 20) -> list[list[Any]]:
    """What each work gave, in threads of their own; an error in place of what it should have given."""
    found: list[list[Any]] = [[] for _ in works]

    def repeat(work: Callable[[], Any], results: list[Any]) -> None:
        for _ in range(n_times):
            try:
                results.append(work())
            except BaseException as error:  # a private exception of another thread's run is looked for
                results.append(error)

    threads = [threading.Thread(target=repeat, args=pair) for pair in zip(works, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def require_same(found: list[Any], told: torch.Tensor) -> None:
    wrong = [one for one in found if not isinstance(one, torch.Tensor) or not torch.equal(one, told)]
    assert wrong == []


def test_patterns_and_plain_runs(bare: Bare) -> None:
    module = bare("llama")
    model = Model.open(module)
    plain, pattern = model.logits(BATCH), model.capture(BATCH, "pattern:1")["pattern:1"]
    first, second, third = run_together(
        lambda: model.capture(BATCH, "pattern:1")["pattern:1"],
        lambda: model.capture(BATCH, "pattern:1")["pattern:1"],
        lambda: model.logits(BATCH),
    )
    require_same(first + second, pattern)
    require_same(third, plain)
    assert module.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def test_sweeps_beside_plain_runs_and_the_bare_module(bare: Bare) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    variants = [[zero(site)] for site in model.parse_sites("z:*.h*")]
    plain, swept = model.logits(BATCH), model.sweep(BATCH, variants).logits
    assert swept is not None

    def run_bare() -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = module(BATCH.input_ids).logits
        return found

    works = [lambda: model.sweep(BATCH, variants).logits, lambda: model.logits(BATCH), run_bare]
    sweeps, runs, bare_runs = run_together(*works, n_times=15)
    require_same(sweeps, swept)
    require_same(runs + bare_runs, plain)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_captures_at_inputs(bare: Bare) -> None:
    model = Model.open(bare("gpt_neox"))
    told = model.capture(BATCH, "z:1, resid_pre:1")["z:1"]
    for found in run_together(*[lambda: model.capture(BATCH, "z:1, resid_pre:1")["z:1"]] * 3, n_times=60):
        require_same(found, told)


def test_gradients(bare: Bare) -> None:
    model = Model.open(bare("llama"))
    sites = model.parse_sites("z:1, pattern:0")

    def measured() -> torch.Tensor:
        found = model.gradients(BATCH, sites, lambda capture: capture["logits"][:, -1].square(), reads="logits")
        return torch.cat([gradient.flatten() for gradient in found.gradients.values()])

    told = measured()
    for found in run_together(measured, measured, lambda: model.logits(BATCH), n_times=10)[:2]:
        require_same(found, told)


def test_a_seed_of_sampling_means_the_same_in_every_thread(bare: Bare) -> None:
    model = Model.open(bare("gpt2"))
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    sampling = Sampling(seed=3, temperature=2.0)
    edits = [scale(model.site("resid_post:0"), 0.5, scope="generated")]

    def drawn() -> torch.Tensor:
        return model.generate(BATCH, max_new_tokens=4, stops_at=(), sampling=sampling, edits=edits).new_ids

    told = drawn()
    for found in run_together(drawn, drawn, drawn, n_times=5):
        require_same(found, told)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, had_bar)


def test_models_that_are_opened_beside_each_other(bare: Bare, tmp_path: Path) -> None:
    """While transformers loads, the dtype of all new tensors is that of the weights."""
    saved: Any = bare("llama")
    with quiet():
        saved.save_pretrained(tmp_path)
    model = Model.open(bare("gpt2"))
    plain = model.logits(BATCH)
    told = Model.open(tmp_path, dtype=torch.bfloat16).logits(BATCH)
    first, second, third = run_together(
        lambda: Model.open(tmp_path, dtype=torch.bfloat16).logits(BATCH),
        lambda: Model.open(tmp_path, dtype=torch.bfloat16).logits(BATCH),
        lambda: model.logits(BATCH),
        n_times=5,
    )
    require_same(first + second, told)
    require_same(third, plain)
    assert torch.get_default_dtype() == torch.float32


def test_a_child_does_not_wait_for_a_thread_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with turn(), turn():
            has_begun.set()
            may_end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert has_begun.wait(timeout=60)
    in_parent: Any = turn()
    assert not in_parent.acquire(blocking=False)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    in_child: Any = turn()
    assert in_child.acquire(blocking=False)
    in_child.release()
    may_end.set()
    thread.join()
