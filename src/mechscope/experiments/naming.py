"""Ids that cannot collide, and the names of the files of an experiment."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["ExperimentFolders", "experiment_file_name", "new_id"]

RANDOM_BYTES = 4


def new_id() -> str:
    """A new id: the time to the second (UTC), as `20250607_142531`, then the microsecond (5 hexadecimal digits) and a
    random number (8).

    Ids sort by the time they were made. Two of one microsecond are equal with a chance of 1 in 4 * 10^9.
    """
    now = datetime.now(UTC)
    return f"{now:%Y%m%d_%H%M%S}_{now.microsecond:05x}{secrets.token_hex(RANDOM_BYTES)}"


def experiment_file_name(id: str, feature_id: int, type_name: str) -> str:  # noqa: A002  (the spec's own word)
    """The file name of a spec and of its result: `<id>__f<feature>__<type-dashed>.json`.

    Example:
        >>> experiment_file_name("20250607_142531", 18712, "family_1d_sweep")
        '20250607_142531__f18712__family-1d-sweep.json'
    """
    return f"{id}__f{feature_id}__{type_name.replace('_', '-')}.json"


@dataclass(frozen=True)
class ExperimentFolders:
    """Where the files of experiments lie: `specs/`, `results/` and `figures/` under one root."""

    root: Path

    @classmethod
    def of_workspace(cls, root: Path) -> ExperimentFolders:
        """The folders of a workspace: `experiments/` in its root."""
        return cls(root / "experiments")

    @property
    def specs(self) -> Path:
        """Where specs are kept."""
        return self.root / "specs"

    @property
    def results(self) -> Path:
        """Where results are kept."""
        return self.root / "results"

    @property
    def figures(self) -> Path:
        """Where figures are kept."""
        return self.root / "figures"
