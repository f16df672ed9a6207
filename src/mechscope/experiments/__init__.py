"""Experiments on features: the same question observed and intervened. One file a kind, in `kinds/`."""

from mechscope.experiments.changing.activation import ActivationFunction
from mechscope.experiments.contexts import ExperimentContext, load_context
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind, find_kind, kind_names
from mechscope.experiments.naming import ExperimentFolders, new_id
from mechscope.experiments.reading import read_result, read_spec
from mechscope.experiments.results import Aggregates, ConstraintViolation, Diagnostics, ExperimentResult
from mechscope.experiments.runner import ExperimentRunner, check_spec, get_runner_for_type
from mechscope.experiments.specs import DatasetSlice, ExperimentSpec, Outputs
from mechscope.experiments.tables import ResultTable
from mechscope.experiments.types import CAUSAL, OBSERVED, Evidence, ExperimentType, Mode

__all__ = [
    "CAUSAL",
    "OBSERVED",
    "ActivationFunction",
    "Aggregates",
    "ConstraintViolation",
    "DatasetSlice",
    "Diagnostics",
    "Evidence",
    "ExperimentContext",
    "ExperimentFolders",
    "ExperimentKind",
    "ExperimentResult",
    "ExperimentRunner",
    "ExperimentSpec",
    "ExperimentType",
    "Findings",
    "Mode",
    "Outputs",
    "ResultTable",
    "check_spec",
    "find_kind",
    "get_runner_for_type",
    "kind_names",
    "load_context",
    "new_id",
    "read_result",
    "read_spec",
]
