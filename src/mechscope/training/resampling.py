"""Dead features get a new start at what is reconstructed worst.

Every `resample_every_samples` samples, in the first half of the run, each dead feature takes the direction of the
residual of one sample of the batch, drawn with probability proportional to its squared error; its encoder starts
small, its bias at 0, and its Adam moments at 0. After Bricken et al. 2023, "Towards monosemanticity", appendix "Neuron
resampling"; we differ in taking the residual rather than the sample (it is what is missing) and the batch at hand
rather than a large sample.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechscope.core import derive_seed
from mechscope.training.specs import TrainSpec
from mechscope.training.states import TrainState

__all__ = ["is_resampling_step", "resample"]

ENCODER_SHARE = 0.2
LAST_SHARE = 0.5


def is_resampling_step(spec: TrainSpec, state: TrainState, n_batch: int, n_steps: int) -> bool:
    """Whether the batch of `n_batch` samples that was just counted crossed a multiple of the interval."""
    every = spec.resample_every_samples
    if not every or state.step >= LAST_SHARE * n_steps:
        return False
    return state.n_seen // every > (state.n_seen - n_batch) // every


@torch.no_grad()
def resample(state: TrainState, residual: Float[Tensor, "n d_in"], spec: TrainSpec) -> int:
    """Replace dead features in place, at most one for each sample of the batch; returns how many."""
    is_dead = state.dead(spec.dead_window_samples)
    dead = is_dead.nonzero().squeeze(1)
    errors = residual.square().sum(1)
    n_new = min(len(dead), int((errors > 0).sum()))
    if n_new == 0:
        return 0
    dead = dead[:n_new]
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "resample", state.step))
    chosen = torch.multinomial(errors, n_new, replacement=False, generator=generator)
    directions = residual[chosen] / errors[chosen].sqrt()[:, None]
    dictionary, alive = state.dictionary, ~is_dead
    norm_dec = _mean_or_one(dictionary.W_dec.norm(dim=1)[alive])
    norm_enc = _mean_or_one(dictionary.W_enc.norm(dim=0)[alive])
    dictionary.W_dec[dead] = norm_dec * directions
    dictionary.W_enc.t()[dead] = ENCODER_SHARE * norm_enc * directions
    dictionary.b_enc[dead] = 0.0
    _forget(state, dead)
    state.silent_samples[dead] = 0
    return n_new


def _mean_or_one(norms: Float[Tensor, "m"]) -> float:
    return float(norms.mean()) if len(norms) else 1.0


def _forget(state: TrainState, features: Int64[Tensor, "m"]) -> None:
    dictionary = state.dictionary
    for parameter, axis in ((dictionary.W_dec, 0), (dictionary.W_enc, 1), (dictionary.b_enc, 0)):
        for name in ("exp_avg", "exp_avg_sq"):
            state.optimizer.state[parameter][name].index_fill_(axis, features, 0.0)
