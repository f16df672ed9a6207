"""Bytes and rows: atomic writes, manifests with checksums."""

from mechscope.store.atomic import (
    atomic_path,
    clear_temporaries,
    fsync_folder,
    read_json,
    require_room,
    write_bytes,
    write_json,
    writing,
)
from mechscope.store.manifests import (
    FileEntry,
    Manifest,
    artifact_folder,
    file_entry,
    is_complete,
    publish,
    read_manifest,
    verify,
)

__all__ = [
    "FileEntry",
    "Manifest",
    "artifact_folder",
    "atomic_path",
    "clear_temporaries",
    "file_entry",
    "fsync_folder",
    "is_complete",
    "publish",
    "read_json",
    "read_manifest",
    "require_room",
    "verify",
    "write_bytes",
    "write_json",
    "writing",
]
