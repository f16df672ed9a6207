"""Where a report comes from: everything a reader needs to make it again."""

from __future__ import annotations

from mechscope.core import Spec

__all__ = ["Provenance"]


class Provenance(Spec):
    """The report's footer.

    `date` comes from the caller, so that the same results give the same bytes. `command` is what reproduces them.
    """

    command: str
    date: str = ""
    spec_digest: str = ""
    code_version: str = ""
    seeds: dict[str, int] = {}
    packages: dict[str, str] = {}
    device: str = ""
    wall_seconds: float | None = None
    details: dict[str, str] = {}
