"""Random models in which nothing is one, zero or alike, so that a wrong reading of them shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

__all__ = ["build_perturbed", "perturb"]

Module = TypeVar("Module", bound=nn.Module)
VECTOR_SPREAD = 0.3
MATRIX_SPREAD = 0.1


def build_perturbed(make: Callable[[], Module], *, seed: int = 7) -> Module:
    """What `make` builds, its weights drawn from `seed` and perturbed, in evaluation mode.

    The global generators are left as they were.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    perturb(module, torch.Generator().manual_seed(seed))
    return module.eval()


@torch.no_grad()
def perturb(module: nn.Module, generator: torch.Generator) -> None:
    """Add normal noise to every parameter, in place: 0.3 to vectors (norm scales, biases), 0.1 to matrices."""
    for parameter in module.parameters():
        spread = VECTOR_SPREAD if parameter.ndim == 1 else MATRIX_SPREAD
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(spread * noise.to(parameter.device, parameter.dtype))
