from __future__ import annotations

from typing import Any

import pytest

from mechscope.training import TrainSpec
from mechscope.training.schedules import l1_at, lr_at


def spec(**changes: Any) -> TrainSpec:
    return TrainSpec(architecture="relu", n_steps=100, lr=1.0, l1_coefficient=2.0, **changes)


def test_linear_rise_plateau_and_fall() -> None:
    rates = [lr_at(spec(lr_warmup_share=0.1, lr_decay_share=0.2), step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == [1.0] * 72
    assert rates[90] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.05)


def test_cosine_falls_along_a_half_wave() -> None:
    cosine = spec(lr_schedule="cosine", lr_warmup_share=0, lr_decay_share=1)
    assert [lr_at(cosine, step, 100) for step in (0, 50, 75)] == pytest.approx([1.0, 0.5, 0.1464466])


def test_constant_stays() -> None:
    assert {lr_at(spec(lr_schedule="constant", lr_warmup_share=0), step, 100) for step in range(100)} == {1.0}


def test_l1_rises_to_its_coefficient() -> None:
    assert [l1_at(spec(l1_warmup_share=0.2), step, 100) for step in (0, 9, 19, 99)] == pytest.approx([0.1, 1, 2, 2])
    assert l1_at(spec(l1_warmup_share=0), 0, 100) == 2.0
