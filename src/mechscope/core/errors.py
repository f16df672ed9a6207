"""The one error tree.

    MechscopeError
    ├── UserError            you can fix it; shown without a traceback
    │   ├── UsageError       exit code 2: the call itself is off (option, spec, unit)
    │   ├── NotFoundError    exit code 3: a name, file, feature or model that is not there
    │   ├── ConflictError    exit code 4: something else is there, or holds the lock
    │   └── BadDataError     exit code 5: a file or tensor is not what it claims to be
    └── InternalError        exit code 1: our bug; shown with a traceback

A message has three parts: what was seen, what was expected, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadDataError",
    "ConflictError",
    "InternalError",
    "MechscopeError",
    "NotFoundError",
    "UsageError",
    "UserError",
    "unknown_name",
]

LISTED_NAMES_MAX = 24


class MechscopeError(Exception):
    """Root of every error that mechscope raises on purpose."""

    exit_code = 1


class InternalError(MechscopeError):
    """A fault of mechscope itself."""


class UserError(MechscopeError):
    """Something the caller can fix. `str()` gives the three parts on three lines.

    Args:
        seen: what was wrong, with the value seen.
        expected: what would have been right.
        todo: what to do next.
    """

    exit_code = 2

    def __init__(self, seen: str, *, expected: str, todo: str) -> None:
        super().__init__(f"{seen}\nexpected: {expected}\nto do: {todo}")
        self.seen = seen
        self.expected = expected
        self.todo = todo


class UsageError(UserError):
    """The call itself is off: an option, a spec key, a unit."""

    exit_code = 2


class NotFoundError(UserError):
    """A name, file, feature or model that is not there."""

    exit_code = 3


class ConflictError(UserError):
    """Something else already stands there, or another process holds it."""

    exit_code = 4


class BadDataError(UserError):
    """A file or tensor is not what it claims to be."""

    exit_code = 5


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name` in spelling, or None when none is close."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(by_folded), n=1, cutoff=0.5)
    return by_folded[close[0]] if close else None


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, todo: str | None = None, compared: str | None = None
) -> NotFoundError:
    """A `NotFoundError` that lists the known names and offers the nearest one.

    Args:
        kind: what was looked up, in the singular ("site", "family", "model").
        name: the name that was not found.
        known: the names that exist.
        todo: what to do next; by default "use '<nearest>'" or "use one of these".
        compared: the part of `name` that the known names are compared with; all of it by default.
    """
    names = sorted(known)
    shown = ", ".join(names[:LISTED_NAMES_MAX]) if names else "none at all"
    more = f" and {len(names) - LISTED_NAMES_MAX} more" if len(names) > LISTED_NAMES_MAX else ""
    near = nearest_name(name if compared is None else compared, names)
    if todo is None:
        todo = f"did you mean {near!r}?" if near else "use one of the known names"
    elif near:
        todo = f"did you mean {near!r}? Or {todo}"
    return NotFoundError(f"unknown {kind} {name!r}", expected=f"one of: {shown}{more}", todo=todo)
