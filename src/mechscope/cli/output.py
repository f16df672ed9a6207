"""What commands print: tables for people on stdout, one JSON envelope for programs, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from mechscope.core import SILENT, MechscopeError, Progress, Task, UserError

__all__ = [
    "STDOUT",
    "ShownProgress",
    "cell_text",
    "print_envelope",
    "print_error",
    "print_result",
    "print_table",
    "progress_for",
]

PIPE_WIDTH = 132
# A pipe has no width of its own, and 80 columns would fold every table.
STDOUT = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
STDERR = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


class _ShownTask:
    def __init__(self, bars: RichProgress, task: Any) -> None:
        self._bars, self._task = bars, task

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self._bars.update(self._task, advance=n, note=note)


class ShownProgress:
    """Rich bars on stderr. When stderr is no terminal, one line at the end of each bar instead."""

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """A bar that lasts as long as the context."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with RichProgress(*columns, console=STDERR, refresh_per_second=6) as bars:
            yield _ShownTask(bars, bars.add_task(name, total=total, unit=unit, note=""))

    def say(self, line: str) -> None:
        """One line on stderr."""
        STDERR.print(f"[dim]·[/dim] {escape(line)}")


def progress_for(*, quiet: bool) -> Progress:
    """Bars for people, silence for `--quiet`."""
    return SILENT if quiet else ShownProgress()


def print_envelope(command: str, result: Any) -> None:
    """The one JSON object on stdout that `--json` promises."""
    _write_json({"ok": True, "command": command, "result": result})


def print_result(lines: Sequence[str | Text]) -> None:
    """Lines for people, as they stand: no text is read as markup. Style comes in `Text` alone."""
    for line in lines:
        STDOUT.print(line, markup=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> None:
    """A table for people. Numbers are right-aligned."""
    table = Table(
        title=Text(title),
        caption=Text(caption) if caption else None,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell_text(value)) for value in row))
    STDOUT.print(table)


def print_error(error: MechscopeError, *, as_json: bool) -> None:
    """An error in its three parts: on stderr for people, as an envelope on stdout for programs."""
    if as_json:
        parts = (
            {"seen": error.seen, "expected": error.expected, "todo": error.todo}
            if isinstance(error, UserError)
            else {"seen": str(error)}
        )
        _write_json({"ok": False, "error": {"type": type(error).__name__, **parts}, "exit_code": error.exit_code})
        return
    if isinstance(error, UserError):
        STDERR.print(f"[bold red]error[/bold red]  {escape(error.seen)}")
        STDERR.print(f"[dim]expected[/dim]  {escape(error.expected)}")
        STDERR.print(f"[dim]to do[/dim]  {escape(error.todo)}")
    else:
        STDERR.print(f"[bold red]internal error[/bold red]  {escape(str(error))}")


def _write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def cell_text(value: Any) -> str:
    """A cell of a table as its characters."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
