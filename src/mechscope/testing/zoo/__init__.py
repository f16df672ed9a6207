"""A zoo of tiny models built from their configs, for tests and measurements that go over all families."""

from mechscope.testing.zoo.decoders import DECODERS
from mechscope.testing.zoo.others import OTHERS
from mechscope.testing.zoo.perturbing import build_perturbed, perturb
from mechscope.testing.zoo.whole import ZOO

__all__ = ["DECODERS", "OTHERS", "ZOO", "build_perturbed", "perturb"]
