"""Documents from files: which files a list of paths means, and what is in them.

A file is one document, except `.jsonl`, where each line is one. Bytes are decoded as UTF-8 and kept as they are, line
ends included; only a byte-order mark at the start is left out.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mechscope.core import BadDataError, NotFoundError
from mechscope.core.errors import nearest_name
from mechscope.corpora.documents import Document

__all__ = ["SUFFIXES", "FoundFiles", "find_files", "read_documents"]

SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl")
LINES_SUFFIX = ".jsonl"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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


def read_documents(file: Path, *, text_field: str = "text") -> Iterator[Document]:
    """The documents of one file; an empty file gives a document with an empty text; a blank `.jsonl` line none.

    Args:
        file: what to read.
        text_field: the key that holds the text in a `.jsonl` line.

    Raises:
        BadDataError: bytes that are not UTF-8 or a NUL byte (file and offset are named), or a `.jsonl` line that is
            not an object with a string under `text_field` (file and line are named).
    """
    text = _decoded(file)
    name = file.as_posix()
    if file.suffix.lower() != LINES_SUFFIX:
        yield Document(name, text, facts={"file": name})
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Document(f"{name}:{number}", _field(line, text_field, f"{name}:{number}"), facts={"file": name})


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


def _decoded(file: Path) -> str:
    data = file.read_bytes().removeprefix(BYTE_ORDER_MARK)
    at = data.find(b"\0")
    reason = "a NUL byte"
    if at < 0:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            at, reason = error.start, f"byte 0x{data[error.start]:02x} is not UTF-8"
    at += file.stat().st_size - len(data)
    raise BadDataError(
        f"{file}, offset {at}: {reason}",
        expected="text in UTF-8",
        todo="convert the file (for example with iconv) or leave it out",
    )


def _field(line: str, key: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadDataError(
            f"{where} is not JSON: {error}", expected="one JSON object a line", todo="mend it"
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get(key), str):
        held = f"keys {', '.join(map(str, value)) or '(none)'}" if isinstance(value, dict) else type(value).__name__
        raise BadDataError(
            f"{where} has {held}", expected=f"an object with a string under {key!r}", todo="name the right text_field"
        )
    text: str = value[key]
    return text
