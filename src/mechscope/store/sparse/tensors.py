"""Tensors in safetensors files, written piece by piece and read by `pread`.

A safetensors file is 8 bytes (length of the header, little endian), the header (JSON: name -> dtype, shape, byte
range), and the bytes of all tensors without gaps. The library's own writer wants every tensor in memory and keeps
metadata in hash order; here a tensor may arrive in pieces, and equal content gives equal bytes. Readers take ranges
of rows straight into a buffer: a cold mapped page costs the device's whole read-ahead, a `pread` only its bytes.

Each header holds its own CRC-32 (over length and header, with zeros in its place), which is checked when the file is
opened. `write_tensors` adds a CRC-32 of every tensor, for readers that look at one tensor at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from mechscope.core import BadDataError, UsageError, canonical_json
from mechscope.store.atomic import atomic_path

__all__ = ["TensorFile", "TensorFileWriter", "TensorPlace", "crc_of", "read_tensors", "write_tensors"]

DTYPES: dict[str, np.dtype] = {
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
}
NAMES: dict[np.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
ALIGNMENT = 8
HEADER_BYTES_MAX = 100_000_000
METADATA_KEY = "mechscope"
CRC_KEY = "header_crc32"
NO_CRC = "0" * 8


@dataclass(frozen=True)
class TensorPlace:
    """Where one tensor lies: `offset` counts bytes from the start of the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one step along the first axis."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


