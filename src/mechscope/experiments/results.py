"""What an experiment gave: frozen, re-readable, with a summary and Markdown tables."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, JsonValue, model_validator

from mechscope.core import Spec
from mechscope.experiments.naming import experiment_file_name
from mechscope.experiments.tables import ResultTable
from mechscope.experiments.types import Evidence, Mode
from mechscope.experiments.writing import markdown_of, summary_of
from mechscope.reports import Figure
from mechscope.store.atomic import write_json

__all__ = ["Aggregates", "ConstraintViolation", "Diagnostics", "ExperimentResult"]


class Aggregates(Spec):
    """The numbers of the whole experiment; what only some kinds have stands in `custom`. None: not measured."""

    mean_delta: float | None = None
    std_delta: float | None = None
    n_samples: int | None = None
    custom: dict[str, JsonValue] = {}


class ConstraintViolation(Spec):
    """What was refused under a constraint, and how often."""

    constraint: str
    message: str
    n: int = 1


class Diagnostics(Spec):
    """How far the numbers carry.

    Attributes:
        relu_floor_detected, relu_floor_rate: whether, and at what share of the contexts tested, the feature was zero in
            every condition, so that a fall could not show. None: not measured.
        n_contexts_tested: contexts, or rows, that the numbers rest on.
        warnings: sentences for the reader.
        constraint_violations: what constraints refused, also among the warnings.
        dropped: what was left out, by reason, counted.
        rows: how the dataset slice narrowed the rows: step -> rows left.
        n_forwards: distinct inputs run through the model for this experiment.
        n_comparisons: tests that the p-values were corrected for.
        notes: how the numbers were obtained.
    """

    relu_floor_detected: bool = False
    relu_floor_rate: float | None = None
    n_contexts_tested: int = 0
    warnings: tuple[str, ...] = ()
    constraint_violations: tuple[ConstraintViolation, ...] = ()
    dropped: dict[str, int] = {}
    rows: dict[str, int] = {}
    n_forwards: int = 0
    n_comparisons: int = 0
    notes: tuple[str, ...] = ()


class ExperimentResult(Spec):
    """The result of one experiment.

    Attributes:
        spec_id, spec_path: the spec, and the name of its file where it has one.
        mode: how it was measured. evidence: "observational" whatever was merely regrouped.
        claims: sentences that passed their corrected test and the held-out half. findings: what else deserves a look,
            such as a disagreement between what was observed and what an intervention did.
        alternatives: for observational evidence, what else would give the same numbers.
        error_message: why it failed, with what it had until then still in place.
        provenance: digest of the spec, subject, seed, versions.
    """

    spec_id: str
    spec_path: str | None = None
    feature_id: int = Field(ge=0)
    experiment_type: str
    model_type: str | None = None
    mode: Mode | None = None
    evidence: Evidence | None = None
    aggregates: Aggregates = Aggregates()
    tables: dict[str, ResultTable] = {}
    diagnostics: Diagnostics = Diagnostics()
    claims: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    figures: dict[str, Figure] = {}
    success: bool = True
    error_message: str | None = None
    duration_seconds: float = Field(default=0.0, ge=0)
    description: str = ""
    parent_hypothesis: str | None = None
    provenance: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _failure_has_a_reason(self) -> Self:
        if not self.success and not self.error_message:
            raise ValueError("a result without success needs an error_message")
        return self

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return experiment_file_name(self.spec_id, self.feature_id, self.experiment_type)

    def get_summary(self) -> str:
        """The result in a few lines of text."""
        return summary_of(self.to_json())

    def to_markdown(self) -> str:
        """The whole result as Markdown: summary, tables, warnings."""
        return markdown_of(self.to_json())

    def write(self, folder: Path) -> Path:
        """Write it into `folder` under its own name, atomically, and return the path. Raises ConflictError.

        Tables and aggregates keep their order: the first table is the one that the experiment was made for.
        """
        path = folder / self.file_name
        write_json(path, self.to_json(), sort_keys=False)
        return path
