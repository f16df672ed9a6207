"""`mechscope demo`: the main job on a subject that ships with the package."""

from __future__ import annotations

from mechscope.core import SILENT, Progress, unknown_name
from mechscope.corpora import CorpusSpec
from mechscope.services.demo_jobs import DEMO_JOBS
from mechscope.services.main_job import MainJobSpec, open_materials
from mechscope.services.reported import ReportedJob, run_reported_job
from mechscope.workspace import Workspace

__all__ = ["demo", "demo_job"]

TITLES = {
    "splatoon": "What a gear-completion transformer knows",
    "agreement": "What a small grammar model knows",
    "pydocs": "What a small model of Python's own text knows",
}


def demo_job(subject: str, *, seed: int = 0) -> MainJobSpec:
    """The demo's job; another seed draws another corpus, another split of it and another dictionary."""
    if subject not in DEMO_JOBS:
        raise unknown_name("subject", subject, DEMO_JOBS)
    job = DEMO_JOBS[subject]
    corpus = CorpusSpec(source=job.corpus.source, options={**job.corpus.options, "seed": seed})
    return job.updated(corpus=corpus, train=job.train.updated(seed=seed), seed=seed)


def demo(workspace: Workspace, subject: str, *, seed: int = 0, progress: Progress = SILENT) -> ReportedJob:
    """Run the demo, or reuse it: a second run takes seconds."""
    job = demo_job(subject, seed=seed)
    return run_reported_job(
        workspace,
        job,
        open_materials(workspace, job, progress),
        title=TITLES[subject],
        choices=(),
        command=f"mechscope demo --subject {subject} --seed {seed}",
        n_shown=12 if subject == "pydocs" else 8,
        progress=progress,
    )