class TensorFileWriter:
    """A safetensors file whose tensors are written in pieces, in any order. Use as a context manager.

    Args:
        path: file to create; write inside `atomic_path` to publish it by rename.
        tensors: name -> (dtype, shape), laid out in this order; put wider dtypes first to keep them aligned.
        metadata: JSON types, kept in the header as canonical JSON.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
        metadata: Mapping[str, Any],
    ) -> None:
        header, self._places = _layout(tensors, metadata)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        _write_all(self._handle, header, 0)
        os.ftruncate(self._handle, max((p.offset + p.n_bytes for p in self._places.values()), default=len(header)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def write(self, name: str, array: np.ndarray, *, start: int = 0) -> None:
        """Write `array` as rows `start ..` of the tensor `name`."""
        place = self._places[name]
        data = np.ascontiguousarray(array, dtype=place.dtype)
        _write_all(self._handle, data.data.cast("B") if data.size else b"", place.offset + start * place.row_bytes)


class TensorFile:
    """A safetensors file kept open for reading; `read` is safe from several threads.

    Raises:
        BadDataError: missing file, or a header that does not describe exactly the bytes of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise BadDataError(
                f"{path} is missing", expected="a file named in the manifest", todo="build the store again"
            ) from error
        self._close = weakref.finalize(self, os.close, self._handle)
        try:
            self.places, self.metadata = _read_header(path, self._handle)
        except BadDataError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._close()

    def fileno(self) -> int:
        """The open file descriptor (for `posix_fadvise`)."""
        return self._handle

    def read(self, name: str, start: int = 0, stop: int | None = None, *, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start:stop` of the tensor `name`, read into `out` (contiguous, same dtype) or a fresh array."""
        place = self.places.get(name)
        end = place.shape[0] if stop is None and place is not None and place.shape else (stop or 0)
        if place is None or not place.shape or not 0 <= start <= end <= place.shape[0]:
            raise _damaged(self.path, f"has no rows {start} to {end} of {name!r}")
        if out is not None and (out.dtype != place.dtype or len(out) < end - start or not out.flags.c_contiguous):
            raise UsageError(
                f"a buffer of {len(out)} {out.dtype} for {end - start} rows of {name!r}",
                expected=f"a contiguous {place.dtype} array with room for them",
                todo="give a larger buffer of that dtype, or none",
            )
        array = np.empty((end - start, *place.shape[1:]), place.dtype) if out is None else out[: end - start]
        if array.size:
            _read_all(self, array.data.cast("B"), place.offset + start * place.row_bytes)
        return array

    def read_checked(self, name: str) -> np.ndarray:
        """The whole tensor `name` of a file made by `write_tensors`. Raises BadDataError on another CRC-32."""
        array = self.read(name)
        if crc_of(array) != self.metadata.get("crc32", {}).get(name):
            raise _damaged(self.path, f"holds another {name!r} than was written")
        return array


def crc_of(*arrays: np.ndarray) -> int:
    """CRC-32 of the bytes of contiguous arrays, one after the other."""
    found = 0
    for array in arrays:
        if array.size:
            found = zlib.crc32(array.data.cast("B"), found)
    return found


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write whole arrays atomically; the header's metadata gains `sha256` of all tensor bytes, and `crc32` of each."""
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = {name: (array.dtype, array.shape) for name, array in held.items()}
    checks = {"sha256": _digest(held), "crc32": {name: crc_of(array) for name, array in held.items()}}
    with (
        atomic_path(path) as temporary,
        TensorFileWriter(temporary, shapes, {**metadata, **checks}) as writer,
    ):
        for name, array in held.items():
            writer.write(name, array)


def read_tensors(path: Path, *, check: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Every tensor of a file made by `write_tensors`, and its metadata. Raises BadDataError on another checksum."""
    with TensorFile(path) as file:
        arrays = {name: file.read(name) for name in file.places}
        metadata = file.metadata
    if check and _digest(arrays) != metadata.get("sha256"):
        raise BadDataError(
            f"the tensors in {path} do not have the checksum in its header",
            expected=f"SHA-256 {str(metadata.get('sha256'))[:12]}…",
            todo="the file was damaged: delete its folder and build it again",
        )
    return arrays, metadata


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    state = hashlib.sha256()
    for array in arrays.values():
        state.update(array.data.cast("B") if array.size else b"")
    return state.hexdigest()


def _layout(
    tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]], metadata: Mapping[str, Any]
) -> tuple[bytes, dict[str, TensorPlace]]:
    fields: dict[str, Any] = {"__metadata__": {CRC_KEY: NO_CRC, METADATA_KEY: canonical_json(dict(metadata))}}
    places, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        places[name] = TensorPlace(dtype.newbyteorder("<"), tuple(shape), end)
        start, end = end, end + places[name].n_bytes
        fields[name] = {"dtype": NAMES[places[name].dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    header = len(text).to_bytes(8, "little") + text
    header = header.replace(_crc_field(NO_CRC), _crc_field(f"{zlib.crc32(header):08x}"), 1)
    moved = {n: TensorPlace(p.dtype, p.shape, p.offset + len(header)) for n, p in places.items()}
    return header, moved


def _read_header(path: Path, handle: int) -> tuple[dict[str, TensorPlace], dict[str, Any]]:
    n_bytes = os.fstat(handle).st_size
    length = int.from_bytes(os.pread(handle, 8, 0), "little")
    if n_bytes < 8 or length > min(n_bytes - 8, HEADER_BYTES_MAX):
        raise _damaged(path, f"has {n_bytes:,} bytes and a header length of {length:,}")
    header = os.pread(handle, 8 + length, 0)
    try:
        fields = json.loads(header[8:])
        named = fields.pop("__metadata__", {})
        stored = _crc_field(named.get(CRC_KEY, ""))
        if zlib.crc32(header.replace(stored, _crc_field(NO_CRC), 1)) != int(named.get(CRC_KEY, "-1"), 16):
            raise ValueError("its CRC-32 is another")
        metadata = json.loads(named.get(METADATA_KEY, "{}"))
        places = {name: _place(field, 8 + length) for name, field in fields.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"has a header that cannot be read ({error})") from error
    ends = sum(place.n_bytes for place in places.values()) + 8 + length
    if ends != n_bytes or any(p.offset + p.n_bytes > n_bytes for p in places.values()):
        raise _damaged(path, f"has {n_bytes:,} bytes where its header describes {ends:,}")
    return places, metadata


def _crc_field(crc: str) -> bytes:
    return f'"{CRC_KEY}":"{crc}"'.encode()


def _place(field: dict[str, Any], base: int) -> TensorPlace:
    place = TensorPlace(DTYPES[field["dtype"]], tuple(map(int, field["shape"])), base + int(field["data_offsets"][0]))
    if place.n_bytes != int(field["data_offsets"][1]) - int(field["data_offsets"][0]):
        raise ValueError("a tensor's byte range does not fit its shape")
    return place


def _damaged(path: Path, what: str) -> BadDataError:
    return BadDataError(
        f"{path} {what}",
        expected="a whole safetensors file",
        todo="the file was damaged or cut short: delete it and run the command that builds it again",
    )


def _read_all(file: TensorFile, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        n = os.preadv(file.fileno(), [view[done:]], offset + done)
        if n == 0:
            raise _damaged(file.path, f"ended {len(view) - done:,} bytes early")
        done += n


def _write_all(handle: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(handle, view[done:], offset + done)
