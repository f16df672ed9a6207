"""Dense tensor files: safetensors written with a checksum in one pass, read by `pread` at header offsets.

    bytes 0..7      length of the header, little-endian u64
    header          JSON: name -> {dtype, shape, data_offsets}, and `__metadata__` (text -> text); padded to 8 bytes
    payload         the tensors back to back, row-major, wider elements first so that each stays aligned

A file appears under its name by an atomic rename. Its metadata carries a CRC-32 of the payload, so that a shard of an
unfinished folder, which no manifest vouches for yet, can still be told from a damaged one. Reads use `pread`, not a
mapping: a file cut short under a reader is an error here, where a mapping would end the process with SIGBUS.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mechscope.core import BadDataError, UsageError
from mechscope.store.atomic import atomic_path
from mechscope.store.manifests import FileEntry

__all__ = ["Slot", "TensorFile", "write_tensors"]

DTYPES: dict[str, torch.dtype] = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I32": torch.int32,
    "I64": torch.int64,
    "U8": torch.uint8,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
HEADER_MAX_BYTES = 100_000_000
WRITE_BYTES = 1 << 22
GAP_BYTES = 1 << 14
PAYLOAD_CRC = "payload_crc32"


@dataclass(frozen=True)
class Slot:
    """One tensor of a file: dtype, shape, and where its bytes begin in the file (bytes from its start)."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry along the first axis."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.row_bytes * self.shape[0]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> FileEntry:
    """Write tensors to a safetensors file: temporary name, fsync, rename. Returns its size and SHA-256.

    Equal arguments give equal bytes. Nothing is copied when the tensors are contiguous and on the CPU.

    Args:
        path: the final name; a file that stands there is replaced.
        tensors: at least one axis each; dtypes float16/32/64, bfloat16, int32/64, uint8.
        metadata: text to carry in the header; `payload_crc32` is added.

    Raises:
        UsageError: a dtype that the format is not used for here, or a scalar.
        ConflictError: the disk is full, or the folder cannot be written; no file is left.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    payload = [_bytes_of(name, tensors[name]) for name in order]
    crc = 0
    for part in payload:
        crc = zlib.crc32(part, crc)
    header = _header(order, tensors, {**metadata, PAYLOAD_CRC: f"{crc:08x}"})
    state, n_bytes = hashlib.sha256(), 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in [memoryview(header), *payload]:
            for start in range(0, len(part), WRITE_BYTES):
                block = part[start : start + WRITE_BYTES]
                state.update(block)
                file.write(block)
                n_bytes += len(block)
        file.flush()
    return FileEntry(n_bytes=n_bytes, sha256=state.hexdigest())


def _bytes_of(name: str, tensor: Tensor) -> memoryview:
    if tensor.dtype not in NAMES or tensor.ndim == 0:
        raise UsageError(
            f"tensor {name!r} is {tensor.dtype} with shape {tuple(tensor.shape)}",
            expected=f"one of {', '.join(map(str, NAMES))} with at least one axis",
            todo="convert it before writing",
        )
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _header(order: list[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    described: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    begin = 0
    for name in order:
        tensor = tensors[name]
        end = begin + tensor.numel() * tensor.dtype.itemsize
        described[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file whose header was read and checked; the tensors stay on disk until asked for.

    Attributes:
        path: the file.
        metadata: the header's text entries.
        slots: name -> where that tensor lies.
    """

    path: Path
    metadata: dict[str, str]
    slots: dict[str, Slot]

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read and check the header (one small read).

        Raises:
            BadDataError: no such file, not safetensors, a dtype not used here, or a size that differs from the header.
        """
        try:
            with path.open("rb") as file:
                length_bytes = file.read(8)
                length = struct.unpack("<Q", length_bytes)[0] if len(length_bytes) == 8 else -1
                if not 2 <= length <= HEADER_MAX_BYTES:
                    raise _foreign(path, "its first 8 bytes are no header length")
                header = json.loads(file.read(length))
                metadata, slots, end = _parse_header(header, base=8 + length)
                n_bytes = os.fstat(file.fileno()).st_size
        except FileNotFoundError as error:
            raise _foreign(path, "it is missing") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise _foreign(path, f"its header cannot be read ({error})") from error
        if n_bytes != end:
            raise _foreign(path, f"it has {n_bytes:,} bytes where its header says {end:,}")
        return cls(path, metadata, slots)

    def read(self, name: str) -> Tensor:
        """One whole tensor, in fresh memory. Raises BadDataError when it is not there or the file was cut short."""
        slot = self.slot(name)
        out = torch.empty(slot.shape, dtype=slot.dtype)
        self.read_rows(name, 0, out)
        return out

    def read_rows(self, name: str, first: int, out: Tensor) -> None:
        """Fill `out` (contiguous, same dtype) in place with `len(out)` consecutive rows from `first` on."""
        slot = self.slot(name)
        with self.path.open("rb", buffering=0) as file:
            _pread_into(file.fileno(), _writable(out), slot.begin + first * slot.row_bytes, self.path)

    def gather(self, name: str, rows: np.ndarray, out: Tensor) -> None:
        """Fill `out` (contiguous, same dtype) in place with the given rows, which must ascend strictly.

        Rows that lie close together are read in one go, so that a selection of most rows costs one sequential read.
        """
        slot = self.slot(name)
        if len(rows) == 0:
            return
        gap = max(1, GAP_BYTES // max(slot.row_bytes, 1))
        cuts = np.flatnonzero(np.diff(rows) > gap) + 1
        bounds = [0, *cuts.tolist(), len(rows)]
        with self.path.open("rb", buffering=0) as file:
            for low, high in pairwise(bounds):
                self._gather_run(file.fileno(), slot, rows[low:high], out[low:high])

    def _gather_run(self, handle: int, slot: Slot, rows: np.ndarray, out: Tensor) -> None:
        first, span = int(rows[0]), int(rows[-1]) - int(rows[0]) + 1
        offset = slot.begin + first * slot.row_bytes
        if span == len(rows):
            _pread_into(handle, _writable(out), offset, self.path)
            return
        scratch = torch.empty((span, *slot.shape[1:]), dtype=slot.dtype)
        _pread_into(handle, _writable(scratch), offset, self.path)
        torch.index_select(scratch, 0, torch.from_numpy(rows.astype(np.int64) - first), out=out)

    def slot(self, name: str) -> Slot:
        """Where a tensor lies. Raises BadDataError when the file has none of that name."""
        if name not in self.slots:
            raise _foreign(self.path, f"it has no tensor {name!r}, only {', '.join(sorted(self.slots)) or 'none'}")
        return self.slots[name]

    def payload_is_intact(self) -> bool:
        """Whether the payload's CRC-32 is the one in the metadata (one read of all bytes)."""
        begin = min((slot.begin for slot in self.slots.values()), default=0)
        crc = 0
        with self.path.open("rb") as file:
            file.seek(begin)
            while block := file.read(WRITE_BYTES):
                crc = zlib.crc32(block, crc)
        return self.metadata.get(PAYLOAD_CRC) == f"{crc:08x}"


def _parse_header(header: dict, base: int) -> tuple[dict[str, str], dict[str, Slot], int]:
    metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
    slots, at = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        slot = Slot(DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"]), base + begin)
        if begin != at or end - begin != slot.n_bytes or min(slot.shape, default=0) < 0:
            raise ValueError(f"tensor {name!r} does not fill its bytes")
        slots[name], at = slot, end
    return metadata, slots, base + at


def _writable(out: Tensor) -> memoryview:
    if not out.is_contiguous():
        raise UsageError("a strided target", expected="a contiguous tensor to read into", todo="pass a fresh tensor")
    return out.reshape(-1).view(torch.uint8).numpy().data


def _pread_into(handle: int, target: memoryview, offset: int, path: Path) -> None:
    while len(target):
        n_read = os.preadv(handle, [target], offset)
        if n_read == 0:
            raise _foreign(path, f"it ends {len(target):,} bytes too early")
        target, offset = target[n_read:], offset + n_read


def _foreign(path: Path, why: str) -> BadDataError:
    return BadDataError(
        f"{path} is not a whole tensor file: {why}",
        expected="a safetensors file as it was written",
        todo="the file was damaged or replaced: delete its folder and build it again",
    )
