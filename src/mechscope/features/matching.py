"""Found against planted: which feature matches each planted concept, and whether it beats what is cheaper.

1. Map each boolean concept column to the samples.
2. On the samples of the pick splits, choose for each concept the feature with the largest AUROC; likewise the best
   single token, the best principal component and the best feature of an untrained dictionary.
3. Score all four on the held-out samples of the score splits, with intervals (clustered by row or document).
4. A match counts when its held-out AUROC passes the threshold and is above each baseline's.
Choosing on one split and scoring on another keeps the choice among many features out of the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechscope.core import SILENT, BadDataError, Progress, UsageError, numpy_generator
from mechscope.features.baselines import Pick, Picks, pca_baseline, random_baseline, store_picks, token_baseline
from mechscope.features.inputs import FeatureInputs
from mechscope.features.matches import Candidate, ConceptMatch, MatchResult, MatchSpec, SkippedConcept
from mechscope.stats.areas import Area, area_difference, measure_area

__all__ = ["concept_of_samples", "match_concepts"]


@dataclass(frozen=True)
class _Parts:
    pick: np.ndarray
    score: np.ndarray


def match_concepts(
    inputs: FeatureInputs,
    *,
    concepts: Sequence[str] | None = None,
    spec: MatchSpec | None = None,
    progress: Progress = SILENT,
) -> MatchResult:
    """Match every planted concept (columns with role "concept", or the boolean columns named).

    Raises:
        UsageError: no cache in `inputs`, or a column that is not boolean.
        NotFoundError: an unknown column.
        BadDataError: no split column, or a split without samples.

    Cost: one pass over the feature-major store; the activations of the drawn samples are held in memory twice.
    """
    asked = MatchSpec() if spec is None else spec
    names = inputs.corpus.names_with_role("concept") if concepts is None else list(concepts)
    parts = _draw_parts(inputs, asked)
    labels, skipped = _labels(inputs, names, parts, asked.min_positives)
    clusters, clustered_by = _clusters(inputs, parts.score)
    matches: list[ConceptMatch] = []
    if labels:
        table = np.stack(list(labels.values()), axis=1)
        found = _pick_all(inputs, table, parts, asked, progress)
        for at, name in enumerate(labels):
            truth = table[len(parts.pick) :, at]
            picks = {kind.name: kind.picks[at] for kind in found}
            matches.append(_judge(inputs, name, table[: len(parts.pick), at], truth, picks, clusters, asked))
    return MatchResult(
        spec=asked,
        n_features=inputs.store.n_features,
        clustered_by=clustered_by,
        matches=tuple(matches),
        skipped=tuple(skipped),
    )


def _pick_all(
    inputs: FeatureInputs, table: np.ndarray, parts: _Parts, spec: MatchSpec, progress: Progress
) -> list[Picks]:
    if inputs.cache is None:
        raise UsageError(
            "the inputs hold no activations", expected="the cache, for the baselines", todo="open them with cache="
        )
    labels = table[: len(parts.pick)]
    with progress.task("match concepts", total=4, unit="kinds of candidates") as task:
        found = [store_picks(inputs.store, parts.pick, parts.score, labels, name="feature")]
        task.advance(note="features")
        found.append(token_baseline(inputs.tokens, inputs.corpus.vocabulary, parts.pick, parts.score, labels))
        task.advance(note="single tokens")
        pick_acts, score_acts = inputs.cache.read(parts.pick), inputs.cache.read(parts.score)
        found.append(pca_baseline(pick_acts, score_acts, labels, n_components=spec.n_components))
        task.advance(note="principal components")
        found.append(random_baseline(inputs.dictionary, pick_acts, score_acts, labels, seed=spec.seed))
        task.advance(note="untrained dictionary")
    return found


def _judge(
    inputs: FeatureInputs,
    concept: str,
    pick_truth: np.ndarray,
    truth: np.ndarray,
    picks: dict[str, Pick],
    clusters: np.ndarray | None,
    spec: MatchSpec,
) -> ConceptMatch:
    areas = {kind: measure_area(pick.scores, truth, clusters=clusters) for kind, pick in picks.items()}
    candidates = {kind: _candidate(kind, pick, areas[kind]) for kind, pick in picks.items()}
    feature = candidates.pop("feature")
    best = max(candidates.values(), key=lambda candidate: candidate.auroc)
    gain, low, high = area_difference(areas["feature"], areas[best.kind], truth, clusters=clusters)
    faults = [] if feature.auroc > spec.threshold else [f"its AUROC does not pass {spec.threshold:g}"]
    faults += [f"{c.kind} {c.name} is as good" for c in candidates.values() if c.auroc >= feature.auroc]
    return ConceptMatch(
        concept=concept,
        description=inputs.corpus.columns[concept].description,
        n_pick=len(pick_truth),
        n_pick_positive=int(pick_truth.sum()),
        n_score=len(truth),
        n_score_positive=int(truth.sum()),
        feature=feature,
        baselines=tuple(candidates.values()),
        best_baseline=best.kind,
        gain=gain,
        gain_low=low,
        gain_high=high,
        counts=not faults,
        beats_clearly=low > 0,
        precision=_precision(picks["feature"].scores, truth),
        reason="; ".join(faults),
    )


def _precision(scores: np.ndarray, truth: np.ndarray) -> float | None:
    is_active = scores != 0
    return float(truth[is_active].mean()) if is_active.any() else None


def _candidate(kind: str, pick: Pick, area: Area) -> Candidate:
    return Candidate(
        kind=kind,
        candidate=pick.candidate,
        name=pick.name,
        pick_auroc=pick.pick_area,
        auroc=area.value,
        low=area.low,
        high=area.high,
    )


def _draw_parts(inputs: FeatureInputs, spec: MatchSpec) -> _Parts:
    columns = inputs.corpus.names_with_role("split", "row")
    if not columns:
        raise BadDataError(
            f"corpus {inputs.corpus.name!r} has no split column",
            expected="a row column with role 'split'",
            todo="choose train and test rows when the corpus is made",
        )
    split = inputs.corpus.column(columns[0]).astype(str)[inputs.tokens.row]
    drawn = []
    for name, wanted, most in (
        ("pick", spec.pick_splits, spec.max_pick),
        ("score", spec.score_splits, spec.max_score),
    ):
        samples = np.flatnonzero(np.isin(split, wanted))
        if not len(samples):
            raise BadDataError(
                f"no sample lies in the splits {', '.join(wanted)}",
                expected=f"samples to {name} on; the splits are {', '.join(np.unique(split))}",
                todo="name splits that the corpus has",
            )
        if len(samples) > most:
            samples = np.sort(numpy_generator(spec.seed, name).choice(samples, most, replace=False))
        drawn.append(samples)
    return _Parts(*drawn)


def _labels(
    inputs: FeatureInputs, names: Sequence[str], parts: _Parts, min_positives: int
) -> tuple[dict[str, np.ndarray], list[SkippedConcept]]:
    both = np.concatenate([parts.pick, parts.score])
    kept, skipped = {}, []
    for name in names:
        values = inputs.corpus.column(name)
        if values.dtype != bool:
            raise UsageError(
                f"column {name!r} holds {values.dtype}", expected="booleans", todo="make a boolean column of it"
            )
        if name in inputs.corpus.token_columns and inputs.tokens.is_pooled:
            skipped.append(SkippedConcept(concept=name, reason="it belongs to tokens and the samples are pooled rows"))
            continue
        labels = concept_of_samples(inputs, name)[both]
        sizes = [f(part) for part in (labels[: len(parts.pick)], labels[len(parts.pick) :]) for f in (np.sum, _absent)]
        if min(sizes) < min_positives:
            reason = (
                f"positives and negatives are {sizes[0]}, {sizes[1]} to pick on and {sizes[2]}, {sizes[3]} to score"
            )
            skipped.append(SkippedConcept(concept=name, reason=f"{reason}; {min_positives} of each are needed"))
            continue
        kept[name] = labels
    return kept, skipped


def concept_of_samples(inputs: FeatureInputs, name: str) -> np.ndarray:
    """A row or token column as seen by each sample, [n_samples]."""
    row, pos = inputs.tokens.row, inputs.tokens.pos
    values = inputs.corpus.column(name)
    at = inputs.corpus.tokens.indptr[row] + pos if name in inputs.corpus.token_columns else row
    seen: np.ndarray = values[at]
    return seen


def _absent(labels: np.ndarray) -> int:
    return int((~labels).sum())


def _clusters(inputs: FeatureInputs, score: np.ndarray) -> tuple[np.ndarray | None, str]:
    documents = inputs.corpus.names_with_role("document", "row")
    row = inputs.tokens.row[score]
    if documents:
        _, index = np.unique(inputs.corpus.column(documents[0]).astype(str), return_inverse=True)
        return index[row], documents[0]
    return (None, "sample") if inputs.tokens.is_pooled else (row, "row")
