import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mechscope.core import BadDataError, ConflictError, UsageError
from mechscope.store.dense import TensorFile, write_tensors
from mechscope.store.manifests import file_entry

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int32, torch.int64, torch.uint8]


def tensors_of(seed: int, n: int = 37) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "acts": torch.randn(n, 5, generator=generator).to(torch.bfloat16),
        "place": torch.randperm(n, generator=generator).to(torch.int32),
        "row": torch.arange(n),
    }


def test_the_safetensors_library_reads_what_we_write(tmp_path: Path) -> None:
    tensors = tensors_of(0)
    entry = write_tensors(tmp_path / "a.safetensors", tensors, {"b": "2", "a": "1"})
    assert entry == file_entry(tmp_path / "a.safetensors")
    theirs = load_file(tmp_path / "a.safetensors")
    assert theirs.keys() == tensors.keys()
    assert all(torch.equal(theirs[name], tensors[name]) for name in tensors)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata().items() >= {"a": "1", "b": "2"}.items()


def test_we_read_what_the_safetensors_library_writes(tmp_path: Path) -> None:
    tensors = tensors_of(1)
    save_file(tensors, tmp_path / "a.safetensors", metadata={"x": "y"})
    file = TensorFile.open(tmp_path / "a.safetensors")
    assert file.metadata == {"x": "y"}
    assert all(torch.equal(file.read(name), tensors[name]) for name in tensors)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(0, 2**31))
def test_round_trip_of_any_shape_and_dtype(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, shape: list[int], seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randint(0, 100, shape, generator=generator).to(dtype)
    write_tensors(path, {"odd": torch.zeros(3, dtype=torch.uint8), "x": tensor}, {})
    back = TensorFile.open(path).read("x")
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first = write_tensors(tmp_path / "a", tensors_of(2), {"k": "v", "l": "w"})
    again = write_tensors(tmp_path / "b", dict(reversed(tensors_of(2).items())), {"l": "w", "k": "v"})
    other = write_tensors(tmp_path / "c", tensors_of(3), {"k": "v", "l": "w"})
    assert first == again
    assert first.sha256 != other.sha256


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 19_999), max_size=60))
def test_gather_equals_indexing(tmp_path_factory: pytest.TempPathFactory, rows: set[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "gather.safetensors"
    acts = torch.arange(40_000, dtype=torch.float32).reshape(20_000, 2)
    if not path.exists():
        write_tensors(path, {"acts": acts}, {})
    wanted = np.array(sorted(rows), dtype=np.int64)
    out = torch.full((len(wanted), 2), -1.0)
    TensorFile.open(path).gather("acts", wanted, out)
    assert torch.equal(out, acts[torch.from_numpy(wanted)])


def test_read_rows_reads_a_slice(tmp_path: Path) -> None:
    acts = torch.randn(50, 3)
    write_tensors(tmp_path / "a", {"acts": acts}, {})
    out = torch.empty(7, 3)
    TensorFile.open(tmp_path / "a").read_rows("acts", 11, out)
    assert torch.equal(out, acts[11:18])
    with pytest.raises(UsageError, match="strided"):
        TensorFile.open(tmp_path / "a").read_rows("acts", 0, torch.empty(3, 7).T)


def test_a_flipped_bit_is_seen_by_the_payload_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_tensors(path, tensors_of(4), {})
    assert TensorFile.open(path).payload_is_intact()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert not TensorFile.open(path).payload_is_intact()


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a"
    write_tensors(path, tensors_of(5), {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadDataError, match="not a whole tensor file"):
        TensorFile.open(path)


def test_a_file_cut_short_after_opening_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_tensors(path, {"acts": torch.randn(100, 4)}, {})
    file = TensorFile.open(path)
    os.truncate(path, 600)
    with pytest.raises(BadDataError, match="too early"):
        file.read("acts")


def with_header(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        b"plain text, and long enough to hold a length",
        with_header([1, 2]),
        with_header({"x": 5}),
        with_header({"x": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}),
        with_header({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}),
        with_header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}),
        with_header({"x": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(BadDataError, match="not a whole tensor file"):
        TensorFile.open(tmp_path / "a")


def test_missing_files_and_tensors_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="it is missing"):
        TensorFile.open(tmp_path / "none")
    write_tensors(tmp_path / "a", {"acts": torch.zeros(1)}, {})
    with pytest.raises(BadDataError, match="no tensor 'row', only acts"):
        TensorFile.open(tmp_path / "a").read("row")


def test_dtypes_that_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"torch\.bool"):
        write_tensors(tmp_path / "a", {"x": torch.zeros(2, dtype=torch.bool)}, {})
    with pytest.raises(UsageError, match="shape \\(\\)"):
        write_tensors(tmp_path / "a", {"x": torch.tensor(1.0)}, {})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = Path.open

    def open_full(path: Path, mode: str = "r", **options: object) -> object:
        return real_open(Path("/dev/full") if mode == "wb" else path, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(ConflictError, match="the disk is full"):
        write_tensors(tmp_path / "a", {"x": torch.zeros(10)}, {})
    assert os.listdir(tmp_path) == []
