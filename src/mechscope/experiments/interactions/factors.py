"""Factors of a factorial design: a token, a rung or a group name as something that is there or not.

Present and absent are both set by the smallest legal change, so that every combination of factors can be made in one
base context. A rung is present against the family's absence (against its lowest rung where the family is never absent).
A group name is present against whatever the base context has; contexts that have it themselves have no absence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import NotFoundError, UsageError, unknown_name
from mechscope.corpora.domain import Context
from mechscope.experiments.algorithms.bitsets import pack_bits
from mechscope.experiments.changing.changes import Change, Held, token_change
from mechscope.experiments.contexts import ExperimentContext

__all__ = ["Factor", "every_factor", "parse_factors", "require_apart", "require_settable"]

MOST_TOKENS = 100


@dataclass(frozen=True)
class Factor:
    """Something that is there or not.

    Attributes:
        name: what tables call it. topic: the family, binary, token or group column that it sets; two factors of one
            topic cannot vary on their own.
        on, off: the changes that bring it in and take it out. group: its name in the column `topic`, else "".
        lowest: the rung that stands for absence of a family (0: absent).
    """

    name: str
    topic: str
    on: Change
    off: Change
    group: str = ""
    lowest: int = 0

    def refusal(self, context: ExperimentContext, base: Context) -> str:
        """Why this base context has no absence of the factor; empty when it has."""
        if self.group and context.domain.group(base, self.topic) == self.group:
            return f"base context with {self.name} itself, which has no absence"
        return ""

    def of_rows(self, context: ExperimentContext) -> np.ndarray:
        """1 for rows that have it, 0 for rows without, -1 for rungs in between, int8 [n_rows]."""
        if self.group:
            names, index = context.group_codes(self.topic)
            has = (names == context.known_group(self.topic, self.group)).astype(np.int8)
            return np.asarray(has[index])
        if self.on.rungs:
            ladder, places = (0, *context.domain.families[self.topic].rungs), context.family_places(self.topic)
            highest = bisect_right(ladder, self.lowest) - 1
            is_there = places >= ladder.index(self.on.rungs[self.topic])
            found: np.ndarray = is_there.astype(np.int8) - (~is_there & (places > highest))
            return found
        token = context.domain.binaries[self.topic] if self.on.binaries else self.on.tokens_on[0]
        return context.rows_with(token).astype(np.int8)

    def packed_rows(self, context: ExperimentContext) -> np.ndarray:
        """Which rows have it, a row to a bit as `context.packed_rows` has them, uint64; kept."""
        if self.name not in context.packed_factors:
            context.packed_factors[self.name] = pack_bits(self.of_rows(context)[None] == 1)[0]
        return context.packed_factors[self.name]


def parse_factors(context: ExperimentContext, names: Sequence[str], held: Held) -> list[Factor]:
    """Factors from names: binaries, rungs ("special_charge_up_12"), tokens, "weapon=Splattershot", or a weapon's name.

    Raises:
        NotFoundError: an unknown name, with the nearest.
        UsageError: one named twice, or one that is held constant.
    """
    found = [_parse(context, name) for name in names]
    for at, factor in enumerate(found):
        if factor.on in [other.on for other in found[:at]]:
            raise UsageError(f"{factor.name} is named twice", expected="each once", todo="leave one out")
        held.change.joined(factor.on)  # what is held may not be what varies
    return found


def require_apart(factors: Sequence[Factor]) -> None:
    """Raise UsageError when two of the factors set the same thing."""
    for at, factor in enumerate(factors):
        same = next((other for other in factors[:at] if other.topic == factor.topic), None)
        if same is not None:
            raise UsageError(
                f"{same.name} and {factor.name} both set {factor.topic}",
                expected="factors that can be there or not independently",
                todo="use family_1d_sweep for the rungs of one family, weapon_sweep for weapons",
            )


def require_settable(context: ExperimentContext, factors: Sequence[Factor]) -> None:
    """Raise UsageError for a group or attribute that is a fact of its row, which no intervention can set."""
    for factor in factors:
        if factor.group and factor.topic not in context.domain.settable_groups:
            raise UsageError(
                f"{factor.topic} cannot be set in a context",
                expected=" or ".join(context.domain.settable_groups) or "tokens",
                todo='use the mode "observational"',
            )


def every_factor(context: ExperimentContext, held: Held) -> list[Factor]:
    """Every binary and every rung of the domain but what is held; without any, the commonest tokens."""
    domain, vocabulary = context.domain, context.corpus.vocabulary
    factors = [_binary(name, name) for name in domain.binaries]
    for family in domain.families.values():
        lowest = _lowest(context, family.name)
        factors += [_rung(f"{family.name}_{rung}", family.name, rung, lowest) for rung in family.rungs if rung > lowest]
    if not factors:
        ids = {name: index for index, name in enumerate(vocabulary)}
        counts = np.bincount(context.corpus.tokens.ids, minlength=len(vocabulary))
        names = sorted(context.inputs.binary_tokens, key=lambda name: -int(counts[ids[name]]))[:MOST_TOKENS]
        factors = [_token(name, ids[name]) for name in names]
    change = held.change
    taken = {*change.rungs, *change.binaries, *change.groups, *(f"token {token}" for token in change.tokens_on)}
    return [factor for factor in factors if factor.topic not in taken]


def _parse(context: ExperimentContext, name: str) -> Factor:
    domain = context.domain
    column, equals, value = (part.strip() for part in name.partition("="))
    if equals and (column in domain.groups or column in domain.attributes):
        return _group(context, column, value)
    try:
        change = token_change(domain, context.corpus.vocabulary, name)
    except NotFoundError as unknown:
        for column in domain.settable_groups:
            if name.strip().lower() in {known.lower() for known in domain.groups[column]}:
                return _group(context, column, name.strip())
        raise unknown
    if change.binaries:
        return _binary(change.name, next(iter(change.binaries)))
    if change.rungs:
        family, rung = next(iter(change.rungs.items()))
        lowest = _lowest(context, family)
        if rung <= lowest:
            raise UsageError(
                f"{name!r}, the lowest that {family} has here", expected="a rung above it", todo="name a higher rung"
            )
        return _rung(change.name, family, rung, lowest)
    return _token(change.name, change.tokens_on[0])


def _group(context: ExperimentContext, column: str, value: str) -> Factor:
    known = {name.lower(): name for name in context.domain.groups.get(column, ())}
    if column in context.domain.groups and value.lower() not in known:
        raise unknown_name(column, value, context.domain.groups[column])
    name = known.get(value.lower()) or context.known_group(column, value)
    return Factor(f"{column}={name}", column, Change(name, groups={column: name}), Change("as it is"), name)


def _binary(name: str, binary: str) -> Factor:
    off = Change(f"no {binary}", binaries={binary: False})
    return Factor(name, binary, Change(name, binaries={binary: True}), off)


def _rung(name: str, family: str, rung: int, lowest: int) -> Factor:
    off = Change(f"{family} {lowest}", rungs={family: lowest})
    return Factor(name, family, Change(name, rungs={family: rung}), off, lowest=lowest)


def _token(name: str, token: int) -> Factor:
    return Factor(name, f"token {token}", Change(name, tokens_on=(token,)), Change(f"no {name}", tokens_off=(token,)))


def _lowest(context: ExperimentContext, family: str) -> int:
    """0, or the lowest rung in the corpus of a family that no row is without."""
    return int(context.family_rungs(family).min())
