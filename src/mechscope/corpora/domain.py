"""What tokens mean, so that an input can be changed and stay an input that the model could have met.

    context     what the model sees of one row: tokens without padding, and further ids (a weapon)
    family      one ordered quantity with rungs (ability points, number, tense); rung 0 is "absent"
    binary      something that is there or not, and is one token
    group       a named choice a row (weapon, topic, document); attributes describe its names (sub, special)

A domain reads these from a context, says in words what is illegal about it, and writes changed contexts. The
implementations live in `domains/<name>/domain.py` and `declared_domain.py`; `domain_for.domain_for` picks one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from mechscope.core import UsageError

__all__ = ["Context", "ContextKey", "Domain", "Family", "SettledRungs", "settle_rungs"]

ContextKey = tuple[tuple[int, ...], tuple[tuple[str, int], ...]]


@dataclass(frozen=True)
class Context:
    """What the model sees of one row.

    Attributes:
        tokens: ids as the model takes them, without padding; those of sets in rising order.
        inputs: what it is given beside them, one integer a row ({"weapon_ids": 7}).
        row: the corpus row that it came from, also after a substitution; -1 when it was made up. Contexts that
            differ in the row alone are equal.
    """

    tokens: tuple[int, ...]
    inputs: Mapping[str, int] = field(default_factory=dict)
    row: int = field(default=-1, compare=False)

    @cached_property
    def key(self) -> ContextKey:
        """Tokens and inputs as a hashable key: two contexts with one key are one input to the model."""
        return self.tokens, tuple(sorted(self.inputs.items()))

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Family:
    """One ordered quantity.

    Attributes:
        name: unique in its domain.
        rungs: its levels in rising order, all above 0 (0 stands for "absent").
        tokens: the token ids present at each rung; cumulative coding brings the lower ones. Empty at every rung
            where the words depend on the context (then only the domain can tell the rung).
        names: what each rung is called where its number says little ("singular", "plural"); else empty.
        values: the finer values behind the rungs where a rung is a threshold (40 possible ability points); else empty.
        short_name: a shorter name ("SCU"), or "".
    """

    name: str
    rungs: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    short_name: str = ""

    def rung_name(self, rung: int) -> str:
        """The name of a rung, or its number; "absent" for 0. Raises UsageError when there is no such rung."""
        if rung == 0:
            return "absent"
        self.require_rung(rung)
        return self.names[self.rungs.index(rung)] if self.names else str(rung)

    def require_rung(self, rung: int) -> int:
        """The rung itself, 0 included. Raises UsageError with the rungs that have tokens."""
        if rung and rung not in self.rungs:
            near = [str(r) for r in self.rungs if r < rung][-1:] + [str(r) for r in self.rungs if r > rung][:1]
            raise UsageError(
                f"{self.name} has no rung {rung}" + (": no token stands for it" if rung in self.values else ""),
                expected=f"0 (absent) or one of {', '.join(map(str, self.rungs))}",
                todo=f"use {' or '.join(near)}"
                + (", or snap=True, which takes the largest rung below" if rung in self.values else ""),
            )
        return rung


class SettledRungs(NamedTuple):
    """Rungs that exist, in the order asked, each once; `notes` says in words what was mapped to another rung."""

    rungs: tuple[int, ...]
    notes: tuple[str, ...]


def settle_rungs(family: Family, asked: Sequence[int], *, snap: bool = False) -> SettledRungs:
    """The rungs asked for, checked against the family.

    Args:
        family: whose rungs.
        asked: rungs; 0 stands for absent. Empty takes every rung of the family.
        snap: map a value without a rung of its own (41 ability points) to the largest rung below it, and note it.
            A value that the family cannot have at all is refused all the same.

    Raises:
        UsageError: a rung that does not exist, with the nearest ones; a family without rungs.
    """
    if not family.rungs:
        raise UsageError(f"{family.name} has no rungs", expected="a family with rungs", todo="choose another family")
    settled: list[int] = []
    notes: list[str] = []
    for rung in asked or family.rungs:
        found = rung
        if snap and rung and rung not in family.rungs and rung in family.values:
            found = max((r for r in family.rungs if r <= rung), default=0)
            notes.append(f"{family.name} {rung} has no token: taken as its rung {found}")
        family.require_rung(found)
        if found not in settled:
            settled.append(found)
    return SettledRungs(tuple(settled), tuple(notes))


class Domain(Protocol):
    """The meaning of one vocabulary."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def families(self) -> Mapping[str, Family]:
        """Families by name."""
        ...

    @property
    def binaries(self) -> Mapping[str, int]:
        """Binary -> the id of the token that stands for it."""
        ...

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Group column -> its names, in order."""
        ...

    @property
    def settable_groups(self) -> tuple[str, ...]:
        """The groups that `substitute` can change; the others are facts about the row."""
        ...

    @property
    def attribute_group(self) -> str | None:
        """The group that `attributes` speaks of, or None."""
        ...

    @property
    def attributes(self) -> Mapping[str, Mapping[str, str]]:
        """Attribute ("sub", "special", "class") -> name of that group -> value."""
        ...

    def rung(self, context: Context, family: str) -> int:
        """The rung of a family, 0 when absent. Raises NotFoundError for an unknown family."""
        ...

    def has(self, context: Context, binary: str) -> bool:
        """Whether a binary is there. Raises NotFoundError for an unknown one."""
        ...

    def group(self, context: Context, column: str) -> str:
        """The name in a group column or attribute; "" when the context does not tell. Raises NotFoundError."""
        ...

    def faults(self, context: Context) -> list[str]:
        """Why the context is illegal, in words; empty when it is legal."""
        ...

    def is_legal(self, context: Context) -> bool:
        """Whether the model could have met this context."""
        ...

    def substitute(
        self,
        context: Context,
        *,
        rungs: Mapping[str, int] = {},
        binaries: Mapping[str, bool] = {},
        groups: Mapping[str, str] = {},
        tokens_on: Sequence[int] = (),
        tokens_off: Sequence[int] = (),
    ) -> Context:
        """The context with the named things changed and everything else kept.

        Args:
            context: a legal context.
            rungs: family -> rung; 0 removes it.
            binaries: name -> there or not.
            groups: group -> name; only `settable_groups`.
            tokens_on, tokens_off: ids of tokens that must (not) be there afterwards, by the smallest legal change:
                a token of a cumulative family raises it to that rung, or lowers it to the rung below.

        Raises:
            NotFoundError: an unknown family, binary, group or name, with the nearest one.
            UsageError: an unknown rung, contradicting changes, or an illegal result; the rule is named.
        """
        ...

    def neighbours(self, context: Context) -> Iterator[tuple[str, Context]]:
        """Every legal context one step away, with the step in words ("quick_respawn 3 -> 6")."""
        ...

    def render(self, context: Context) -> str:
        """The context in words; `parse` reads it back."""
        ...

    def parse(self, text: str) -> Context:
        """A context from `render`'s words or from a list of tokens. It may be illegal: ask `faults`.

        Raises NotFoundError for an unknown token or name, with the nearest one.
        """
        ...
