"""Feature store: build speed, peak memory and read latency, and how each grows with size.

    python benchmarks/store.py            three sizes, a few minutes
    python benchmarks/store.py --quick    a tenth of each

Synthetic codes: rows independent, values lognormal, p(rank) ~ 1 / (rank + 15)^1.05 capped at 0.5, ids permuted: the
worst case for order, since real features come in bursts. Every build runs in its own process, whose peak resident
memory is read as VmHWM (in brackets: of a process that only reads the codes); the clock runs only inside the
store. On a shared machine compare the CPU seconds.
Read latency is the median over repeats; cold reads follow posix_fadvise(DONTNEED) on the files.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mechscope.store.sparse import CompressedRows, FeatureStore, FeatureStoreWriter, StoreSpec

N_FEATURES, L0, SEGMENT = 24_576, 40, 62_500
SIZES = (125_000, 500_000, 2_000_000)
NONZEROS = (1_000, 100_000, 500_000)


def probabilities() -> np.ndarray:
    weights = 1 / (np.arange(N_FEATURES) + 15) ** 1.05
    chances = np.minimum(weights * (L0 / weights.sum()), 0.5)
    return np.random.default_rng(0).permutation(chances)


def make_segment(first: int, n: int, chances: np.ndarray) -> CompressedRows:
    generator = np.random.default_rng(first)
    counts = generator.binomial(n, chances)
    features = np.repeat(np.arange(N_FEATURES, dtype=np.int64), counts)
    keys = np.unique(generator.integers(0, n, len(features)) * N_FEATURES + features)
    rows, columns = np.divmod(keys, N_FEATURES)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
    values = generator.lognormal(size=len(keys)).astype(np.float32)
    return CompressedRows(indptr, columns.astype(np.uint32), values)


def write_codes(folder: Path, n_samples: int) -> None:
    chances = probabilities()
    folder.mkdir()
    for first in range(0, n_samples, SEGMENT):
        rows = make_segment(first, min(SEGMENT, n_samples - first), chances)
        for name in ("indptr", "features", "values"):
            np.save(folder / f"{first}-{name}.npy", getattr(rows, name))


def read_codes(folder: Path, first: int) -> CompressedRows:
    return CompressedRows(*(np.load(folder / f"{first}-{name}.npy") for name in ("indptr", "features", "values")))


def peak_megabytes() -> float:
    # not getrusage: its ru_maxrss is inherited from the parent through fork and exec
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def build(folder: Path, codes: Path, n_samples: int, *, is_empty: bool) -> dict[str, float]:
    """Build in this process; `is_empty` only reads the codes, to tell their memory from the store's."""
    with FeatureStoreWriter(folder, key={"n": n_samples}, n_features=N_FEATURES, spec=StoreSpec()) as writer:
        add_seconds = cpu_seconds = 0.0
        for first in range(0, n_samples, SEGMENT):
            rows = read_codes(codes, first)
            begun, cpu_begun = time.perf_counter(), time.process_time()
            if not is_empty:
                writer.add(first, rows)
            add_seconds += time.perf_counter() - begun
            cpu_seconds += time.process_time() - cpu_begun
        begun, cpu_begun = time.perf_counter(), time.process_time()
        if not is_empty:
            writer.finish(n_samples=n_samples)
        merge_seconds = time.perf_counter() - begun
        cpu_seconds += time.process_time() - cpu_begun
    peak = peak_megabytes()
    return {"add": add_seconds, "merge": merge_seconds, "cpu": cpu_seconds, "peak_mb": peak}


def build_apart(folder: Path, codes: Path, n_samples: int, *, is_empty: bool = False) -> dict[str, float]:
    command = [sys.executable, __file__, "--build", str(folder), str(codes), str(n_samples), str(int(is_empty))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def drop_caches(store: FeatureStore) -> None:
    for path in store.path.glob("features/*"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def milliseconds(store: FeatureStore, feature: int, *, is_cold: bool) -> float:
    n = store.count(feature)
    buffers = np.empty(n, np.uint32), np.empty(n, np.float32)
    seconds = []
    for _ in range(9 if is_cold else 200):
        if is_cold:
            drop_caches(store)
        begun = time.perf_counter()
        store.feature(feature, buffers=buffers)
        seconds.append(time.perf_counter() - begun)
    return 1000 * float(np.median(seconds))


def reads(folder: Path) -> str:
    cells = []
    with FeatureStore.open(folder) as store:
        os.sync()
        counts = store.counts()
        for wanted in NONZEROS:
            feature = int(np.abs(counts - wanted).argmin())
            if counts[feature] < wanted / 2:
                cells.append("-")
                continue
            cold, warm = (milliseconds(store, feature, is_cold=is_cold) for is_cold in (True, False))
            cells.append(f"{cold:.2f} / {warm:.3f} ({counts[feature] / 1000:.0f}K)")
        cells.append(f"{store.nnz / 1e6:.0f}M")
        size = sum(path.stat().st_size for path in store.path.glob("features/*"))
        cells.append(f"{size / store.nnz:.2f}")
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--build", nargs=4, metavar=("FOLDER", "CODES", "SAMPLES", "EMPTY"), help="used by the benchmark itself"
    )
    asked = parser.parse_args()
    if asked.build:
        folder, codes, n_samples, empty = asked.build
        print(json.dumps(build(Path(folder), Path(codes), int(n_samples), is_empty=empty == "1")))
        return
    print("| samples | segments s | merge s | CPU s of both | samples/s | nnz/s | peak MB (codes alone) ", end="")
    print("| 1K cold / warm ms | 100K | 500K | nnz | B/nnz |\n|" + "---|" * 12)
    for size in SIZES:
        n_samples = size // 10 if asked.quick else size
        with tempfile.TemporaryDirectory() as scratch:
            codes = Path(scratch) / "codes"
            write_codes(codes, n_samples)
            took = build_apart(Path(scratch) / "store", codes, n_samples)
            bare = build_apart(Path(scratch) / "empty", codes, n_samples, is_empty=True)
            with FeatureStore.open(Path(scratch) / "store") as store:
                nnz = store.nnz
            seconds = took["add"] + took["merge"]
            print(
                f"| {n_samples:,} | {took['add']:.1f} | {took['merge']:.1f} | {took['cpu']:.1f} "
                f"| {n_samples / seconds:,.0f} | {nnz / seconds:,.0f} | {took['peak_mb']:.0f} ({bare['peak_mb']:.0f}) "
                f"| {reads(Path(scratch) / 'store')} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
