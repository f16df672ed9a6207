"""Ground floor: specs, digests, registries, errors, sites, progress, seeds. Imports no torch."""

from mechscope.core.digests import canonical_json, digest_bytes, digest_file, digest_of, short
from mechscope.core.errors import (
    BadDataError,
    ConflictError,
    InternalError,
    MechscopeError,
    NotFoundError,
    UsageError,
    UserError,
    unknown_name,
)
from mechscope.core.progress import SILENT, Progress, SilentProgress, Task
from mechscope.core.registry import Entry, Registry
from mechscope.core.seeds import derive_seed, numpy_generator
from mechscope.core.sites import LayerComponent, parse_sites
from mechscope.core.specs import Spec, read_mapping

__all__ = [
    "SILENT",
    "BadDataError",
    "ConflictError",
    "Entry",
    "InternalError",
    "LayerComponent",
    "MechscopeError",
    "NotFoundError",
    "Progress",
    "Registry",
    "SilentProgress",
    "Spec",
    "Task",
    "UsageError",
    "UserError",
    "canonical_json",
    "derive_seed",
    "digest_bytes",
    "digest_file",
    "digest_of",
    "numpy_generator",
    "parse_sites",
    "read_mapping",
    "short",
    "unknown_name",
]
