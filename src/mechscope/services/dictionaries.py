"""`sae train` as a service."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mechscope.activations import ActivationCache, CollectSpec, collect
from mechscope.core import SILENT, NotFoundError, Progress, Spec, UsageError, read_mapping
from mechscope.corpora import Corpus, load_corpus
from mechscope.services.held_out import evaluate_held_out, train_rows
from mechscope.services.targets import CorpusRequest, one_site, open_target
from mechscope.store import artifact_folder, atomic_path, read_json
from mechscope.training import Evaluation, TrainSpec, train, train_key
from mechscope.workspace import SubjectEntry, Workspace

__all__ = ["TrainedDictionary", "train_dictionary", "train_settings"]

DEFAULT_K = 32
DEFAULT_EPOCHS = 5


class TrainedDictionary(Spec):
    """A trained dictionary. `evaluation` is on the rows of the "test" split; None when the corpus has no split."""

    folder: str
    site: str | None
    n_features: int
    n_samples_trained: int
    was_reused: bool
    metrics: dict[str, float]
    evaluation: Evaluation | None
    saved_to: str | None


def train_dictionary(
    workspace: Workspace,
    *,
    model: str | None,
    site: str | None,
    request: CorpusRequest,
    spec: TrainSpec,
    activations: Path | None = None,
    save_dir: Path | None = None,
    subject: str | None = None,
    progress: Progress = SILENT,
) -> TrainedDictionary:
    """Train on a cache that is there, or collect it first; name the result in the workspace when a subject is given."""
    if subject is not None and activations is not None and model is None:
        raise UsageError(
            f"subject {subject!r} without a model",
            expected="--model beside --activations, since a subject names the model that its activations come from",
            todo="add --model, or leave --subject away",
        )
    cache, corpus, entry = _source(workspace, model, site, request, activations, progress)
    has_split = corpus is not None and bool(corpus.names_with_role("split", "row"))
    source = cache.restricted(train_rows(corpus)) if corpus is not None and has_split else cache
    folder = artifact_folder(workspace.dictionaries, train_key(source, spec))
    result = train(source, spec, folder, progress)
    evaluation = None
    if corpus is not None and has_split:
        evaluation = evaluate_held_out(result.dictionary, cache, corpus, progress).evaluation
    else:
        progress.say("trained on all rows and not evaluated on held-out ones: no corpus with a split was found")
    if subject is None and model is not None:
        # A subject keeps its dictionary's site; another site is another subject, and needs a name.
        known = workspace.subjects().get(model)
        subject = model if known is not None and known.site == cache.site else None
        if subject is None:
            progress.say("not named in the workspace: give --subject NAME to build features from it")
    if entry is not None and subject is not None:
        workspace.set_subject(subject, entry.updated(dictionary=workspace.relative(folder), store=None))
    return TrainedDictionary(
        folder=str(folder),
        site=cache.site,
        n_features=result.dictionary.n_features,
        n_samples_trained=source.n_samples,
        was_reused=result.was_reused,
        metrics=result.metrics,
        evaluation=evaluation,
        saved_to=_copy(folder, save_dir),
    )


def _source(
    workspace: Workspace,
    model: str | None,
    site: str | None,
    request: CorpusRequest,
    activations: Path | None,
    progress: Progress,
) -> tuple[ActivationCache, Corpus | None, SubjectEntry | None]:
    if activations is not None:
        if not activations.is_dir():
            raise NotFoundError(
                f"no folder {activations}",
                expected="a dense cache",
                todo="make one with `mechscope activations collect`",
            )
        cache = ActivationCache.open(activations)
        found = _corpus_of(workspace, cache)
        corpus, folder = (None, None) if found is None else found
        if model is None:
            return cache, corpus, None
        entry = SubjectEntry(
            model=workspace.subjects()[model].model if model in workspace.subjects() else model,
            site=cache.site,
            corpus=None if folder is None else workspace.relative(folder),
            activations=workspace.relative(cache.folder),
        )
        return cache, corpus, entry
    target = open_target(workspace, model=model, site=site, request=request, progress=progress)
    if target.site is None:
        raise UsageError("no site was named", expected="--site, for example resid_post:3", todo="name one")
    asked = CollectSpec(sites=[str(one_site(target.model, target.site))])
    (cache,) = collect(target.model, target.corpus, asked, workspace.activations, progress).values()
    entry = SubjectEntry(
        model=target.model_source,
        site=cache.site,
        corpus=workspace.relative(target.corpus_folder),
        activations=workspace.relative(cache.folder),
    )
    return cache, target.corpus, entry


def _corpus_of(workspace: Workspace, cache: ActivationCache) -> tuple[Corpus, Path] | None:
    for path in sorted(workspace.corpora.glob("*/manifest.json")):
        if read_json(path)["facts"].get("digest") == cache.key["corpus"]:
            return load_corpus(path.parent), path.parent
    return None


def _copy(folder: Path, save_dir: Path | None) -> str | None:
    if save_dir is None:
        return None
    for name in ("sae_weights.safetensors", "cfg.json"):
        with atomic_path(save_dir / name) as path:
            shutil.copyfile(folder / name, path)
    return str(save_dir)


def train_settings(path: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """Settings from a YAML spec with those of the command line on top; what was not given stays out."""
    settings = {} if path is None else read_mapping(path)
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, other in (("epochs", "n_steps"), ("n_features", "expansion")):
        # The command line wins over the file, also where it says the same thing in another way.
        if (name in chosen) != (other in chosen):
            settings.pop(name, None)
            settings.pop(other, None)
    settings |= chosen
    # An L1 weight means the architecture that has one.
    settings.setdefault("architecture", "relu" if "l1_coefficient" in settings else "topk")
    if settings["architecture"] == "topk":
        settings.setdefault("k", max(1, min(DEFAULT_K, int(settings.get("n_features") or 1 << 30) // 4)))
    if "epochs" not in settings and "n_steps" not in settings:
        settings["epochs"] = DEFAULT_EPOCHS
    return settings
