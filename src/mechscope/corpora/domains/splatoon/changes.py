"""Small changes of a build's state: tokens switched on and off, and every single step away from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mechscope.core import UsageError
from mechscope.corpora.domains.splatoon.coding import State, TokenCoding

__all__ = ["steps", "switched"]


def switched(state: State, coding: TokenCoding, on: Sequence[int], off: Sequence[int]) -> State:
    """The state with tokens on and off by the smallest change: a rung on raises (or sets) its family, a rung off
    lowers it to the rung below. Later tokens may undo earlier ones. Raises UsageError for a token that is no ability.
    """
    levels, main_only = list(state.rungs), state.main_only
    for token in (*on, *off):
        if token in coding.main_only_of_id:
            bit = coding.bit[coding.main_only_of_id[token]]
            main_only = main_only | bit if token in on else main_only & ~bit
            continue
        if token not in coding.rung_of_id:
            shown = coding.vocabulary[token] if 0 <= token < len(coding.vocabulary) else f"token {token}"
            raise UsageError(
                f"{shown} cannot be switched",
                expected="the id of a family's rung or of a main-only ability",
                todo="choose a token of `families` or `binaries`",
            )
        family, rung = coding.rung_of_id[token]
        at = coding.place[family]
        is_there = token in coding.write(State(tuple(levels), main_only))
        if token in on and not is_there:
            levels[at] = rung
        elif token not in on and is_there:
            levels[at] = max((r for r in coding.families[family].rungs if r < rung), default=0)
    return State(tuple(levels), main_only)


def steps(state: State, coding: TokenCoding) -> Iterator[tuple[str, State]]:
    """Every state one rung or one main-only ability away, legal or not, with the step in words."""
    for at, family in enumerate(coding.families.values()):
        ladder = (0, *family.rungs)
        here = ladder.index(state.rungs[at])
        for there in (here - 1, here + 1):
            if 0 <= there < len(ladder):
                changed = (*state.rungs[:at], ladder[there], *state.rungs[at + 1 :])
                yield f"{family.name} {ladder[here]} -> {ladder[there]}", State(changed, state.main_only)
    for name, bit in coding.bit.items():
        step = "on -> off" if state.main_only & bit else "off -> on"
        yield f"{name} {step}", State(state.rungs, state.main_only ^ bit)
