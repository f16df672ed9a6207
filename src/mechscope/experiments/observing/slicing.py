"""The dataset slice, really applied: which rows an experiment looks at, and how many each step left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mechscope.core import UsageError, numpy_generator
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.specs import DatasetSlice, ExperimentSpec

__all__ = ["Slice", "slice_rows"]


@dataclass(frozen=True, eq=False)
class Slice:
    """The rows of a slice in rising order, int64 [n], and the stored activation of each, float64 [n]."""

    rows: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_active(self) -> np.ndarray:
        """Which rows are above zero, boolean [n]."""
        above: np.ndarray = self.values > 0
        return above

    def only(self, keep: np.ndarray) -> Slice:
        """The rows that a boolean mask keeps."""
        return Slice(self.rows[keep], self.values[keep])


def slice_rows(
    spec: ExperimentSpec, context: ExperimentContext, findings: Findings, *, should_sample: bool = True
) -> Slice:
    """The rows of the spec's slice. What each step left is written into `findings.rows`.

    Args:
        spec, context: the experiment and its subject.
        findings: takes the counts.
        should_sample: draw `sample_size` rows; interventional kinds draw base contexts themselves.

    Raises:
        UsageError: nothing is left (the step that emptied it is named), or the feature is zero in every row.
        NotFoundError: an unknown group column, name or family.
    """
    wanted = spec.dataset_slice
    everything = context.row_activations(spec.feature_id)
    if not everything.any():
        raise UsageError(
            f"feature {spec.feature_id} is zero in every row of {context.name!r}",
            expected="a feature that is active somewhere",
            todo="choose another feature (`mechscope features overview` shows how often one is active)",
        )
    found = Slice(context.rows_in_store, everything[context.rows_in_store])
    findings.rows["in the store"] = len(found)
    for step, keep in _filters(wanted, context):
        found = _narrowed(found, keep[found.rows], step, spec, findings)
    if wanted.activation_threshold is not None:
        found = _narrowed(found, found.values >= wanted.activation_threshold, "activation_threshold", spec, findings)
    if (wanted.percentile_min, wanted.percentile_max) != (0, 100) or not wanted.zeros:
        found = _narrowed(found, _in_percentiles(found, wanted), "percentiles", spec, findings)
    if should_sample and spec.constraints:
        # a kind may take its slice several times; what was left out is logged once
        log = Findings() if "after constraints" in findings.rows else findings
        lawful = Constraints(spec.constraints, context, log).keeps(found.rows)
        found = _narrowed(found, lawful, "constraints", spec, findings)
    if should_sample and wanted.sample_size is not None and wanted.sample_size < len(found):
        generator = numpy_generator(spec.seed if wanted.seed is None else wanted.seed, "dataset slice")
        keep = np.zeros(len(found), bool)
        keep[generator.choice(len(found), wanted.sample_size, replace=False)] = True
        found = _narrowed(found, keep, "sample_size", spec, findings)
    findings.rows["active among them"] = int(found.is_active.sum())
    return found


def _narrowed(found: Slice, keep: np.ndarray, step: str, spec: ExperimentSpec, findings: Findings) -> Slice:
    left = found.only(keep)
    findings.rows[f"after {step}"] = len(left)
    if not len(left):
        raise UsageError(
            f"the dataset slice is empty: {step} left none of {len(found):,} rows for feature {spec.feature_id}",
            expected="a slice with rows in it",
            todo=f"widen {step}",
        )
    return left


def _filters(wanted: DatasetSlice, context: ExperimentContext) -> Iterable[tuple[str, np.ndarray]]:
    """Each filter's name with a boolean mask over all rows of the corpus."""
    for column, names in wanted.all_groups.items():
        yield f"groups {column}", np.isin(context.group_values(column), _known(context, column, names))
    for column, names in wanted.all_excluded_groups.items():
        yield f"exclude_groups {column}", ~np.isin(context.group_values(column), _known(context, column, names))
    for family, rung in wanted.families.items():
        yield f"families {family}", context.family_rungs(family) >= rung
    for family in wanted.exclude_families:
        yield f"exclude_families {family}", context.family_rungs(family) == 0


def _known(context: ExperimentContext, column: str, names: tuple[str, ...]) -> list[str]:
    return [context.known_group(column, name) for name in names]


def _in_percentiles(found: Slice, wanted: DatasetSlice) -> np.ndarray:
    """Rows between the percentiles, both ends included; see `DatasetSlice.percentiles_of`."""
    ends = [wanted.percentile_min, wanted.percentile_max]
    if wanted.percentiles_of == "all":
        low, high = np.percentile(found.values, ends)
        within: np.ndarray = (found.values >= low) & (found.values <= high) & (wanted.zeros | found.is_active)
        return within
    if not found.is_active.any():
        return np.full(len(found), wanted.zeros)
    low, high = np.percentile(found.values[found.is_active], ends)
    inside: np.ndarray = found.is_active & (found.values >= low) & (found.values <= high)
    if wanted.zeros:
        inside |= ~found.is_active
    return inside
