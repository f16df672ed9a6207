"""What a run was executed with: versions, processor, threads."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from mechscope import __version__
from mechscope.core import Spec

__all__ = ["Environment", "describe_environment"]

PACKAGES = ("numpy", "plotly", "pyarrow", "pydantic", "safetensors", "scipy", "tokenizers", "torch", "transformers")


class Environment(Spec):
    """Versions and hardware. `n_threads` is torch's intra-op thread count."""

    mechscope: str
    python: str
    system: str
    machine: str
    device: str
    n_threads: int
    packages: dict[str, str]


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_environment(device: str = "cpu") -> Environment:
    """The environment of this process. Cost: a few milliseconds, once."""
    return Environment(
        mechscope=__version__,
        python=platform.python_version(),
        system=platform.system(),
        machine=platform.machine(),
        device=device,
        n_threads=torch.get_num_threads(),
        packages=_versions(),
    )
