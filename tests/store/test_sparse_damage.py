"""Damage inside a store: what is read afterwards is what was written, or a BadDataError."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mechscope.core import BadDataError
from mechscope.store.atomic import write_json
from mechscope.store.sparse import CompressedRows, FeatureStore, FeatureStoreWriter, StoreSpec

N_SAMPLES, N_FEATURES, STEP = 700, 23, 300
KEY = {"dictionary": "d"}
SMALL = StoreSpec(
    n_top=7, n_bands=4, n_band_examples=3, n_band_draws=60, n_bins=8, block_nonzeros=97, file_nonzeros=1700
)
Read = tuple[np.ndarray, ...]
COLUMNS = ("count", "sum", "maximum", "median", "top_samples", "top_values")


def build(folder: Path) -> FeatureStore:
    generator = np.random.default_rng(0)
    dense = generator.random((N_SAMPLES, N_FEATURES)) * (generator.random((N_SAMPLES, N_FEATURES)) < 0.2)
    with FeatureStoreWriter(folder, key=KEY, n_features=N_FEATURES, spec=SMALL) as writer:
        for first in range(0, N_SAMPLES, STEP):
            part = dense[first : first + STEP]
            rows, features = np.nonzero(part)
            indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(part)))])
            values = part[rows, features].astype(np.float32)
            writer.add(first, CompressedRows(indptr, features.astype(np.uint32), values))
        writer.finish(n_samples=N_SAMPLES)
    return FeatureStore.open(folder)


def reads() -> Iterator[tuple[str, Callable[[FeatureStore], Read]]]:
    """Every kind of read, each able to fail by itself."""
    yield "sizes", lambda s: (np.array([s.n_samples, s.n_features, s.nnz]), s.counts())
    for i in range(0, N_FEATURES, 2):
        yield f"feature {i}", lambda s, i=i: s.feature(i)  # type: ignore[misc]
        yield f"statistics {i}", lambda s, i=i: (np.array(str(s.stats(i))),)  # type: ignore[misc]
    for i in range(0, N_SAMPLES, 31):
        yield f"sample {i}", lambda s, i=i: s.sample(i)  # type: ignore[misc]
    for name in COLUMNS:
        yield name, lambda s, name=name: (s.column(name),)  # type: ignore[misc]
    yield "blocks", lambda s: tuple(a for b in s.feature_blocks(n_nonzeros=90) for a in (b.indptr, b.samples, b.values))
    yield "segments", lambda s: tuple(a for _, r in s.segments() for a in (r.indptr, r.features, r.values))


def flip(path: Path, at: int, mask: int) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
    return whole


def answers(folder: Path, *, is_reversed: bool) -> dict[str, Read | None]:
    """What each read gives, None where it is refused."""
    found: dict[str, Read | None] = {}
    try:
        store = FeatureStore.open(folder)
    except BadDataError:
        return {}
    with store:
        for name, read in sorted(reads(), reverse=is_reversed, key=lambda pair: pair[0]):
            try:
                found[name] = read(store)
            except BadDataError:
                found[name] = None
    return found


def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    build(tmp_path).close()
    whole = answers(tmp_path, is_reversed=False)
    assert whole
    assert None not in whole.values()
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size)
    generator = np.random.default_rng(0)
    sizes = np.array([path.stat().st_size for path in paths])
    by_size = generator.choice(len(paths), 100, p=sizes / sizes.sum())
    n_noticed = 0
    for turn, index in enumerate([*by_size.tolist(), *generator.integers(0, len(paths), 100).tolist()]):
        path = paths[index]
        at, mask = int(generator.integers(0, sizes[index])), int(generator.integers(1, 256))
        before = flip(path, at, mask)
        seen = answers(tmp_path, is_reversed=bool(turn % 2))
        n_noticed += not seen or None in seen.values()
        for name, arrays in seen.items():
            expected = whole[name]
            assert expected is not None
            for array, true in zip(arrays or (), expected, strict=arrays is not None):
                np.testing.assert_array_equal(array, true, err_msg=f"{name}: {path.name} at {at}, mask {mask}")
        path.write_bytes(before)
    assert n_noticed > 150  # the rest fell on sizes and digests that these reads do not use


@pytest.mark.parametrize("name", ["indptr", "samples", "values"])
def test_each_part_of_a_feature_file_is_checked(tmp_path: Path, name: str) -> None:
    with build(tmp_path) as store:
        file = store._files[0]
        place = file.places[name]
    flip(file.path, place.offset + place.n_bytes // 2, 1)
    with pytest.raises(BadDataError), FeatureStore.open(tmp_path) as store:
        for _ in store.feature_blocks():
            pass


def test_a_checked_feature_is_not_checked_again(tmp_path: Path) -> None:
    with build(tmp_path) as store:
        before = store.feature(4)
        place = store._files[0].places["values"]
        flip(store._files[0].path, place.offset, 1)
        with FeatureStore.open(tmp_path) as fresh, pytest.raises(BadDataError, match="feature 0"):
            fresh.feature(0)
        np.testing.assert_array_equal(store.feature(4)[1], before[1])


def test_an_older_store_is_refused_and_built_again(tmp_path: Path) -> None:
    with build(tmp_path) as store:
        path = store.path / "manifest.json"
    held = json.loads(path.read_text())
    held["facts"] = {name: v for name, v in held["facts"].items() if name not in ("store_format", "digest")}
    write_json(path, held)
    with pytest.raises(BadDataError, match="format 1"):
        FeatureStore.open(tmp_path)
    # an older version named its generation otherwise, so that a build does not take it for its own
    path.parent.rename(tmp_path / "g-0123456789abcdef")
    (tmp_path / "CURRENT").write_text("g-0123456789abcdef\n")
    assert not FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES, spec=SMALL).is_finished
    with build(tmp_path) as store:
        store.verify()


@pytest.mark.parametrize("word", ["sha256", "n_bytes", "format_version", "facts", "kind", "key_digest", "n_samples"])
def test_a_damaged_manifest_is_bad_data(tmp_path: Path, word: str) -> None:
    with build(tmp_path) as store:
        path = store.path / "manifest.json"
    flip(path, path.read_bytes().index(b'"' + word.encode()) + 2, 1)
    for check in (False, True):
        with pytest.raises(BadDataError):
            FeatureStore.open(tmp_path, check=check)
