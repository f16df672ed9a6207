"""The main job with its record and its report: run, match planted concepts, choose what to show, draw, record."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime

from mechscope import __version__
from mechscope.core import SILENT, Progress, Spec, derive_seed
from mechscope.features import MatchResult, MatchSpec, match_concepts
from mechscope.reports import Provenance, Report
from mechscope.runs import Run, describe_environment
from mechscope.services.defaults import Choice
from mechscope.services.feature_cards import feature_blocks
from mechscope.services.job_blocks import concept_blocks, model_blocks, overview_blocks, quality_blocks
from mechscope.services.main_job import SPLICE_ROWS, MainJob, MainJobSpec, Materials, run_main_job
from mechscope.services.measures import concept_rows, headline_measures
from mechscope.services.results import ConceptRow, Measure, ReportedJob
from mechscope.services.showing import Shown, choose_shown
from mechscope.store import is_complete
from mechscope.workspace import SubjectEntry, Workspace

__all__ = ["ReportedJob", "run_reported_job"]

MATCH_CONTROLS = ["best single token", "principal components", "random dictionary"]
SPLICE_CONTROLS = ["zero ablation", "mean ablation"]
SUBJECT = "subject."


class ReportSpec(Spec):
    """The job and what its report shows."""

    job: MainJobSpec
    title: str
    n_shown: int
    matching: MatchSpec


def run_reported_job(
    workspace: Workspace,
    job: MainJobSpec,
    materials: Materials,
    *,
    title: str,
    choices: tuple[Choice, ...],
    command: str,
    n_shown: int,
    progress: Progress = SILENT,
) -> ReportedJob:
    """Run the job and write its report, or reuse both when the same spec met the same model and corpus before."""
    began = time.perf_counter()
    spec = ReportSpec(job=job, title=title, n_shown=n_shown, matching=MatchSpec(seed=job.seed))
    inputs = {
        "model": materials.model.weights_digest,
        "corpus": materials.corpus.digest,
        "code": __version__,
    }
    run = Run.start(workspace.runs, kind="main-job", spec=spec, inputs=inputs)
    if run.is_finished and (entry := _entry_of(run)) is not None and _is_whole(workspace, entry):
        workspace.set_subject(job.subject, entry)
        progress.say(f"everything reused: {run.folder}")
        return _summary(run, job, title, was_reused=True, wall_seconds=time.perf_counter() - began)
    made = run_main_job(workspace, job, materials, progress)
    with made.inputs:
        matches = _match(made, spec, progress)
        shown = choose_shown(made, matches, n_shown=n_shown)
        measures = headline_measures(made, matches)
        report = _compose(spec, made, matches, shown, measures, choices, command, run, progress)
    run.report(report.to_html())
    _record(run, made, matches, shown, measures)
    return _summary(run, job, title, was_reused=False, wall_seconds=time.perf_counter() - began)


def _match(made: MainJob, spec: ReportSpec, progress: Progress) -> MatchResult | None:
    if not made.materials.corpus.names_with_role("concept"):
        return None
    return match_concepts(made.inputs, spec=spec.matching, progress=progress)


def _compose(
    spec: ReportSpec,
    made: MainJob,
    matches: MatchResult | None,
    shown: tuple[Shown, ...],
    measures: tuple[Measure, ...],
    choices: tuple[Choice, ...],
    command: str,
    run: Run,
    progress: Progress,
) -> Report:
    environment = describe_environment()
    blocks = [
        *overview_blocks(made, measures, choices),
        *(concept_blocks(matches, made) if matches is not None else []),
        *feature_blocks(made, shown, progress),
        *quality_blocks(made),
        *model_blocks(made),
    ]
    footer = Provenance(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        spec_digest=spec.digest,
        code_version=__version__,
        seeds={**_seeds(made), "matching": spec.matching.seed},
        packages=environment.packages,
        device=f"{environment.device}, {environment.machine}, {environment.n_threads} threads",
        wall_seconds=round(sum(made.steps_seconds.values()), 1),
        details={
            "model weights": run.inputs["model"],
            "corpus": run.inputs["corpus"],
            "dictionary": made.trained.dictionary.digest,
            "python": environment.python,
        },
    )
    corpus = made.materials.corpus
    subtitle = (
        f"{made.materials.model.name} at {made.spec.site} · {corpus.name}, {corpus.n_rows:,} rows, "
        f"{made.cache.n_samples:,} samples · {made.trained.dictionary.n_features:,} features"
    )
    return Report(title=spec.title, subtitle=subtitle, blocks=tuple(blocks), provenance=footer)


def _record(
    run: Run, made: MainJob, matches: MatchResult | None, shown: tuple[Shown, ...], measures: tuple[Measure, ...]
) -> None:
    rows = concept_rows(matches) if matches is not None else ()
    run.table("training_history", made.trained.history)
    if rows:
        run.table("concepts", {name: [getattr(row, name) for row in rows] for name in ConceptRow.model_fields})
    run.steps_seconds.update(made.steps_seconds)
    n_compared = 0 if matches is None else len(matches.matches) * made.trained.dictionary.n_features
    run.finish(
        {
            "measures": [measure.to_json() for measure in measures],
            "concepts": [row.to_json() for row in rows],
            "evaluation": made.held_out.evaluation.to_json(),
            "pca_control": asdict(made.held_out.control) if made.held_out.control else None,
            "splice": made.splice.to_json() if made.splice else None,
            "shown": [item.to_json() for item in shown],
        },
        activations={made.cache.site: {"key_digest": made.cache.key_digest, "n_samples": made.cache.n_samples}},
        outputs={
            "dictionary": made.trained.dictionary.digest,
            **{f"{SUBJECT}{name}": str(value) for name, value in made.entry.to_json().items() if value is not None},
        },
        seeds=_seeds(made),
        controls=_controls(made, has_matches=bool(rows)),
        n_comparisons=n_compared,
    )


def _controls(made: MainJob, *, has_matches: bool) -> list[str]:
    """Every control that was really run."""
    controls = list(MATCH_CONTROLS) if has_matches else []
    controls += SPLICE_CONTROLS if made.splice is not None else []
    return [*controls, *(["as many principal components, for FVU"] if made.held_out.control is not None else [])]


def _seeds(made: MainJob) -> dict[str, int]:
    seeds = {"root": made.spec.seed, "training": made.spec.train.seed}
    if made.splice is not None:
        seeds |= {
            "splice rows": derive_seed(made.spec.seed, SPLICE_ROWS),
            "splice bootstrap": made.splice.settings.seed,
        }
    return seeds


def _entry_of(run: Run) -> SubjectEntry | None:
    outputs = run.artifacts().outputs
    names = {name.removeprefix(SUBJECT): value for name, value in outputs.items() if name.startswith(SUBJECT)}
    return SubjectEntry.parse(names) if names else None


def _is_whole(workspace: Workspace, entry: SubjectEntry) -> bool:
    folders = [entry.corpus, entry.activations, entry.dictionary]
    if any(folder is None or not is_complete(workspace.resolve(folder)) for folder in folders):
        return False
    if entry.store is None:
        return False
    pointer = workspace.resolve(entry.store) / "CURRENT"
    return pointer.is_file() and is_complete(pointer.parent / pointer.read_text(encoding="utf-8").strip())


def _summary(run: Run, job: MainJobSpec, title: str, *, was_reused: bool, wall_seconds: float) -> ReportedJob:
    metrics = run.metrics()
    return ReportedJob(
        subject=job.subject,
        title=title,
        report=str(run.folder / "report.html"),
        run=str(run.folder),
        was_reused=was_reused,
        measures=tuple(Measure.parse(value) for value in metrics["measures"]),
        concepts=tuple(ConceptRow.parse(value) for value in metrics["concepts"]),
        shown=tuple(item["feature"] for item in metrics["shown"]),
        wall_seconds=round(wall_seconds, 2),
    )
