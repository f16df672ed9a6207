"""The sparse feature store: immutable segments, a bounded merge with exact statistics, reads by `pread`."""

from mechscope.store.sparse.reader import FeatureBlock, FeatureStore
from mechscope.store.sparse.segments import CompressedRows, Segment
from mechscope.store.sparse.spec import Band, FeatureStats, Histogram, StoreSpec
from mechscope.store.sparse.tensors import TensorFile, read_tensors, write_tensors
from mechscope.store.sparse.writer import FeatureStoreWriter, current_generation, stored_key

__all__ = [
    "Band",
    "CompressedRows",
    "FeatureBlock",
    "FeatureStats",
    "FeatureStore",
    "FeatureStoreWriter",
    "Histogram",
    "Segment",
    "StoreSpec",
    "TensorFile",
    "current_generation",
    "read_tensors",
    "stored_key",
    "write_tensors",
]
