"""Features of gear builds with known drivers, drawn at random: what experiments on them must find again.

A planted feature is a base, plus what each driver adds, plus what pairs add together, plus noise that belongs to the
context (equal contexts have equal noise), floored at 0:

    step    `size` from the threshold rung on
    ramp    `size` times the share of the rungs from the threshold on that are reached
    binary  `size` where the main-only ability is there
    weapon  `size` on some weapons
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from zlib import crc32

import numpy as np

from mechscope.corpora.domain import Context, Domain
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.experiments.types import Mode

__all__ = ["Driver", "PlantedBuilds", "draw_drivers", "run_kind"]

SHAPES: tuple[Literal["step", "ramp"], ...] = ("step", "ramp")
ROOT_3 = 1.7320508


@dataclass(frozen=True)
class Driver:
    """One thing that acts.

    Attributes:
        name: family or binary. size: what it adds at most, in activation units; below 0 it suppresses.
        threshold: the lowest rung that acts; 0 for a binary. shape: of a family.
    """

    name: str
    size: float
    threshold: int = 0
    shape: Literal["step", "ramp", "binary"] = "binary"

    def share_at(self, rung: int, domain: Domain) -> float:
        """How far a family acts at a rung, 0 to 1."""
        acting = [other for other in domain.families[self.name].rungs if other >= self.threshold]
        if self.shape == "step":
            return float(rung >= self.threshold)
        return sum(rung >= other for other in acting) / len(acting)

    def shares(self, domain: Domain) -> dict[int, float]:
        """Token -> how far it makes the driver act; these add up over a context, since lower rungs stay with it."""
        if self.shape == "binary":
            return {domain.binaries[self.name]: 1.0}
        family, found, before = domain.families[self.name], {}, 0.0
        for rung, tokens in zip(family.rungs, family.tokens, strict=True):
            if len(tokens) != family.rungs.index(rung) + 1:
                raise ValueError(f"{family.name} {rung} has {len(tokens)} tokens: its coding is not cumulative")
            found[tokens[-1]] = self.share_at(rung, domain) - before
            before = self.share_at(rung, domain)
        return {token: share for token, share in found.items() if share}


@dataclass(frozen=True)
class PlantedBuilds:
    """A function of contexts; see above.

    Attributes:
        base: activation where nothing acts. drivers: what acts by itself.
        together: pairs of drivers with what their shares' product adds.
        weapons: weapon -> what it adds. noise: standard deviation, uniform. seed: of the noise.
    """

    domain: Domain
    base: float
    drivers: tuple[Driver, ...] = ()
    together: Sequence[tuple[Driver, Driver, float]] = ()
    weapons: Mapping[str, float] | None = None
    noise: float = 0.0
    seed: int = 0

    def __call__(self, context: Context) -> float:
        """The value before the floor."""
        alone, pairs, weapons = self._by_token
        value = self.base + sum(alone.get(token, 0.0) for token in context.tokens)
        for one, other, size in pairs:
            share = sum(one.get(token, 0.0) for token in context.tokens)
            value += size * share * sum(other.get(token, 0.0) for token in context.tokens) if share else 0.0
        if weapons:
            value += weapons.get(context.inputs["weapon_ids"], 0.0)
        if self.noise:
            value += self.noise * ROOT_3 * (2 * crc32(repr((self.seed, context.key)).encode()) / 2**32 - 1)
        return value

    @cached_property
    def _by_token(self) -> tuple[dict[int, float], list[tuple[dict[int, float], dict[int, float], float]], Any]:
        """What each token adds; the shares of pairs by token; what each weapon's index adds."""
        alone: defaultdict[int, float] = defaultdict(float)
        for driver in self.drivers:
            for token, share in driver.shares(self.domain).items():
                alone[token] += driver.size * share
        pairs = [(one.shares(self.domain), other.shares(self.domain), size) for one, other, size in self.together]
        names = self.domain.groups["weapon"] if self.weapons else ()
        return dict(alone), pairs, {names.index(name): size for name, size in (self.weapons or {}).items()}


def draw_drivers(
    domain: Domain, generator: np.random.Generator, *, n_families: int, n_binaries: int, highest: int = 21
) -> tuple[Driver, ...]:
    """Drivers of different families and binaries with random thresholds up to `highest`, signs, shapes and sizes.

    Sizes are 1 to 3 for steps and binaries and 3 to 6 for ramps, whose single rungs then act by a third to one.
    """
    families = generator.choice(sorted(domain.families), n_families, replace=False).tolist()
    binaries = generator.choice(sorted(domain.binaries), n_binaries, replace=False).tolist()
    drivers = []
    for name in families:
        shape = SHAPES[int(generator.integers(2))]
        threshold = int(generator.choice([rung for rung in domain.families[name].rungs if rung <= highest]))
        size = generator.uniform(1, 3) if shape == "step" else generator.uniform(3, 6)
        drivers.append(Driver(name, float(generator.choice([-1, 1]) * size), threshold, shape))
    drivers += [Driver(name, float(generator.choice([-1, 1]) * generator.uniform(1, 3))) for name in binaries]
    return tuple(drivers)


def run_kind(
    context: ExperimentContext,
    kind: str,
    feature: int,
    *,
    mode: Mode | None = None,
    n_bases: int | None = None,
    seed: int = 0,
    **variables: Any,
) -> ExperimentResult:
    """One experiment that must succeed. `n_bases` counts base contexts, or rows of an observational one."""
    spec = ExperimentSpec.parse(
        {"type": kind, "feature_id": feature, "mode": mode, "variables": variables, "seed": seed,
         "dataset_slice": {} if n_bases is None else {"sample_size": n_bases}}
    )  # fmt: skip
    result = get_runner_for_type(kind).run(spec, context)
    assert result.success, result.error_message
    return result
