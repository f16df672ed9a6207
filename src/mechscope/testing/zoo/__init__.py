"""A zoo of tiny models built from their configs, for tests and measurements that go over all families."""

from mechscope.testing.zoo.decoders import DECODERS
from mechscope.testing.zoo.perturbing import build_perturbed, perturb

__all__ = ["DECODERS", "build_perturbed", "perturb"]
