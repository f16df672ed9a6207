"""What the main job returns to a face: frozen, JSON-safe, each number with how it was obtained."""

from __future__ import annotations

from mechscope.core import Spec

__all__ = ["ConceptRow", "Measure", "ReportedJob"]


class Measure(Spec):
    """One number; None means "not measured".

    `low` and `high` are the ends of its 95 % interval; `n` counts what `n_unit` says.
    """

    key: str
    label: str
    value: float | None
    how: str
    n: int | None = None
    n_unit: str = "samples"
    low: float | None = None
    high: float | None = None
    percent: bool = False

    def text(self) -> str:
        """The number with its interval, for people."""
        if self.value is None:
            return "not measured"
        interval = (
            "" if self.low is None or self.high is None else f" [{self._form(self.low)}, {self._form(self.high)}]"
        )
        return self._form(self.value) + interval

    def _form(self, value: float) -> str:
        return f"{value:.1%}" if self.percent else f"{value:.4g}"


class ConceptRow(Spec):
    """One planted concept with the feature that matches it best, all AUROCs on `n` held-out samples.

    `precision` is the share of the held-out samples on which the feature is active that are positive: a feature that
    follows something wider can separate a rare concept and still be active elsewhere. `beats_clearly` says that the
    whole 95 % interval of its gain over the best baseline is above 0.
    """

    concept: str
    feature: int
    auroc: float
    low: float
    high: float
    best_token: float
    pca: float
    random_dictionary: float
    precision: float | None
    n: int
    n_positive: int
    counts: bool
    beats_clearly: bool


class ReportedJob(Spec):
    """A finished main job with its report. `shown` are the features of the report, best first."""

    subject: str
    title: str
    report: str
    run: str
    was_reused: bool
    measures: tuple[Measure, ...]
    concepts: tuple[ConceptRow, ...] = ()
    shown: tuple[int, ...] = ()
    wall_seconds: float
