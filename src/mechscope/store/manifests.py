"""Manifests: what a finished folder holds, with a checksum for every file.

An artifact folder is named after the digest of its key and holds

    key.json        what it was made from, in clear; a reader refuses on any difference
    manifest.json   written last: `files` (name -> bytes, sha256) and `facts` (counts, shapes, timings)

A folder without `manifest.json` is unfinished and is never read as whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mechscope.core import BadDataError, Spec, UsageError, digest_file, digest_of, short
from mechscope.store.atomic import read_json, write_json

__all__ = [
    "FileEntry",
    "Manifest",
    "artifact_folder",
    "file_entry",
    "is_complete",
    "publish",
    "read_manifest",
    "verify",
]

FORMAT_VERSION = 1


class FileEntry(Spec):
    """One file of an artifact: its size in bytes and its SHA-256."""

    n_bytes: int
    sha256: str


class Manifest(Spec):
    """What a finished artifact folder holds."""

    kind: str
    format_version: int = FORMAT_VERSION
    key_digest: str
    files: dict[str, FileEntry]
    facts: dict[str, Any] = {}


def artifact_folder(root: Path, key: dict[str, Any]) -> Path:
    """The folder of the artifact made from `key` under `root`."""
    return root / short(digest_of(key))


def file_entry(path: Path) -> FileEntry:
    """Size and checksum of a file on disk."""
    return FileEntry(n_bytes=path.stat().st_size, sha256=digest_file(path))


def publish(
    folder: Path, *, kind: str, key: dict[str, Any], files: dict[str, FileEntry], facts: dict[str, Any]
) -> Manifest:
    """Write `key.json` and then, last of all, `manifest.json`: from here on the folder counts as whole."""
    manifest = Manifest(kind=kind, key_digest=digest_of(key), files=files, facts=facts)
    write_json(folder / "key.json", key)
    write_json(folder / "manifest.json", manifest.to_json())
    return manifest


def is_complete(folder: Path) -> bool:
    """Whether `folder` was published."""
    return (folder / "manifest.json").is_file()


def read_manifest(folder: Path, *, kind: str) -> Manifest:
    """The manifest of a finished artifact of the given kind; file sizes are checked, checksums by `verify`.

    Raises:
        BadDataError: unfinished folder, other kind, unknown format version, key that does not match its digest,
            or a file that is missing or has another size.
    """
    if not is_complete(folder):
        raise BadDataError(
            f"{folder} has no manifest.json",
            expected=f"a finished {kind} folder",
            todo="run the command that builds it again: it goes on where it stopped",
        )
    try:
        manifest = Manifest.parse(read_json(folder / "manifest.json"), where=str(folder / "manifest.json"))
    except UsageError as error:
        raise BadDataError(
            error.seen, expected="a manifest as it was written", todo="build the folder again"
        ) from error
    if manifest.kind != kind or manifest.format_version != FORMAT_VERSION:
        raise BadDataError(
            f"{folder} holds {manifest.kind!r}, format {manifest.format_version}",
            expected=f"{kind!r}, format {FORMAT_VERSION}",
            todo="point at the right folder, or build it again with this version",
        )
    if digest_of(read_json(folder / "key.json")) != manifest.key_digest:
        raise BadDataError(
            f"key.json in {folder} is not the key that the manifest was written for",
            expected="an untouched key.json",
            todo="delete the folder and build it again",
        )
    for name, entry in manifest.files.items():
        _check_size(folder / name, entry)
    return manifest


def verify(folder: Path, *, kind: str) -> Manifest:
    """`read_manifest`, and every file's checksum too (one read of all bytes). Raises BadDataError."""
    manifest = read_manifest(folder, kind=kind)
    for name, entry in manifest.files.items():
        seen = digest_file(folder / name)
        if seen != entry.sha256:
            raise BadDataError(
                f"{folder / name} has checksum {seen[:12]}…",
                expected=f"{entry.sha256[:12]}… as its manifest says",
                todo="the file was damaged: delete the folder and build it again",
            )
    return manifest


def _check_size(path: Path, entry: FileEntry) -> None:
    n_bytes = path.stat().st_size if path.is_file() else None
    if n_bytes != entry.n_bytes:
        seen = "is missing" if n_bytes is None else f"has {n_bytes:,} bytes"
        raise BadDataError(
            f"{path} {seen}",
            expected=f"{entry.n_bytes:,} bytes as its manifest says",
            todo="the file was damaged: delete the folder and build it again",
        )
