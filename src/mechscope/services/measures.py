"""The headline numbers of a main job, each with how it was obtained."""

from __future__ import annotations

from mechscope.features import MatchResult
from mechscope.services.main_job import MainJob
from mechscope.services.results import ConceptRow, Measure
from mechscope.training import Estimate, Evaluation, SpliceEvaluation

__all__ = ["concept_rows", "headline_measures"]

Z_95 = 1.959963984540054


def headline_measures(job: MainJob, matches: MatchResult | None) -> tuple[Measure, ...]:
    """Reconstruction, sparsity, what the model loses, and concepts found."""
    measures = [*_reconstruction(job.evaluation)]
    if job.splice is not None:
        measures += _splice(job.splice)
    if matches is not None and matches.matches:
        n_found = sum(match.counts for match in matches.matches)
        measures.append(
            Measure(
                key="concepts_found",
                label="planted concepts found",
                value=n_found / len(matches.matches),
                how=f"{n_found} of {len(matches.matches)}: held-out AUROC above {matches.spec.threshold} and above "
                "the best token, PCA and a random dictionary",
                n=len(matches.matches),
                n_unit="concepts",
                percent=True,
            )
        )
    return tuple(measures)


def _reconstruction(e: Evaluation) -> list[Measure]:
    half = Z_95 * e.fvu_standard_error
    held_out = "rows of the test split"
    return [
        Measure(
            key="fvu",
            label="fraction of variance unexplained",
            value=e.fvu,
            low=max(0.0, e.fvu - half),
            high=e.fvu + half,
            n=e.n_samples,
            how=f"{held_out}, total variance around the mean; interval takes samples as independent",
        ),
        Measure(key="l0", label="L0, active features a sample", value=e.l0, n=e.n_samples, how=f"{held_out}, mean"),
        Measure(
            key="dead_share",
            label="dead features",
            value=e.dead_share,
            n=e.n_samples,
            how=f"{e.n_dead:,} of {e.n_features:,} are silent on {e.n_samples:,} held-out samples",
            percent=True,
        ),
        Measure(key="cosine", label="cosine of x and x_hat", value=e.cosine, n=e.n_samples, how=f"{held_out}, mean"),
    ]


def _splice(s: SpliceEvaluation) -> list[Measure]:
    name = "cross-entropy" if s.metric == "cross_entropy" else "binary cross-entropy"
    unit = "tokens" if s.metric == "cross_entropy" else "rows"
    bootstrap = f"bootstrap over {s.n_clusters:,} {'documents' if s.n_clusters < s.n_rows else 'rows'}"
    recovered = _from(s.recovered_from_mean, "recovered", f"{name} recovered", s, unit, percent=True) or Measure(
        key="recovered",
        label=f"{name} recovered",
        value=None,
        how="writing the mean activation at the site does no damage, so there is nothing to recover",
    )
    if recovered.value is not None:
        recovered = recovered.updated(how=f"{recovered.how}: spliced against mean-ablated; {bootstrap}")
    spliced = _from(s.spliced, "loss_spliced", f"{name} with the reconstruction", s, unit)
    clean = _from(s.clean, "loss_clean", f"{name} of the model itself", s, unit)
    kl = _from(s.kl, "kl", "KL(clean || spliced), nats", s, unit)
    return [recovered, *(m for m in (clean, spliced, kl) if m is not None)]


def _from(
    estimate: Estimate | None, key: str, label: str, s: SpliceEvaluation, unit: str, *, percent: bool = False
) -> Measure | None:
    if estimate is None:
        return None
    return Measure(
        key=key,
        label=label,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=s.n_predictions,
        n_unit=unit,
        how=f"{s.n_predictions:,} {unit} of {s.n_rows:,} held-out rows",
        percent=percent,
    )


def concept_rows(matches: MatchResult) -> tuple[ConceptRow, ...]:
    """The matches as plain rows, best AUROC first."""
    rows = [
        ConceptRow(
            concept=match.concept,
            feature=match.feature.candidate,
            auroc=match.feature.auroc,
            low=match.feature.low,
            high=match.feature.high,
            best_token=match.baseline("token").auroc,
            pca=match.baseline("pca").auroc,
            random_dictionary=match.baseline("random dictionary").auroc,
            counts=match.counts,
        )
        for match in matches.matches
    ]
    return tuple(sorted(rows, key=lambda row: (-row.counts, -row.auroc)))
