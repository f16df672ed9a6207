"""How well are sets completed? Micro-F1 with intervals, and a conditional-frequency baseline to hold it against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import Spec, numpy_generator

__all__ = ["F1Score", "FrequencyBaseline", "pick_threshold", "score_f1"]

N_THRESHOLDS = 200
N_RESAMPLES = 1000


class F1Score(Spec):
    """Micro-F1 over rows and tokens at one threshold.

    Attributes:
        f1, precision, recall: over all counted cells.
        low, high: 95 % interval of `f1` from a bootstrap over rows (1000 resamples).
        threshold: scores at or above it say "in the set"; picked on other rows.
        n_rows, n_positive: rows, and true cells among the counted ones.
    """

    f1: float
    precision: float
    recall: float
    low: float
    high: float
    threshold: float
    n_rows: int
    n_positive: int


def pick_threshold(scores: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """The threshold with the highest micro-F1, among 200 quantiles of the counted scores.

    Args:
        scores: any real numbers [n_rows, n_tokens].
        truth: bool [n_rows, n_tokens].
        counted: bool [n_rows, n_tokens], the cells that count.
    """
    flat, is_true = scores[counted], truth[counted]
    order = np.argsort(flat)
    true_above = is_true.sum() - np.concatenate([[0], np.cumsum(is_true[order])])
    above = len(flat) - np.arange(len(flat) + 1)
    at = np.unique(np.linspace(0, len(flat) - 1, N_THRESHOLDS * 10).astype(int))
    f1 = 2 * true_above[at] / (above[at] + is_true.sum())
    return float(flat[order[at[int(np.argmax(f1))]]])


def score_f1(scores: np.ndarray, truth: np.ndarray, counted: np.ndarray, *, threshold: float, seed: int = 0) -> F1Score:
    """Micro-F1 of `scores >= threshold` over the counted cells; arguments as for `pick_threshold`."""
    said = (scores >= threshold) & counted
    per_row = np.stack([(said & truth).sum(1), said.sum(1), (truth & counted).sum(1)], axis=1)
    both, n_said, n_true = per_row.sum(0)
    generator = numpy_generator(seed, "bootstrap f1")
    weights = generator.multinomial(len(per_row), np.full(len(per_row), 1 / len(per_row)), size=N_RESAMPLES)
    drawn = weights @ per_row
    low, high = np.quantile(2 * drawn[:, 0] / np.maximum(drawn[:, 1] + drawn[:, 2], 1), [0.025, 0.975])
    return F1Score(
        f1=float(2 * both / max(n_said + n_true, 1)),
        precision=float(both / max(n_said, 1)),
        recall=float(both / max(n_true, 1)),
        low=float(low),
        high=float(high),
        threshold=threshold,
        n_rows=len(per_row),
        n_positive=int(n_true),
    )


@dataclass(frozen=True)
class FrequencyBaseline:
    """Naive Bayes over what is shown: no interactions, only conditional frequencies.

        score(t | weapon w, shown S) = logit P(t | w) + strength * sum over tokens u of
            log P(u in S | t) / P(u in S | not t)             for u in S
            log P(u not in S | t) / P(u not in S | not t)     for u not in S

    Frequencies are smoothed with one pseudo-row at the overall rate (ten for P(t | w)).
    """

    by_weapon: np.ndarray
    if_shown: np.ndarray
    if_absent: np.ndarray

    @classmethod
    def fit(cls, shown: np.ndarray, whole: np.ndarray, weapon: np.ndarray, n_weapons: int) -> FrequencyBaseline:
        """From bool [n_rows, n_tokens] inputs and complete sets, and weapon indices [n_rows]."""
        s, t = shown.astype(np.float64), whole.astype(np.float64)
        rate = (t.sum(0) + 1) / (len(t) + 2)
        of_weapon = np.zeros((n_weapons, t.shape[1]))
        np.add.at(of_weapon, weapon, t)
        n_of_weapon = np.bincount(weapon, minlength=n_weapons)[:, None]
        by_weapon = (of_weapon + 10 * rate) / (n_of_weapon + 10)
        base = (s.sum(0) + 1) / (len(s) + 2)
        n_true = t.sum(0)
        together = t.T @ s
        given_true = (together + base) / (n_true[:, None] + 1)
        given_false = (s.sum(0) - together + base) / (len(t) - n_true[:, None] + 1)
        given_false = np.clip(given_false, 1e-9, 1 - 1e-9)
        given_true = np.clip(given_true, 1e-9, 1 - 1e-9)
        return cls(
            by_weapon=np.log(by_weapon / (1 - by_weapon)),
            if_shown=np.log(given_true / given_false),
            if_absent=np.log((1 - given_true) / (1 - given_false)),
        )

    def scores(self, shown: np.ndarray, weapon: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
        """Log-odds [n_rows, n_tokens]."""
        s = shown.astype(np.float64)
        evidence = s @ (self.if_shown - self.if_absent).T + self.if_absent.sum(1)
        total: np.ndarray = self.by_weapon[weapon] + strength * evidence
        return total
