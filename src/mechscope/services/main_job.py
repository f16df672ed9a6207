"""The main job: a model and a corpus to a dictionary, its feature store and its evaluation. Every step is cached.

    open and verify the model -> corpus -> collect -> train -> evaluate -> build

Each step names its folder by the digest of what it is made from, so that a second call reuses it and an interrupted
one goes on where it stopped. Training sees the rows of the "train" split alone; evaluation sees none of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mechscope.activations import ActivationCache, CollectSpec, collect
from mechscope.core import SILENT, BadDataError, Progress, Spec, UsageError, numpy_generator
from mechscope.corpora import Corpus, CorpusSpec, make_corpus
from mechscope.features import FeatureInputs, build_features, store_key
from mechscope.models import Model
from mechscope.services.held_out import HeldOut, evaluate_held_out, held_out_rows, train_rows
from mechscope.store import artifact_folder
from mechscope.training import (
    SpliceEvaluation,
    TrainResult,
    TrainSpec,
    evaluate_splice,
    train,
    train_key,
)
from mechscope.workspace import SubjectEntry, Workspace

__all__ = [
    "SPLICE_ROWS",
    "MainJob",
    "MainJobSpec",
    "Materials",
    "open_materials",
    "require_runnable",
    "run_main_job",
]

SPLICE_ROWS = "splice rows"


class MainJobSpec(Spec):
    """Everything that decides the result of the main job.

    subject: the name that the workspace gives to the bundle.
    model: a shipped subject's name, a folder or a hub id.
    site: one site selector.
    corpus: what to read.
    token_policy, policy_options, dtype: of the collection.
    train: of the dictionary.
    evaluation_rows: held-out rows on which the reconstruction is spliced into the model.
    """

    subject: str
    model: str
    site: str
    corpus: CorpusSpec
    token_policy: str = "all"
    policy_options: dict[str, Any] = {}
    dtype: Literal["float32", "bfloat16"] = "float32"
    train: TrainSpec
    evaluation_rows: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Materials:
    """The opened model and corpus."""

    model: Model
    corpus: Corpus
    corpus_folder: Path


@dataclass
class MainJob:
    """Everything the main job made, opened."""

    spec: MainJobSpec
    materials: Materials
    cache: ActivationCache
    trained: TrainResult
    held_out: HeldOut
    splice: SpliceEvaluation | None
    inputs: FeatureInputs
    entry: SubjectEntry
    steps_seconds: dict[str, float] = field(default_factory=dict)


def open_materials(workspace: Workspace, spec: MainJobSpec, progress: Progress = SILENT) -> Materials:
    """Open and verify the model; make or reuse the corpus."""
    model = Model.open(spec.model)
    corpus, folder = make_corpus(spec.corpus, workspace.corpora, progress=progress)
    return Materials(model, corpus, folder)


def run_main_job(workspace: Workspace, spec: MainJobSpec, materials: Materials, progress: Progress = SILENT) -> MainJob:
    """Run every step that is not there yet, and name the result in the workspace."""
    model, corpus = materials.model, materials.corpus
    require_runnable(spec, materials)
    seconds: dict[str, float] = {}
    with _timed(seconds, "collect"):
        asked = CollectSpec(
            sites=[spec.site], token_policy=spec.token_policy, policy_options=spec.policy_options, dtype=spec.dtype
        )
        (cache,) = collect(model, corpus, asked, workspace.activations, progress).values()
    with _timed(seconds, "train"):
        source = cache.restricted(train_rows(corpus))
        folder = artifact_folder(workspace.dictionaries, train_key(source, spec.train))
        trained = train(source, spec.train, folder, progress)
    with _timed(seconds, "evaluate"):
        held_out = evaluate_held_out(trained.dictionary, cache, corpus, progress)
        splice = _splice(spec, materials, trained, progress)
    with _timed(seconds, "build"):
        key = store_key(cache, corpus, trained.dictionary, model=model)
        folder = artifact_folder(workspace.stores, key)
        build_features(cache, corpus, trained.dictionary, folder, model=model, progress=progress).close()
    entry = SubjectEntry(
        model=spec.model,
        site=spec.site,
        corpus=workspace.relative(materials.corpus_folder),
        activations=workspace.relative(cache.folder),
        dictionary=workspace.relative(trained.folder),
        store=workspace.relative(folder),
    )
    workspace.set_subject(spec.subject, entry)
    inputs = FeatureInputs.open(folder, corpus, trained.dictionary, model=model, cache=cache)
    return MainJob(spec, materials, cache, trained, held_out, splice, inputs, entry, seconds)


def _splice(
    spec: MainJobSpec, materials: Materials, trained: TrainResult, progress: Progress
) -> SpliceEvaluation | None:
    model = materials.model
    if model.kind not in {"causal_lm", "set"}:
        progress.say(f"loss recovered is not measured: a model of kind {model.kind!r} has no such loss")
        return None
    rows = np.flatnonzero(held_out_rows(materials.corpus))
    if len(rows) > spec.evaluation_rows:
        rows = np.sort(numpy_generator(spec.seed, SPLICE_ROWS).choice(rows, spec.evaluation_rows, replace=False))
    (site,) = model.parse_sites(spec.site)
    return evaluate_splice(trained.dictionary, model, corpus=materials.corpus, rows=rows, site=site, progress=progress)


def require_runnable(spec: MainJobSpec, materials: Materials) -> None:
    """Refuse, before any work, what would fail at its end: no held-out row, or a site that is not one vector.

    Raises:
        BadDataError: too few rows to train on and to hold out.
        UsageError: the site has heads or other axes.
    """
    corpus = materials.corpus
    n_train, n_held_out = int(train_rows(corpus).sum()), int(held_out_rows(corpus).sum())
    if not n_train or not n_held_out:
        raise BadDataError(
            f"corpus {corpus.name!r} has {corpus.n_rows} rows: {n_train} to train on, {n_held_out} held out",
            expected="at least one of each (three rows or more)",
            todo="give more text, or shorter blocks with --block-length",
        )
    (site,) = materials.model.parse_sites(spec.site)
    shape = materials.model.site_shape(site)
    if len(shape) != 1:
        raise UsageError(
            f"site {site} holds values of shape {shape} at a position",
            expected="one vector a position, such as resid_post:L, attn_out:L, mlp_out:L or mlp_post:L",
            todo="choose such a site",
        )


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
