"""The sparse store against a dense matrix, NumPy and the safetensors library."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mechscope.core import BadDataError, ConflictError, NotFoundError, UsageError
from mechscope.store.sparse import CompressedRows, FeatureStore, FeatureStoreWriter, StoreSpec

N_SAMPLES, N_FEATURES = 700, 23
KEY = {"dictionary": "d", "activations": "a"}
SMALL = StoreSpec(
    n_top=7, n_bands=4, n_band_examples=3, n_band_draws=60, n_bins=8, block_nonzeros=97, file_nonzeros=500
)


def planted(seed: int = 0, n_samples: int = N_SAMPLES) -> np.ndarray:
    """Dense float32 [n_samples, n_features] with a dead feature, a dense one, ties, and one negative value."""
    generator = np.random.default_rng(seed)
    density = generator.uniform(0.01, 0.5, N_FEATURES)
    density[3], density[4] = 0, 1
    dense = generator.lognormal(size=(n_samples, N_FEATURES)) * (generator.random((n_samples, N_FEATURES)) < density)
    dense[:, 5] = np.where(dense[:, 5] > 0, 2.5, 0)
    dense[10, 6] = -1.5
    return dense.astype(np.float32)


def compressed(dense: np.ndarray) -> CompressedRows:
    rows, features = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))]).astype(np.int64)
    return CompressedRows(indptr, features.astype(np.uint32), dense[rows, features])


def build(folder: Path, dense: np.ndarray, *, spec: StoreSpec = SMALL, step: int = 128) -> FeatureStore:
    with FeatureStoreWriter(folder, key=KEY, n_features=N_FEATURES, spec=spec) as writer:
        for first in range(0, len(dense), step):
            writer.add(first, compressed(dense[first : first + step]))
        writer.finish(n_samples=len(dense))
    return FeatureStore.open(folder)


def test_features_samples_and_scans_equal_the_dense_matrix(tmp_path: Path) -> None:
    dense = planted()
    with build(tmp_path, dense) as store:
        assert (store.n_samples, store.n_features, store.nnz) == (*dense.shape, np.count_nonzero(dense))
        assert len(store.facts["ranges"]) > 2  # several files and blocks are exercised
        for feature in range(N_FEATURES):
            samples, values = store.feature(feature)
            assert samples.dtype == np.uint32
            np.testing.assert_array_equal(samples, np.flatnonzero(dense[:, feature]))
            np.testing.assert_array_equal(values, dense[samples, feature])
        for sample in range(0, N_SAMPLES, 13):
            features, values = store.sample(sample)
            np.testing.assert_array_equal(features, np.flatnonzero(dense[sample]))
            np.testing.assert_array_equal(values, dense[sample, features])
        scanned = np.zeros_like(dense)
        for block in store.feature_blocks(n_nonzeros=50):
            columns = block.first + np.repeat(np.arange(block.n_features), np.diff(block.indptr))
            scanned[block.samples, columns] = block.values
        np.testing.assert_array_equal(scanned, dense)
        np.testing.assert_array_equal(store.counts(), np.count_nonzero(dense, axis=0))
        store.verify()


def test_statistics_equal_numpy(tmp_path: Path) -> None:
    dense = planted(1)
    with build(tmp_path, dense) as store:
        for feature in range(N_FEATURES):
            column = dense[:, feature].astype(np.float64)
            values = column[column != 0]
            stats = store.stats(feature)
            assert stats.n_nonzero == len(values)
            assert stats.mean == pytest.approx(column.mean(), rel=1e-12)
            assert stats.sd == pytest.approx(column.std(), rel=1e-9)
            if not len(values):
                assert (stats.maximum, stats.effective_maximum, stats.histogram) == (None, None, None)
                continue
            assert stats.total_squares == pytest.approx((values**2).sum(), rel=1e-12)
            assert (stats.maximum, stats.min_nonzero) == (values.max(), values.min())
            assert stats.effective_maximum == pytest.approx(np.percentile(values, 99.5), rel=1e-14)
            for name, value in stats.quantiles.items():
                assert value == pytest.approx(np.quantile(values, float(name)), rel=1e-14)
            assert stats.histogram is not None
            counts, _ = np.histogram(values, bins=np.array(stats.histogram.edges))
            if stats.histogram.edges[0] < stats.histogram.edges[-1]:
                np.testing.assert_array_equal(stats.histogram.counts, counts)
            assert sum(stats.histogram.counts) == len(values)
            best = sorted(np.flatnonzero(column).tolist(), key=lambda s: (-column[s], s))[: SMALL.n_top]
            assert list(stats.top_samples) == best
            assert list(stats.top_values) == column[best].tolist()


def test_band_examples_lie_in_their_band_and_do_not_depend_on_how_the_build_was_cut(tmp_path: Path) -> None:
    dense = planted(2)
    other = SMALL.updated(block_nonzeros=10_000, file_nonzeros=10_000)
    with build(tmp_path / "a", dense) as store, build(tmp_path / "b", dense, spec=other, step=333) as second:
        for feature in range(N_FEATURES):
            stats = store.stats(feature)
            assert stats == second.stats(feature)
            for i, band in enumerate(stats.bands):
                assert len(set(band.samples)) == len(band.samples) <= SMALL.n_band_examples
                for sample, value in zip(band.samples, band.values, strict=True):
                    assert dense[sample, feature] == value
                    assert band.low < value <= band.high or (i == 0 and value == band.low)


def test_files_are_plain_safetensors(tmp_path: Path) -> None:
    with build(tmp_path, planted()) as store:
        for path in sorted(store.path.glob("*/*.safetensors")):
            held = load_file(path)
            assert all(np.isfinite(array).all() for name, array in held.items() if name == "indptr")
        assert not (store.path / "runs").exists()


def test_reading_into_buffers_reuses_them(tmp_path: Path) -> None:
    dense = planted()
    with build(tmp_path, dense) as store:
        buffers = np.empty(N_SAMPLES, np.uint32), np.empty(N_SAMPLES, np.float32)
        samples, values = store.feature(4, buffers=buffers)
        assert samples.base is buffers[0]
        np.testing.assert_array_equal(values, dense[:, 4])
        with pytest.raises(UsageError, match="buffer"):
            store.feature(4, buffers=(buffers[0][:3], buffers[1]))
        with pytest.raises(UsageError, match="buffer"):
            store.feature(4, buffers=(buffers[1], buffers[0]))


def test_unknown_ids_name_the_valid_range(tmp_path: Path) -> None:
    with build(tmp_path, planted()) as store:
        for feature in (-1, N_FEATURES):
            with pytest.raises(NotFoundError, match=f"0 to {N_FEATURES - 1}"):
                store.feature(feature)
        with pytest.raises(NotFoundError, match=f"0 to {N_SAMPLES - 1}"):
            store.sample(N_SAMPLES)
    with pytest.raises(UsageError, match="closed"):
        store.feature(0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_bad_values_name_their_sample(tmp_path: Path, value: float) -> None:
    rows = compressed(planted())
    rows.values[rows.indptr[42]] = value
    with (
        FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES) as writer,
        pytest.raises(BadDataError, match="42"),
    ):
        writer.add(0, rows)


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    rows = CompressedRows(np.array([0, 2]), np.array([1, 1], np.uint32), np.ones(2, np.float32))
    beyond = CompressedRows(np.array([0, 1]), np.array([N_FEATURES], np.uint32), np.ones(1, np.float32))
    short = CompressedRows(np.array([0, 3]), np.array([1, 2], np.uint32), np.ones(2, np.float32))
    with FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES) as writer:
        for bad, words in ((rows, "twice"), (beyond, "ids in 0"), (short, "offsets")):
            with pytest.raises(BadDataError, match=words):
                writer.add(0, bad)
        with pytest.raises(BadDataError, match="at least one"):
            writer.finish(n_samples=0)


def test_unsorted_features_are_sorted(tmp_path: Path) -> None:
    rows = CompressedRows(np.array([0, 3]), np.array([7, 2, 5], np.uint32), np.array([1, 2, 3], np.float32))
    with FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES) as writer:
        writer.add(0, rows)
        writer.finish(n_samples=1)
    with FeatureStore.open(tmp_path) as store:
        features, values = store.sample(0)
        assert (features.tolist(), values.tolist()) == ([2, 5, 7], [2, 3, 1])


def test_two_builders_at_once_conflict(tmp_path: Path) -> None:
    with (
        FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES),
        pytest.raises(ConflictError, match="another process"),
        FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES),
    ):
        pass


def test_damage_is_noticed(tmp_path: Path) -> None:
    with build(tmp_path, planted()) as store:
        victims = sorted(store.path.glob("*/*.safetensors"))
    for path in victims:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(BadDataError):
            FeatureStore.open(tmp_path)
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BadDataError, match="checksum"):
            FeatureStore.open(tmp_path, check=True)
        path.unlink()
        with pytest.raises(BadDataError, match="missing"):
            FeatureStore.open(tmp_path)
        path.write_bytes(whole)
    FeatureStore.open(tmp_path, check=True).close()


def test_a_damaged_segment_stops_the_resumed_build(tmp_path: Path) -> None:
    with FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES, spec=SMALL) as writer:
        segment = writer.add(0, compressed(planted()))
        path = writer.path / "rows" / segment.name
    whole = path.read_bytes()
    for damaged in (whole[:-5], whole[:-1] + bytes([whole[-1] ^ 1]), b"", whole[:4]):
        path.write_bytes(damaged)
        with (
            pytest.raises(BadDataError),
            FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES, spec=SMALL),
        ):
            pass


def test_an_unfinished_store_does_not_open(tmp_path: Path) -> None:
    with FeatureStoreWriter(tmp_path, key=KEY, n_features=N_FEATURES) as writer:
        writer.add(0, compressed(planted()))
        with pytest.raises(BadDataError, match="no finished feature store"):
            FeatureStore.open(tmp_path)
        with pytest.raises(BadDataError, match="segments hold"):
            writer.finish(n_samples=N_SAMPLES + 1)


def test_memory_is_that_of_a_block_and_not_of_the_matrix(tmp_path: Path) -> None:
    """12,000 x 4,000 would be 192 MB as float32."""
    generator = np.random.default_rng(0)
    n, n_features, l0 = 1000, 4000, 40
    spec = StoreSpec(block_nonzeros=20_000, n_top=4, n_bands=2, n_band_examples=1, n_band_draws=4, n_bins=4)
    indptr = np.arange(n + 1) * l0
    with FeatureStoreWriter(tmp_path, key=KEY, n_features=n_features, spec=spec) as writer:
        tracemalloc.start()
        for first in range(0, 12_000, n):
            features = (generator.integers(0, 100, (n, l0)) + np.arange(l0) * 100).astype(np.uint32).ravel()
            writer.add(first, CompressedRows(indptr, features, generator.random(n * l0, np.float32) + 1))
        writer.finish(n_samples=12_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12e6
    with FeatureStore.open(tmp_path) as store:
        assert store.nnz == 12_000 * l0
