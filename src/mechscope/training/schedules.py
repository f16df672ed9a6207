"""Learning rate and L1 coefficient by step: pure functions, so a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from mechscope.training.specs import TrainSpec

__all__ = ["l1_at", "lr_at"]


def lr_at(spec: TrainSpec, step: int, n_steps: int) -> float:
    """Learning rate of step `step` in 0..n_steps-1: linear rise, plateau, then the fall that the spec names."""
    rise = _ramp(step + 1, spec.lr_warmup_share * n_steps)
    n_fall = spec.lr_decay_share * n_steps
    if spec.lr_schedule == "constant" or n_fall < 1:
        return spec.lr * rise
    left = min(1.0, (n_steps - step) / n_fall)
    fall = left if spec.lr_schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))
    return spec.lr * min(rise, 1.0) * fall


def l1_at(spec: TrainSpec, step: int, n_steps: int) -> float:
    """L1 coefficient of step `step`: linear rise, then constant."""
    return spec.l1_coefficient * _ramp(step + 1, spec.l1_warmup_share * n_steps)


def _ramp(done: int, length: float) -> float:
    return 1.0 if length < 1 else min(1.0, done / length)
