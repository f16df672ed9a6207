"""The command reference as Markdown, made from the commands: `python -m mechscope.cli.reference > docs/cli.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from mechscope.cli.app import app

__all__ = ["reference"]

HEADER = """\
# Commands

Made by `python -m mechscope.cli.reference`; a test fails when it is stale. Every command takes `--help`. With `--json`
a command prints one envelope on stdout and nothing else: `{"ok": true, "command": ..., "result": ...}`, or
`{"ok": false, "error": ..., "exit_code": ...}`. Progress goes to stderr.
Exit codes: 0 ok, 1 our bug, 2 usage, 3 not found, 4 conflict, 5 bad data.
"""


def reference() -> str:
    """The whole reference."""
    root = typer.main.get_command(app)
    return HEADER + "".join(_section(name, command) for name, command in _commands(root, "mechscope"))


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child_name in sorted(children):
        yield from _commands(children[child_name], f"{name} {child_name}")


def _section(name: str, command: Any) -> str:
    lines = [f"\n## `{name}`\n", _plain(command.help or ""), "", "| option | what |", "|---|---|"]
    for parameter in command.params:
        spelled = ", ".join(f"`{opt}`" for opt in [*parameter.opts, *parameter.secondary_opts])
        lines.append(f"| {spelled} | {_plain(getattr(parameter, 'help', None) or '')} |")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return re.sub(r"\[/?\w+\]", "", text).replace("|", "\\|").replace("\n", " ").strip()


if __name__ == "__main__":
    sys.stdout.write(reference())
