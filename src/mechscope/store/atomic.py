"""Atomic writes: a file is there whole, or not at all.

Every write goes to a temporary name in the same folder, is flushed to the disk, and is then renamed. A killed
process leaves at most a temporary file, whose name (`.tmp-` prefix) no reader ever looks at.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mechscope.core import BadDataError, ConflictError, canonical_json

__all__ = [
    "atomic_path",
    "clear_temporaries",
    "fsync_folder",
    "read_json",
    "require_room",
    "write_bytes",
    "write_json",
    "writing",
]

TEMPORARY_PREFIX = ".tmp-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to; on a clean exit it becomes `path`, on an error it is removed.

    Raises:
        ConflictError: the disk is full (a quota or a limit on file sizes counts as that) or the folder cannot be
            written; nothing is left.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while `path` is written into a ConflictError that says what to do."""
    try:
        yield
    except OSError as error:
        raise _disk_error(path, error) from error


def fsync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """Write JSON types to `path` atomically: sorted keys (or in their own order), two spaces, a final newline."""
    canonical_json(value)  # refuses NaN and infinity before anything is written
    text = json.dumps(value, sort_keys=sort_keys, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """JSON from `path`. Raises BadDataError when the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadDataError(
            f"{path} is missing", expected="a file written together with its folder", todo="build the folder again"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadDataError(
            f"{path} is not JSON: {error}", expected="JSON text", todo="delete the folder and build it again"
        ) from error


def clear_temporaries(folder: Path) -> int:
    """Remove what killed writers left in `folder` (not below it); returns how many files went."""
    stale = list(folder.glob(f"{TEMPORARY_PREFIX}*")) if folder.is_dir() else []
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


def require_room(folder: Path, n_bytes: int, *, what: str) -> None:
    """Raise ConflictError when the disk under `folder` has less than `n_bytes` free."""
    probe = folder
    while not probe.exists():
        probe = probe.parent
    free = shutil.disk_usage(probe).free
    if free < n_bytes:
        raise ConflictError(
            f"{what} needs about {n_bytes / 1e6:,.0f} MB and {probe} has {free / 1e6:,.0f} MB free",
            expected="enough free disk",
            todo="free some space, or put the workspace on another disk",
        )


def _disk_error(path: Path, error: OSError) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return ConflictError(
            f"the disk is full: {path} could not be written ({error.strerror})",
            expected="enough free disk",
            todo="free some space and run the same command again: finished parts are kept",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}:
        return ConflictError(
            f"{path} could not be written ({error.strerror})",
            expected="a folder that this user may write to",
            todo="choose another folder or change its permissions",
        )
    return error
