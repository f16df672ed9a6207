"""The demo's splatoon subject made small, and what experiments on its features say of the planted playstyles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mechscope.corpora import CorpusSpec
from mechscope.corpora.domains.splatoon.playstyles import PLANTED
from mechscope.experiments import ExperimentContext, ExperimentResult
from mechscope.features.matches import MatchSpec
from mechscope.features.matching import match_concepts
from mechscope.services.demo import demo_job
from mechscope.services.main_job import open_materials, run_main_job
from mechscope.testing.planted_builds import run_kind
from mechscope.workspace import Workspace

__all__ = ["RUNGS", "enhancers_of", "make_trained_builds", "sweeps_of_planted_families"]

RUNGS = (3, 6, 12, 15)


def make_trained_builds(folder: Path, *, seed: int, n_rows: int = 16_000, n_steps: int = 500) -> dict[str, int]:
    """Run the demo's job in a new workspace in `folder`; returns concept -> feature of the playstyles that count.

    Args:
        seed: of corpus, split and dictionary. n_rows, n_steps: the demo has 40 000 and 1000.
    """
    workspace, job = Workspace.create(folder), demo_job("splatoon", seed=seed)
    corpus = CorpusSpec(source="splatoon", options={"n_rows": n_rows, "seed": seed})
    job = job.updated(corpus=corpus, train=job.train.updated(n_steps=n_steps), evaluation_rows=64)
    made = run_main_job(workspace, job, open_materials(workspace, job))
    with made.inputs:
        matches = match_concepts(made.inputs, spec=MatchSpec(seed=seed)).matches
    styles = {style.name for style in PLANTED}
    return {one.concept: one.feature.candidate for one in matches if one.counts and one.concept in styles}


def sweeps_of_planted_families(
    context: ExperimentContext, features: Mapping[str, int], *, n_bases: int = 80
) -> dict[tuple[str, str], ExperimentResult]:
    """(playstyle, family) -> sweep of its feature over that family, for every family planted in its sub slots."""
    return {
        (style.name, family): run_kind(context, "family_1d_sweep", features[style.name], n_bases=n_bases,
                                       family=family, rungs=list(RUNGS), observed_beside=False)
        for style in PLANTED if style.name in features
        for family in style.extras
    }  # fmt: skip


def enhancers_of(context: ExperimentContext, feature: int, *, n_bases: int = 60) -> tuple[list[str], list[str]]:
    """Enhancers and suppressors by token influence, families by name, the strongest first."""
    custom = run_kind(context, "token_influence", feature, n_bases=n_bases, top_k=60).aggregates.custom
    lists = []
    for name in ("enhancers", "suppressors"):
        tokens = custom[name]
        assert isinstance(tokens, list)
        lists.append(list(dict.fromkeys(_stem(str(token)) for token in tokens)))
    return lists[0], lists[1]


def _stem(token: str) -> str:
    head, _, last = token.rpartition("_")
    return head if last.isdigit() else token
