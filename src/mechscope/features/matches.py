"""What matching concepts takes and gives: settings, and one frozen result a concept."""

from __future__ import annotations

from pydantic import Field

from mechscope.core import Spec

__all__ = ["Candidate", "ConceptMatch", "MatchResult", "MatchSpec", "SkippedConcept"]


class MatchSpec(Spec):
    """How concepts are matched.

    Attributes:
        threshold: held-out AUROC that a match must pass, in (0.5, 1).
        pick_splits, score_splits: values of the row column with role "split".
        max_pick, max_score: samples drawn at most, the same ones for features and baselines.
        min_positives: positives (and negatives) that both parts need.
        n_components: principal components tried.
        seed: of the draws and of the untrained dictionary.
    """

    threshold: float = Field(default=0.9, gt=0.5, lt=1)
    pick_splits: tuple[str, ...] = ("train",)
    score_splits: tuple[str, ...] = ("test",)
    max_pick: int = Field(default=30_000, ge=2)
    max_score: int = Field(default=30_000, ge=2)
    min_positives: int = Field(default=10, ge=1)
    n_components: int = Field(default=256, ge=1)
    seed: int = 0


class Candidate(Spec):
    """What was picked: AUROC on the pick samples, and on the held-out samples with its 95 % interval."""

    kind: str
    candidate: int
    name: str
    pick_auroc: float
    auroc: float
    low: float
    high: float


class ConceptMatch(Spec):
    """One concept: its feature, the baselines, the paired gain over the best baseline, and whether it counts.

    `counts` compares point estimates; `beats_clearly` says that the whole 95 % interval of the gain is above 0, with
    the best baseline chosen by the held-out samples themselves. `precision` is the share of the held-out samples on
    which the feature is active that are positive, None when it is active on none: a feature of something wider than a
    rare concept has a high AUROC and a low precision.
    """

    concept: str
    description: str
    n_pick: int
    n_pick_positive: int
    n_score: int
    n_score_positive: int
    feature: Candidate
    baselines: tuple[Candidate, ...]
    best_baseline: str
    gain: float
    gain_low: float
    gain_high: float
    counts: bool
    beats_clearly: bool
    precision: float | None
    reason: str

    def baseline(self, kind: str) -> Candidate:
        """The baseline of one kind: "token", "pca" or "random dictionary"."""
        return next(candidate for candidate in self.baselines if candidate.kind == kind)


class SkippedConcept(Spec):
    """A concept that could not be scored, and why."""

    concept: str
    reason: str


class MatchResult(Spec):
    """All concepts. Evidence tier 0: features were picked and scored by association alone."""

    spec: MatchSpec
    n_features: int
    clustered_by: str
    matches: tuple[ConceptMatch, ...]
    skipped: tuple[SkippedConcept, ...]
    evidence_tier: int = 0

    @property
    def share_found(self) -> float | None:
        """Share of the scored concepts whose match counts; None when none was scored."""
        return sum(match.counts for match in self.matches) / len(self.matches) if self.matches else None
