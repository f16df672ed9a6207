"""Whether what weapons share explains the delta of the one that stands out, and how far it tells weapons apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.core import numpy_generator
from mechscope.experiments.changing.cells import FEW, flag_of
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.groups.means import GroupMeans
from mechscope.stats.distributions import student_quantile

__all__ = ["agreement_p", "explain_top", "share_of_variance"]

EXPLAINS = 0.25
"""Share of a weapon's delta that the other weapons with its attribute must have for the attribute to explain it: below
a half, since a weapon is called dominant when no other one has half of its delta."""


MOSTLY, N_RESAMPLES = 0.5, 2000


def share_of_variance(values: np.ndarray, weapons: np.ndarray, of_weapon: np.ndarray, seed: int) -> tuple[float, float]:
    """Share of the variance between weapons' means that lies between labels (eta squared), and its permutation p."""
    counts = np.bincount(weapons, minlength=len(of_weapon))
    there = counts > 0
    n, label = counts[there].astype(np.float64), of_weapon[there]
    means = np.bincount(weapons, weights=values, minlength=len(of_weapon))[there] / n
    centred = means - np.average(means, weights=n)

    def share(place: np.ndarray) -> float:
        sums, sizes = np.bincount(place, weights=n * centred), np.bincount(place, weights=n)
        return float((sums**2 / np.where(sizes > 0, sizes, 1)).sum() / (n @ centred**2))

    if not (n @ centred**2) > 0:
        return float("nan"), 1.0
    seen, generator = share(label), numpy_generator(seed, "variance")
    hits = sum(share(generator.permutation(label)) >= seen * (1 - 1e-9) for _ in range(999))
    return seen, (1 + hits) / 1000


def explain_top(
    by_weapon: GroupMeans,
    context: ExperimentContext,
    findings: Findings,
    group: str,
    attributes: list[str],
    raised: dict[str, list[str]],
    seed: int,
) -> None:
    """Hold the top weapon's delta against that of the other weapons with its sub, special, ..."""
    top, delta = by_weapon.names[0], float(by_weapon.delta[0])
    findings.add(top_weapon=top, top_weapon_delta=delta, conclusion=None, explained_by=None)
    if not by_weapon.is_raised(0):
        findings.add(conclusion=f"no {group} is raised beyond chance, so there is no delta for a kit to explain")
        return
    rows, explaining = [], []
    for attribute in attributes:
        value = context.domain.attributes[attribute].get(top, "")
        others = [
            float(by_weapon.delta[at])
            for at, name in enumerate(by_weapon.names)
            if name != top and context.domain.attributes[attribute].get(name) == value
        ]
        mean, low, high = _t_interval(others)
        share = mean / delta if others else float("nan")
        explains = len(others) >= 3 and low > 0 and share >= EXPLAINS and value in raised[attribute]
        if explains:
            explaining.append((share, attribute, value, len(others)))
        ends = _share_ends(np.array(others), delta, numpy_generator(seed, "share", attribute))
        row: dict[str, Any] = {"attribute": attribute, "value": value, "n_other_weapons": len(others)}
        row |= {"others_delta": mean, "low": low, "high": high, "share_of_delta": share, "explains": explains}
        row |= {"share_low": ends[0], "share_high": ends[1], "flag": flag_of(len(others))}
        rows.append(row)
    columns = ("attribute", "value", "n_other_weapons", "others_delta", "low", "high", "share_of_delta", "share_low",
               "share_high", "explains", "flag")  # fmt: skip
    caption = (
        f"The delta of the other {group}s that share an attribute with {top} ({delta:+.3g}); t over {group}s; share: "
        f"of that delta, 95 % bootstrap over the other {group}s."
    )
    findings.table("kit_of_top_weapon", columns, rows, caption=caption)
    if explaining:
        share, attribute, value, n = max(explaining)
        row = next(row for row in rows if row["attribute"] == attribute)
        how = "mostly" if share >= MOSTLY else "partly"
        findings.add(explained_by=attribute)
        conclusion = (
            f"{attribute} {value} {how} explains the delta of {group} {top}: {n} other {group}s with it have "
            f"{100 * share:.0f} % [{100 * row['share_low']:.0f}, {100 * row['share_high']:.0f}] of it"
        )
        if how == "partly":
            conclusion += f"; the larger part goes with {group} {top} itself, or what else it has"
        if row["flag"]:
            conclusion += f" ({n} {group}s are few)"
        findings.find(conclusion + " (associated)")
    elif all(row["n_other_weapons"] >= 3 and row["high"] < EXPLAINS * delta for row in rows):
        conclusion = f"no attribute of {top} explains its delta: other {group}s with the same {', '.join(attributes)} "
        conclusion += f"have less than {100 * EXPLAINS:.0f} % of it"
    else:
        conclusion = f"whether {group} {top} or its kit goes with the feature cannot be told from these rows"
    findings.add(conclusion=conclusion)


def _share_ends(others: np.ndarray, delta: float, generator: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the share of the top's delta, bootstrap over the others; NaN below two."""
    if len(others) < 2:
        return float("nan"), float("nan")
    drawn = generator.choice(others, (N_RESAMPLES, len(others))).mean(axis=1) / delta
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high


def agreement_p(values: np.ndarray, weapons: np.ndarray, of_weapon: np.ndarray, seed: int) -> float:
    """One-sided p that labels which one half of the weapons raises are raised in the other half too.

    Weapons of each label are dealt to the halves at random; the labels of the half that confirms are permuted. NaN
    where it has fewer than 5 weapons whose label the first half has.
    """
    counts = np.bincount(weapons, minlength=len(of_weapon))
    there = counts > 0
    n, label = counts[there].astype(np.float64), of_weapon[there]
    means = np.bincount(weapons, weights=values, minlength=len(of_weapon))[there] / n
    generator = numpy_generator(seed, "agreement")
    order = generator.permutation(len(n))
    order = order[np.argsort(label[order], kind="stable")]
    second = np.zeros(len(n), bool)
    second[order[1::2]] = True
    weight = np.bincount(label[~second], weights=n[~second], minlength=int(label.max()) + 1)
    sums = np.bincount(label[~second], weights=(n * means)[~second], minlength=len(weight))
    known = second & (weight[label] > 0)
    if known.sum() < FEW:
        return float("nan")
    raised = np.where(weight > 0, sums / np.where(weight > 0, weight, 1), 0.0)
    raised -= np.average(means[~second], weights=n[~second])
    own = n[known] * (means[known] - np.average(means[known], weights=n[known]))
    seen, labels = float(own @ raised[label[known]]), label[known]
    hits = sum(float(own @ raised[generator.permutation(labels)]) >= seen - 1e-9 * abs(seen) for _ in range(999))
    return (1 + hits) / 1000


def _t_interval(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0] if values else float("nan")), float("nan"), float("nan")
    mean, n = float(np.mean(values)), len(values)
    step = float(student_quantile(0.975, n - 1)) * float(np.std(values, ddof=1)) / float(np.sqrt(n))
    return mean, mean - step, mean + step
