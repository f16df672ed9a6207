import errno
import json
import os
from pathlib import Path

import pytest

from mechscope.core import BadDataError, ConflictError
from mechscope.store import (
    atomic_path,
    clear_temporaries,
    file_entry,
    publish,
    read_json,
    read_manifest,
    require_room,
    verify,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="the disk is full"), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_writing_to_the_full_device_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="the disk is full"), atomic_path(tmp_path / "a"):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConflictError, match="could not be written"):
        write_json(tmp_path / "file" / "a.json", {})


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_missing_and_broken_json(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="is missing"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"a":')
    with pytest.raises(BadDataError, match="is not JSON"):
        read_json(tmp_path / "bad.json")


def test_what_killed_writers_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-a").write_text("half")
    (tmp_path / ".tmp-2-b").mkdir()
    (tmp_path / "whole").write_text("x")
    assert clear_temporaries(tmp_path) == 2
    assert os.listdir(tmp_path) == ["whole"]


def test_room_is_checked_before_work_starts(tmp_path: Path) -> None:
    require_room(tmp_path / "not" / "yet", 1, what="a test")
    with pytest.raises(ConflictError, match="a test needs about"):
        require_room(tmp_path, 1 << 60, what="a test")


def published(folder: Path) -> Path:
    folder.mkdir()
    (folder / "data.bin").write_bytes(b"abcdef")
    publish(folder, kind="demo", key={"a": 1}, files={"data.bin": file_entry(folder / "data.bin")}, facts={"n": 6})
    return folder


def test_a_published_folder_is_read_back(tmp_path: Path) -> None:
    manifest = verify(published(tmp_path / "x"), kind="demo")
    assert manifest.facts == {"n": 6}


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda f: (f / "manifest.json").unlink(), r"no manifest\.json"),
        (lambda f: (f / "data.bin").write_bytes(b"abc"), "has 3 bytes"),
        (lambda f: (f / "data.bin").unlink(), "is missing"),
        (lambda f: (f / "data.bin").write_bytes(b"abcdeg"), "checksum"),
        (lambda f: (f / "key.json").write_text('{"a": 2}'), "is not the key"),
        (lambda f: (f / "manifest.json").write_text('{"kind": "demo"}'), "manifest"),
    ],
)
def test_every_damage_is_noticed(tmp_path: Path, damage, match: str) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "x")
    damage(folder)
    with pytest.raises(Exception, match=match):
        verify(folder, kind="demo")


def test_another_kind_or_format_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path / "x")
    with pytest.raises(BadDataError, match="holds 'demo'"):
        read_manifest(folder, kind="other")
    value = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**value, "format_version": 99}))
    with pytest.raises(BadDataError, match="format 99"):
        read_manifest(folder, kind="demo")
