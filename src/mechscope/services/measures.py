"""The headline numbers of a main job, each with how it was obtained."""

from __future__ import annotations

from mechscope.features import MatchResult
from mechscope.services.held_out import HeldOut, PcaControl
from mechscope.services.main_job import MainJob
from mechscope.services.results import ConceptRow, Measure
from mechscope.stats import Z_95, wilson
from mechscope.training import Estimate, SpliceEvaluation

__all__ = ["concept_rows", "headline_measures"]


def headline_measures(job: MainJob, matches: MatchResult | None) -> tuple[Measure, ...]:
    """Reconstruction, sparsity, what the model loses, and concepts found."""
    measures = [*_reconstruction(job.held_out)]
    if job.splice is not None:
        measures += _splice(job.splice)
    if matches is not None and matches.matches:
        n_found = sum(match.counts for match in matches.matches)
        n_clearly = sum(match.counts and match.beats_clearly for match in matches.matches)
        low, high = wilson(n_found, len(matches.matches))
        measures.append(
            Measure(
                key="concepts_found",
                label="planted concepts found",
                value=n_found / len(matches.matches),
                low=float(low),
                high=float(high),
                how=f"{n_found} of {len(matches.matches)}: held-out AUROC above {matches.spec.threshold} and above "
                "the best token, PCA and a random dictionary "
                f"({n_clearly} of them by more than the interval of the gain)",
                n=len(matches.matches),
                n_unit="concepts",
                percent=True,
            )
        )
    return tuple(measures)


def _reconstruction(held_out: HeldOut) -> list[Measure]:
    e = held_out.evaluation
    n_units = e.n_samples if e.n_clusters is None else e.n_clusters
    how = f"rows of the test split; 95 % interval over {n_units:,} {held_out.clustered_by}s"
    low, high = wilson(e.n_dead, e.n_features)
    return [
        Measure(
            key="fvu",
            label="fraction of variance unexplained",
            value=e.fvu,
            low=max(0.0, e.fvu - Z_95 * e.fvu_standard_error),
            high=e.fvu + Z_95 * e.fvu_standard_error,
            n=e.n_samples,
            how=f"{how}; total variance around the mean; {_control(held_out.control)}",
        ),
        Measure(
            key="l0",
            label="L0, active features a sample",
            value=e.l0,
            low=e.l0 - Z_95 * e.l0_standard_error,
            high=e.l0 + Z_95 * e.l0_standard_error,
            n=e.n_samples,
            how=f"{how}; mean",
        ),
        Measure(
            key="dead_share",
            label="dead features",
            value=e.dead_share,
            low=float(low),
            high=float(high),
            n=e.n_features,
            n_unit="features",
            how=f"{e.n_dead:,} of {e.n_features:,} are silent on {e.n_samples:,} held-out samples; Wilson interval",
            percent=True,
        ),
        Measure(
            key="cosine",
            label="cosine of x and x_hat",
            value=e.cosine,
            low=e.cosine - Z_95 * e.cosine_standard_error,
            high=min(1.0, e.cosine + Z_95 * e.cosine_standard_error),
            n=e.n_samples,
            how=f"{how}; mean",
        ),
    ]


def _control(control: PcaControl | None) -> str:
    if control is None:
        return "control not run"
    return (
        f"control: {control.n_components} principal components leave {control.fvu:.3g} ({control.n_measured:,} samples)"
    )


def _splice(s: SpliceEvaluation) -> list[Measure]:
    name = "cross-entropy" if s.metric == "cross_entropy" else "binary cross-entropy"
    how = _how_spliced(s)
    recovered = _from(s.recovered_from_mean, "recovered", f"{name} recovered", s, how, percent=True) or Measure(
        key="recovered", label=f"{name} recovered", value=None, how=s.recovered_reason
    )
    if recovered.value is not None:
        reason = f" ({s.recovered_reason})" if s.recovered_reason and recovered.low is None else ""
        recovered = recovered.updated(how=f"spliced against mean-ablated, {how}{reason}")
    spliced = _from(s.spliced, "loss_spliced", f"{name} with the reconstruction", s, how)
    clean = _from(s.clean, "loss_clean", f"{name} of the model itself", s, how)
    kl = _from(s.kl, "kl", "KL(clean || spliced), nats", s, how)
    return [recovered, *(m for m in (clean, spliced, kl) if m is not None)]


def _how_spliced(s: SpliceEvaluation) -> str:
    unit = "tokens" if s.metric == "cross_entropy" else "rows"
    over = f"{s.n_predictions:,} {unit} of {s.n_rows:,} held-out rows"
    if s.clean.low is None:
        return f"{over}; no interval: {s.n_clusters} {s.clustered_by} to resample"
    return f"{over}; 95 % bootstrap over {s.n_clusters:,} {s.clustered_by}s"


def _from(
    estimate: Estimate | None, key: str, label: str, s: SpliceEvaluation, how: str, *, percent: bool = False
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
        n_unit="tokens" if s.metric == "cross_entropy" else "rows",
        how=how,
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
            precision=match.precision,
            n=match.n_score,
            n_positive=match.n_score_positive,
            counts=match.counts,
            beats_clearly=match.beats_clearly,
        )
        for match in matches.matches
    ]
    return tuple(sorted(rows, key=lambda row: (-row.counts, -row.auroc)))
