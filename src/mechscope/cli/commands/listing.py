"""`mechscope list`."""

from __future__ import annotations

from typing import Annotated

import typer

from mechscope.cli.options import AsJson
from mechscope.cli.output import print_envelope, print_table
from mechscope.core.kinds import KINDS, kind_registry

__all__ = ["list_kind"]


def list_kind(
    kind: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(KINDS)}.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the plug-ins of a kind with file and line, or the kinds."""
    if kind is None:
        rows = [(name, len(registry.entries()), registry.group) for name, registry in KINDS.items()]
        if as_json:
            print_envelope("list", [{"kind": n, "n_entries": c, "entry_point_group": g} for n, c, g in rows])
        else:
            print_table("kinds", ("kind", "entries", "entry-point group"), rows)
        return
    entries = list(kind_registry(kind).entries().values())
    if as_json:
        print_envelope(
            "list", [{"name": e.name, "summary": e.summary, "file": e.file, "line": e.line} for e in entries]
        )
    else:
        place = [f"{e.file}:{e.line}" if e.line else e.file for e in entries]
        print_table(
            kind, ("name", "what", "where"), [(e.name, e.summary, p) for e, p in zip(entries, place, strict=True)]
        )
