"""Named changes of a context, and what an experiment holds constant in every condition."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mechscope.core import UsageError, unknown_name
from mechscope.corpora.domain import Context, Domain

__all__ = ["Change", "Held", "parse_held", "token_change"]

FAMILY_RUNG = re.compile(r"^(?P<family>.+?)[_ ](?P<rung>\d+)$")


@dataclass(frozen=True)
class Change:
    """What to substitute in a context; see `Domain.substitute`. `name` is what tables call it."""

    name: str
    rungs: Mapping[str, int] = field(default_factory=dict)
    binaries: Mapping[str, bool] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    tokens_on: tuple[int, ...] = ()
    tokens_off: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is changed."""
        return not (self.rungs or self.binaries or self.groups or self.tokens_on or self.tokens_off)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `Domain.substitute` takes beside the context."""
        return {
            "rungs": self.rungs,
            "binaries": self.binaries,
            "groups": self.groups,
            "tokens_on": self.tokens_on,
            "tokens_off": self.tokens_off,
        }

    def apply(self, domain: Domain, context: Context) -> Context:
        """The changed context. Raises UsageError when it would be illegal."""
        return context if self.is_empty else domain.substitute(context, **self.arguments)

    def joined(self, other: Change, *, name: str | None = None) -> Change:
        """Both changes at once. Raises UsageError when they speak of the same thing."""
        mine, others = self._touched(), other._touched()
        if both := sorted(mine & others):
            raise UsageError(
                f"{self.name!r} and {other.name!r} both set {both[0]!r}",
                expected="what is held constant to be none of what varies",
                todo=f"leave {both[0]!r} out of one of them",
            )
        return Change(
            name or f"{self.name}, {other.name}",
            {**self.rungs, **other.rungs},
            {**self.binaries, **other.binaries},
            {**self.groups, **other.groups},
            (*self.tokens_on, *other.tokens_on),
            (*self.tokens_off, *other.tokens_off),
        )

    def _touched(self) -> set[str]:
        tokens = {f"token {token}" for token in (*self.tokens_on, *self.tokens_off)}
        return {*self.rungs, *self.binaries, *self.groups, *tokens}


@dataclass(frozen=True)
class Held:
    """What stays the same in every condition: substituted into every base context, or required of its row.

    Attributes:
        change: what is substituted in.
        required: group column or attribute -> name that a row must have, where the domain cannot set it.
    """

    change: Change = Change("")
    required: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What is held, in words; empty when nothing is."""
        parts = [f"{family} {rung}" for family, rung in self.change.rungs.items()]
        parts += [name if there else f"no {name}" for name, there in self.change.binaries.items()]
        parts += [f"{column} {name}" for column, name in (*self.change.groups.items(), *self.required.items())]
        parts += [f"token {token}" for token in self.change.tokens_on]
        return ", ".join(parts)


def token_change(domain: Domain, vocabulary: Sequence[str], name: str) -> Change:
    """A token, binary or `family_rung` (also "SCU 12") as the change that brings it in.

    Raises:
        NotFoundError: no such token, with the nearest one.
        UsageError: a rung that the family does not have.
    """
    text = name.strip()
    by_folded = {binary.lower(): binary for binary in domain.binaries}
    if text.lower() in by_folded:
        return Change(text, binaries={by_folded[text.lower()]: True})
    families = {alias.lower(): f for f in domain.families.values() for alias in (f.name, f.short_name) if alias}
    match = FAMILY_RUNG.match(text)
    if match and match["family"].lower() in families:
        family = families[match["family"].lower()]
        return Change(text, rungs={family.name: family.require_rung(int(match["rung"]))})
    if text in vocabulary:
        return Change(text, tokens_on=(list(vocabulary).index(text),))
    rungs = [f"{family.name}_{rung}" for family in domain.families.values() for rung in family.rungs]
    raise unknown_name("token", name, [*domain.binaries, *rungs] or list(vocabulary)[:5000])


def parse_held(
    domain: Domain, vocabulary: Sequence[str], *, tokens: Sequence[str] = (), groups: Mapping[str, str] = {}
) -> Held:
    """What a spec's `stable_tokens` and `stable_groups` hold constant.

    Args:
        domain, vocabulary: of the subject.
        tokens: binaries ("comeback"), rungs ("special_charge_up_12"), or other tokens.
        groups: group or attribute -> name. A group that the domain can set is substituted in; any other ("special":
            "Ink Storm") is required of the rows.

    Raises:
        NotFoundError: an unknown token, column or name, with the nearest one.
        UsageError: two rungs of one family.
    """
    change = Change("held")
    for name in tokens:
        change = change.joined(token_change(domain, vocabulary, name), name="held")
    required: dict[str, str] = {}
    for column, name in groups.items():
        if column in domain.settable_groups:
            change = change.joined(Change("held", groups={column: _group_name(domain, column, name)}), name="held")
        else:
            required[column] = name
    return Held(change, required)


def _group_name(domain: Domain, column: str, name: str) -> str:
    by_folded = {known.lower(): known for known in domain.groups[column]}
    if name.lower() not in by_folded:
        raise unknown_name(column, name, domain.groups[column])
    return by_folded[name.lower()]
