"""The report's blocks about the job as a whole: headline, planted concepts, dictionary, model."""

from __future__ import annotations

import numpy as np

from mechscope.corpora import Corpus
from mechscope.features import ConceptMatch, MatchResult
from mechscope.reports import (
    Block,
    Check,
    Column,
    Estimate,
    Grid,
    Heading,
    KeyFigure,
    KeyFigures,
    Note,
    PlantedMatch,
    Prose,
    Section,
    SplicedLoss,
    Table,
    feature_density,
    loss_recovered,
    planted_match,
    training_curves,
    verification_table,
)
from mechscope.services.defaults import Choice
from mechscope.services.main_job import MainJob
from mechscope.services.results import Measure
from mechscope.training import SpliceEvaluation

__all__ = ["concept_blocks", "model_blocks", "overview_blocks", "quality_blocks"]

HEADLINES = ("concepts_found", "recovered", "fvu", "l0", "dead_share")


def overview_blocks(made: MainJob, measures: tuple[Measure, ...], choices: tuple[Choice, ...]) -> list[Block]:
    """What was done, and the numbers that matter."""
    by_key = {measure.key: measure for measure in measures}
    figures = tuple(_key_figure(by_key[key]) for key in HEADLINES if key in by_key)
    blocks: list[Block] = [Heading(text="What was found"), KeyFigures(items=figures), Prose(text=_story(made))]
    if choices:
        rows = tuple((choice.setting, choice.value, choice.reason) for choice in choices)
        columns = (Column(name="setting", form="code"), Column(name="chosen", form="code"), Column(name="because"))
        blocks.append(Table(columns=columns, rows=rows, title="Defaults that were chosen"))
    return blocks


def concept_blocks(matches: MatchResult, made: MainJob) -> list[Block]:
    """Found against planted, with what is missing."""
    found = [match for match in matches.matches if match.counts]
    missing = [match for match in matches.matches if not match.counts]
    ordered = sorted(matches.matches, key=lambda match: (not match.counts, -match.feature.auroc))
    blocks: list[Block] = [
        Heading(text="Planted concepts"),
        Prose(text=_concept_story(matches, len(found))),
        planted_match(
            [_planted(match) for match in ordered],
            n_rows=max((match.n_score for match in matches.matches), default=0),
            threshold=matches.spec.threshold,
        ),
    ]
    if missing:
        lines = "\n".join(f"- **{match.concept}**: {match.reason}" for match in missing)
        blocks.append(Note(text=f"Not found: {len(missing)} of {len(matches.matches)}.\n\n{lines}", tone="warning"))
    else:
        blocks.append(Note(text="Every planted concept has a feature that counts.", tone="good"))
    for skipped in matches.skipped:
        blocks.append(Note(text=f"{skipped.concept} was not scored: {skipped.reason}", tone="info"))
    rows = tuple(
        (
            match.concept,
            match.description,
            match.precision,
            Estimate(value=match.gain, low=match.gain_low, high=match.gain_high, n=match.n_score),
            match.n_score_positive,
            match.n_score,
        )
        for match in ordered
    )
    columns = (
        Column(name="concept", form="code"),
        Column(name="what was planted"),
        Column(name="precision", form="percent", digits=0, help="positives among held-out samples with the feature on"),
        Column(name="gain over the best baseline", form="number", digits=3, help="AUROC, 95 % interval"),
        Column(name="positive", form="integer", unit="held-out samples"),
        Column(name="of", form="integer", unit="held-out samples"),
    )
    blocks.append(Section(title="What was planted", blocks=(Table(columns=columns, rows=rows),)))
    return blocks


def quality_blocks(made: MainJob) -> list[Block]:
    """Training curves, density, and what the model loses when the reconstruction takes its place."""
    density = np.asarray(made.held_out.evaluation.density)
    cells: list[tuple[Block, ...]] = [(feature_density(density, n_samples=made.held_out.evaluation.n_samples),)]
    if made.splice is not None:
        cells.append((loss_recovered(_spliced_loss(made.splice)),))
    return [
        Heading(text="The dictionary"),
        training_curves(made.trained.history),
        Grid(cells=tuple(cells)),
    ]


