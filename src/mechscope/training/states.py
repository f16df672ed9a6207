"""What a training run is made of between two steps: everything that a checkpoint has to hold."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mechscope.dictionaries import Dictionary
from mechscope.training.scaling import Scaling
from mechscope.training.specs import TrainSpec

__all__ = ["HISTORY_COLUMNS", "TrainState", "initial_state", "make_optimizer"]

HISTORY_COLUMNS = ("step", "samples", "loss", "fvu", "l0", "dead_share", "l1", "aux", "lr", "l1_coefficient")


@dataclass
class TrainState:
    """A run between two steps.

    Attributes:
        dictionary: weights for inputs multiplied by `scale`.
        optimizer: fused Adam over its parameters.
        silent_samples: samples since each feature fired last, int64 [n_features].
        scale: factor on the raw inputs.
        step: steps done. epoch, batch: where the next batch is.
        n_seen: samples seen. n_revived: features replaced so far.
        seconds: time spent in steps, over all restarts.
        history: one list for each of `HISTORY_COLUMNS`.
    """

    dictionary: Dictionary
    optimizer: torch.optim.Adam
    silent_samples: Int64[Tensor, "n_features"]
    scale: float
    step: int = 0
    epoch: int = 0
    batch: int = 0
    n_seen: int = 0
    n_revived: int = 0
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY_COLUMNS})

    def dead(self, window: int) -> Bool[Tensor, "n_features"]:
        """Features that have been silent for at least `window` samples."""
        return self.silent_samples >= window

    def note_fired(self, fired: Int64[Tensor, "m"], n_samples: int) -> None:
        """Advance the counters by a batch of `n_samples` in which `fired` were active."""
        self.silent_samples.add_(n_samples).index_fill_(0, fired, 0)
        self.n_seen += n_samples


def make_optimizer(dictionary: Dictionary, lr: float) -> torch.optim.Adam:
    """Adam (0.9, 0.999) in one fused pass over all parameters."""
    return torch.optim.Adam(dictionary.parameters(), lr=lr, fused=True)


def initial_state(spec: TrainSpec, d_in: int, scaling: Scaling) -> TrainState:
    """Random decoder, encoder its transpose, b_dec at the mean of the scaled samples."""
    norm = 1.0 if spec.decoder_norm == "unit" else spec.initial_decoder_norm
    dictionary = Dictionary.random(spec.dictionary_spec(d_in), seed=spec.seed, decoder_norm=norm)
    with torch.no_grad():
        dictionary.b_dec.copy_(scaling.mean * scaling.scale)
    silent = torch.zeros(dictionary.n_features, dtype=torch.int64)
    return TrainState(dictionary, make_optimizer(dictionary, spec.lr), silent, scaling.scale)
