"""Sparse sums of planted unit directions: samples whose true dictionary is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.dictionaries import Dictionary

__all__ = ["Planted", "plant"]


@dataclass(frozen=True, eq=False)
class Planted:
    """Samples, float32 [n d_in], and the unit directions they are made of, [n_true d_in]."""

    samples: Float[Tensor, "n d_in"]
    directions: Float[Tensor, "n_true d_in"]

    def found_share(self, dictionary: Dictionary) -> float:
        """Share of planted directions with a decoder row at cosine above 0.9."""
        rows = torch.nn.functional.normalize(dictionary.W_dec.detach(), dim=1)
        return float(((rows @ self.directions.t()).amax(0) > 0.9).float().mean())


def plant(n: int, *, d_in: int = 48, n_true: int = 96, true_l0: float = 3.0, seed: int = 0) -> Planted:
    """`n` samples: firing rates like 1 / (rank + 8) and mean L0 `true_l0`, magnitudes near 1, offset, noise 0.01."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    directions = torch.nn.functional.normalize(normal(n_true, d_in), dim=1)
    rates = 1 / (torch.arange(n_true) + 8.0)
    fires = torch.rand(n, n_true, generator=generator) < rates / rates.sum() * true_l0
    magnitudes = (1 + 0.25 * normal(n, n_true)).abs()
    return Planted((fires * magnitudes) @ directions + 0.3 * normal(d_in) + 0.01 * normal(n, d_in), directions)
