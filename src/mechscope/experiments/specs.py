"""What an experiment asks: the spec, the slice of the corpus it looks at, and what it is to give out."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from mechscope.core import Spec
from mechscope.experiments.naming import experiment_file_name, new_id
from mechscope.experiments.types import Mode, type_name

__all__ = ["DatasetSlice", "ExperimentSpec", "Outputs"]

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class DatasetSlice(Spec):
    """Which rows of the corpus an experiment looks at. Filters narrow one after the other, in the order below.

    Attributes:
        groups, exclude_groups: group column -> the names kept, or left out, such as {"weapon": ["Octobrush Nouveau"]}.
        weapons, exclude_weapons: short for the group column `weapon`.
        families: family -> lowest rung a row must have; a list of names means any rung above 0.
        exclude_families: rows that hold any of these families are left out.
        activation_threshold: rows whose activation is below it are left out.
        percentile_min, percentile_max: bounds in percent, 0 to 100, both included; see `percentiles_of`.
        percentiles_of: "active": percentiles of the rows that are active and left by the filters above; rows at zero
            stay in, as the baseline, unless `zeros` is off. "all": percentiles of all rows, zeros included.
        zeros: whether rows where the feature is zero stay in, with `percentiles_of` "active".
        sample_size: rows drawn, all of them when None. Observational kinds draw rows; interventional ones as many
            base contexts.
        seed: of the draw; by default the spec's.
    """

    groups: dict[str, tuple[str, ...]] = {}
    exclude_groups: dict[str, tuple[str, ...]] = {}
    weapons: tuple[str, ...] = ()
    exclude_weapons: tuple[str, ...] = ()
    families: dict[str, int] = {}
    exclude_families: tuple[str, ...] = ()
    activation_threshold: float | None = None
    percentile_min: float = Field(default=0.0, ge=0, le=100)
    percentile_max: float = Field(default=100.0, ge=0, le=100)
    percentiles_of: Literal["active", "all"] = "active"
    zeros: bool = True
    sample_size: int | None = Field(default=None, ge=1)
    seed: int | None = None

    @field_validator("families", mode="before")
    @classmethod
    def _names_mean_any_rung(cls, value: Any) -> Any:
        return dict.fromkeys(value, 1) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.percentile_min > self.percentile_max:
            raise ValueError(f"percentile_min {self.percentile_min} is above percentile_max {self.percentile_max}")
        return self

    @property
    def all_groups(self) -> dict[str, tuple[str, ...]]:
        """`groups` with `weapons` in it."""
        return _merged(self.groups, self.weapons)

    @property
    def all_excluded_groups(self) -> dict[str, tuple[str, ...]]:
        """`exclude_groups` with `exclude_weapons` in it."""
        return _merged(self.exclude_groups, self.exclude_weapons)


class Outputs(Spec):
    """What the result holds. Warnings and violations of constraints stay, whatever is switched off."""

    aggregates: bool = True
    tables: bool = True
    diagnostics: bool = True
    figures: bool = False


class ExperimentSpec(Spec):
    """One experiment on one feature.

    Attributes:
        id: timestamp style; by default new and unique.
        type: a registered kind (`ExperimentType`, or its string).
        feature_id: the feature.
        model_type: name of the subject; None for the context it is run on.
        dataset_slice: which rows.
        variables: the kind's own settings; checked against its types when the experiment is checked or run.
        constraints: names of constraints (`mechscope.experiments.changing.constraints`).
        outputs: what the result holds.
        description, parent_hypothesis: words, and the id of a hypothesis, kept with the result.
        mode: None for the kind's own first choice.
        seed: every random choice derives from it.
    """

    id: str = Field(default_factory=new_id, pattern=ID_PATTERN, max_length=120)
    type: str
    feature_id: int = Field(ge=0)
    model_type: str | None = None
    dataset_slice: DatasetSlice = DatasetSlice()
    variables: dict[str, JsonValue] = {}
    constraints: tuple[str, ...] = ()
    outputs: Outputs = Outputs()
    description: str = ""
    parent_hypothesis: str | None = None
    mode: Mode | None = None
    seed: int = 0

    @field_validator("type")
    @classmethod
    def _as_registered(cls, value: str) -> str:
        return str(type_name(value))

    @property
    def file_name(self) -> str:
        """The name of its file, and of its result's file."""
        return experiment_file_name(self.id, self.feature_id, self.type)


def _merged(groups: dict[str, tuple[str, ...]], weapons: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return groups if not weapons else {**groups, "weapon": (*groups.get("weapon", ()), *weapons)}
