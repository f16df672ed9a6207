"""What was already asked of a feature: results with their specs, specs that still wait, and the settings of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mechscope.core import UserError, canonical_json
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.naming import ExperimentFolders
from mechscope.experiments.reading import read_result, read_spec
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.runner import get_runner_for_type
from mechscope.experiments.specs import DatasetSlice, ExperimentSpec

__all__ = ["Record", "Records", "read_records", "settings_of"]

NOT_SETTINGS = ("sample_size", "seed")


@dataclass(frozen=True)
class Record:
    """A result, and the spec it came from (None where the spec's file is gone)."""

    result: ExperimentResult
    spec: ExperimentSpec | None

    @property
    def id(self) -> str:
        """The id that reasons name."""
        return self.result.spec_id

    @property
    def kind(self) -> str:
        """The type of the experiment."""
        return self.result.experiment_type

    @property
    def is_causal(self) -> bool:
        """Whether something was changed and run again."""
        return self.result.evidence == "interventional"

    @property
    def is_whole(self) -> bool:
        """Whether no filter or percentile narrowed its rows."""
        return self.spec is None or self.spec.dataset_slice.updated(sample_size=None, seed=None) == DatasetSlice()

    def number(self, name: str) -> float | None:
        """A number among the aggregates of the kind; None where there is none."""
        value = self.result.aggregates.custom.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, name: str) -> str:
        """A text among the aggregates of the kind; empty where there is none."""
        value = self.result.aggregates.custom.get(name)
        return value if isinstance(value, str) else ""

    def names(self, name: str) -> list[str]:
        """A list of texts among the aggregates of the kind; empty where there is none."""
        value = self.result.aggregates.custom.get(name)
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def rows(self, table: str) -> Sequence[dict[str, Any]]:
        """The rows of a table; none where there is no such table."""
        return self.result.tables[table].rows if table in self.result.tables else ()


@dataclass(frozen=True)
class Records:
    """Everything that was asked of one feature of one subject.

    Attributes:
        done: successful results, oldest first. failed: the others.
        waiting: specs without a result.
        skipped: files that were left out, by reason, counted.
    """

    done: tuple[Record, ...] = ()
    failed: tuple[Record, ...] = ()
    waiting: tuple[ExperimentSpec, ...] = ()
    skipped: tuple[tuple[str, int], ...] = ()

    def of(self, *kinds: str, causal: bool | None = None) -> list[Record]:
        """Successful results of these types, newest first; of one evidence where it is asked for."""
        chosen = [one for one in self.done if one.kind in kinds and causal in (None, one.is_causal)]
        return chosen[::-1]

    @property
    def specs(self) -> list[ExperimentSpec]:
        """Every spec that was run, has failed or waits."""
        ran = [one.spec for one in (*self.done, *self.failed) if one.spec is not None]
        return [*ran, *self.waiting]


def settings_of(spec: ExperimentSpec, context: ExperimentContext, *, without: Iterable[str] = ()) -> str:
    """What a spec measures, as text that is equal for equal settings: defaults written out, aliases and mode settled.

    Args:
        without: settings left out, of "sample_size" and "seed": equal texts then ask the same of other samples.

    Raises as `check_spec` does.
    """
    checked, variables = get_runner_for_type(spec.type).check(spec, context)
    sliced = checked.dataset_slice.to_json()
    told = {
        "type": get_runner_for_type(spec.type).kind.name,
        "feature": checked.feature_id,
        "mode": checked.mode,
        "variables": variables.to_json(),
        "slice": {name: value for name, value in sliced.items() if name not in without},
        "constraints": sorted(checked.constraints),
        "seed": None if "seed" in without else checked.seed,
    }
    return str(canonical_json(told))


def read_records(folders: Sequence[ExperimentFolders], context: ExperimentContext, feature: int) -> Records:
    """The records of a feature in one or more folders. A damaged file is counted and stops nothing.

    Results of another subject, of another dictionary or of a store that was built anew from another model are left out.
    Cost: one small file read for each experiment of the feature.
    """
    done: list[Record] = []
    failed: list[Record] = []
    waiting: list[ExperimentSpec] = []
    skipped: dict[str, int] = {}
    specs: dict[str, ExperimentSpec] = {}
    seen: set[str] = set()
    for folder in folders:
        for path in sorted(folder.specs.glob(f"*__f{feature}__*.json")):
            try:
                spec = read_spec(path)
            except UserError:
                skipped["spec that cannot be read"] = skipped.get("spec that cannot be read", 0) + 1
                continue
            specs[spec.id] = spec
        for path in sorted(folder.results.glob(f"*__f{feature}__*.json")):
            try:
                result = read_result(path)
            except UserError:
                skipped["result that cannot be read"] = skipped.get("result that cannot be read", 0) + 1
                continue
            if reason := _foreign(result, context, feature):
                skipped[reason] = skipped.get(reason, 0) + 1
            elif result.spec_id not in seen:
                record = Record(result, specs.get(result.spec_id))
                (done if result.success else failed).append(record)
            seen.add(result.spec_id)
    for spec in specs.values():
        if spec.id not in seen and spec.model_type in (None, context.name) and spec.feature_id == feature:
            waiting.append(spec)
    done.sort(key=lambda record: record.id)
    return Records(tuple(done), tuple(failed), tuple(waiting), tuple(sorted(skipped.items())))


def _foreign(result: ExperimentResult, context: ExperimentContext, feature: int) -> str:
    """Why a result says nothing of this feature here; empty when it does."""
    if result.feature_id != feature or result.model_type not in (None, context.name):
        return "result of another subject"
    made = result.provenance.get("subject")
    key = context.inputs.store.key
    if isinstance(made, dict) and any(made.get(name) != key[name] for name in ("dictionary", "corpus")):
        return "result of another dictionary or corpus"
    return ""