def model_blocks(made: MainJob) -> list[Block]:
    """What was measured when the model was opened."""
    verification = made.materials.model.verification
    rows = [
        Check(
            check=check.name,
            site=check.site,
            passed=check.passed,
            error=check.error,
            tolerance=check.tolerance,
            reason=check.note,
        )
        for check in verification.checks
    ]
    n_failed = sum(not row.passed for row in rows)
    text = (
        "Each line is an identity that the model's component map claims, measured on two short rows of random tokens "
        "when the model was opened. A site that fails is refused; the others stay."
    )
    table = verification_table(rows, model=made.materials.model.name)
    title = f"All {len(rows)} checks" if not n_failed else f"All {len(rows)} checks, {n_failed} failed"
    return [Heading(text="The model, verified"), Prose(text=text), Section(title=title, blocks=(table,))]


def _key_figure(measure: Measure) -> KeyFigure:
    return KeyFigure(
        label=measure.label,
        value=measure.value,
        how=measure.how,
        form="percent" if measure.percent else "number",
        n=measure.n,
        n_unit=measure.n_unit,
        low=measure.low,
        high=measure.high,
    )


def _story(made: MainJob) -> str:
    model, corpus, dictionary = made.materials.model, made.materials.corpus, made.trained.dictionary
    sparsity = f", {made.spec.train.k} kept a sample" if made.spec.train.k else ""
    where = "one vector a row" if corpus.kind == "set" else f"tokens chosen by the policy `{made.spec.token_policy}`"
    return (
        f"**{model.name}** ({model.n_layers} blocks, width {model.d_model}) was read at `{made.spec.site}` on "
        f"{corpus.n_rows:,} rows of `{corpus.name}`: {made.cache.n_samples:,} samples, {where}. A "
        f"`{dictionary.spec.architecture}` dictionary of {dictionary.n_features:,} features{sparsity} was trained on "
        "the rows of the split `train` alone. Everything below about single features is **observed** (tier 0): it says "
        "what goes together in this corpus, not what the model uses."
        f"{_left_out(corpus)}"
    )


def _left_out(corpus: Corpus) -> str:
    n_read, n_found = corpus.facts.get("n_documents_read"), corpus.facts.get("n_documents_found")
    parts = []
    if isinstance(n_read, int) and isinstance(n_found, int) and n_read < n_found:
        parts.append(f"The corpus holds {n_read:,} of the {n_found:,} documents that were found.")
    if str(corpus.facts.get("split_unit", "document")) != "document":
        parts.append(
            f"Held-out rows are held out by {corpus.facts['split_unit']}, since there are too few documents to hold "
            "out whole ones: neighbouring runs share their topic, so that held-out figures are on the kind side."
        )
    return "" if not parts else "\n\n" + " ".join(parts)


def _concept_story(matches: MatchResult, n_found: int) -> str:
    spec = matches.spec
    features = {match.feature.candidate for match in matches.matches if match.counts}
    n_clearly = sum(match.counts and match.beats_clearly for match in matches.matches)
    return (
        f"{n_found} of {len(matches.matches)} planted concepts have a feature that counts. For each concept the best "
        f"of {matches.n_features:,} features was picked on rows of the split `{'`, `'.join(spec.pick_splits)}` and "
        f"scored on rows of `{'`, `'.join(spec.score_splits)}`. It counts when its held-out AUROC is above "
        f"{spec.threshold} and above those of the best single token, the best principal component and the best "
        "feature of an untrained dictionary, each picked and scored on the same rows. Intervals are 95 %, clustered "
        f"by {matches.clustered_by}. The {n_found} matches are {len(features)} different features, and {n_clearly} "
        "beat the best baseline by more than the interval of the gain. A rare concept inside a wider one gets a high "
        "AUROC too: read the precision below beside it."
    )


def _planted(match: ConceptMatch) -> PlantedMatch:
    feature, token = match.feature, match.baseline("token")
    return PlantedMatch(
        concept=match.concept,
        feature=feature.candidate,
        auroc=Estimate(value=feature.auroc, low=feature.low, high=feature.high, n=match.n_score),
        best_token=token.auroc,
        pca=match.baseline("pca").auroc,
        random_dictionary=match.baseline("random dictionary").auroc,
        token=token.name,
        n_positive=match.n_score_positive,
        found=match.counts,
    )


def _spliced_loss(splice: SpliceEvaluation) -> SplicedLoss:
    recovered = splice.recovered_from_mean
    text = splice.metric == "cross_entropy"
    return SplicedLoss(
        clean=splice.clean.value,
        spliced=splice.spliced.value,
        zero=splice.zero_ablated.value,
        mean=splice.mean_ablated.value,
        recovered=None if recovered is None else recovered.value,
        baseline_name="mean",
        unit="nats per token" if text else "nats per vocabulary entry",
        n=splice.n_predictions,
        n_unit="tokens" if text else "rows",
    )
