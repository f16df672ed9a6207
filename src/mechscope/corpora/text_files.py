"""Which files a list of paths means."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mechscope.core import BadDataError, NotFoundError
from mechscope.core.errors import nearest_name

__all__ = ["SUFFIXES", "FoundFiles", "find_files"]

SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl")


@dataclass(frozen=True)
class FoundFiles:
    """The files that paths stand for, sorted, each once; and how many in their folders were passed over."""

    files: tuple[Path, ...]
    n_other_suffix: int
    n_hidden: int


def find_files(paths: Sequence[str]) -> FoundFiles:
    """Files named outright (any suffix), files in folders at any depth (known suffixes), and matches of globs.

    In folders, hidden files and folders (name begins with a dot) are passed over and counted.

    Raises:
        NotFoundError: a path that is not there (the nearest name beside it is offered), or a glob without a match.
        BadDataError: no file at all.
    """
    files: dict[Path, Path] = {}  # by real place, so that a file named twice is read once
    n_other = n_hidden = 0
    for path in _expanded(paths):
        if path.is_file():
            files.setdefault(path.resolve(), path)
            continue
        inside = [found for found in path.rglob("*") if found.is_file()]
        shown = [found for found in inside if not _is_hidden(found.relative_to(path))]
        known = [found for found in shown if found.suffix.lower() in SUFFIXES]
        for found in known:
            files.setdefault(found.resolve(), found)
        n_hidden += len(inside) - len(shown)
        n_other += len(shown) - len(known)
    if not files:
        raise BadDataError(
            f"no text file in {', '.join(paths) or 'an empty list of paths'} ({n_other} files of other kinds)",
            expected=f"files, or folders with files that end in {', '.join(SUFFIXES)}",
            todo="name a file outright to read it whatever its ending",
        )
    return FoundFiles(tuple(sorted(files.values())), n_other, n_hidden)


def _expanded(paths: Sequence[str]) -> Iterator[Path]:
    for text in paths:
        path = Path(text).expanduser()
        if path.exists():
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(text) else []
        if not matches:
            raise _missing(path)
        yield from map(Path, matches)


def _missing(path: Path) -> NotFoundError:
    beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest_name(path.name, beside)
    return NotFoundError(
        f"no file or folder {path}",
        expected="a file, a folder, or a glob that matches something",
        todo=f"did you mean {path.parent / near}?" if near else "check the path",
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
