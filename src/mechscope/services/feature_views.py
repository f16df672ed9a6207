"""Questions about one feature of a subject: overview, decoder, similar. And the build of its feature store."""

from __future__ import annotations

from pathlib import Path

from mechscope.activations import ActivationCache
from mechscope.core import SILENT, NotFoundError, Progress, UsageError
from mechscope.corpora import load_corpus
from mechscope.dictionaries import Dictionary
from mechscope.features import (
    DecoderOutputs,
    FeatureInputs,
    FeatureOverview,
    SimilarFeatures,
    build_features,
    decoder_outputs,
    overview,
    similar,
    store_key,
)
from mechscope.models import Model
from mechscope.store import artifact_folder
from mechscope.workspace import SubjectEntry, Workspace

__all__ = ["build_store", "open_features", "subject_named", "view_decoder", "view_overview", "view_similar"]


def subject_named(workspace: Workspace, name: str | None) -> tuple[str, SubjectEntry]:
    """A subject by name; the only one when no name is given. Raises UsageError or NotFoundError."""
    found = workspace.only_subject() if name is None else name
    return found, workspace.subject(found)


def open_features(workspace: Workspace, name: str | None) -> FeatureInputs:
    """The feature store of a subject with what it was made from; no model is opened."""
    found, entry = subject_named(workspace, name)
    store = _part(workspace, found, "store", entry.store, "mechscope features build")
    dictionary = _part(workspace, found, "dictionary", entry.dictionary, "mechscope sae train")
    corpus = _part(workspace, found, "corpus", entry.corpus, "mechscope explore")
    return FeatureInputs.open(store, load_corpus(corpus), Dictionary.load(dictionary))


def view_overview(
    workspace: Workspace, name: str | None, feature: int, *, max_examples: int, everything: bool
) -> FeatureOverview:
    """The overview of one feature."""
    with open_features(workspace, name) as inputs:
        return overview(inputs, feature, max_examples=max_examples, everything=everything)


def view_decoder(workspace: Workspace, name: str | None, feature: int, *, top_k: int) -> DecoderOutputs:
    """Promoted and suppressed outputs of one feature."""
    with open_features(workspace, name) as inputs:
        return decoder_outputs(inputs, feature, n_outputs=top_k)


def view_similar(
    workspace: Workspace, name: str | None, feature: int, *, methods: tuple[str, ...], top_k: int
) -> dict[str, SimilarFeatures]:
    """The most similar features by each method."""
    with open_features(workspace, name) as inputs:
        return {method: similar(inputs, feature, method, top_k=top_k) for method in methods}


def build_store(
    workspace: Workspace,
    name: str | None,
    *,
    activations: Path | None,
    dictionary: Path | None,
    with_model: bool,
    progress: Progress = SILENT,
) -> tuple[str, Path, FeatureInputs]:
    """Build the feature store of a subject, or reuse it; other parts than the subject's own may be given."""
    found, entry = subject_named(workspace, name)
    cache = ActivationCache.open(
        activations or _part(workspace, found, "activations", entry.activations, "mechscope activations collect")
    )
    loaded = Dictionary.load(
        dictionary or _part(workspace, found, "dictionary", entry.dictionary, "mechscope sae train")
    )
    corpus = load_corpus(_part(workspace, found, "corpus", entry.corpus, "mechscope explore"))
    if cache.site != entry.site:
        raise UsageError(
            f"activations of site {cache.site}",
            expected=f"site {entry.site}, where subject {found!r} has its dictionary",
            todo="train a dictionary on them first, with `mechscope sae train --activations ... --subject NAME`",
        )
    model = Model.open(entry.model) if with_model else None
    folder = artifact_folder(workspace.stores, store_key(cache, corpus, loaded, model=model))
    build_features(cache, corpus, loaded, folder, model=model, progress=progress).close()
    changes = {"store": workspace.relative(folder), "activations": workspace.relative(cache.folder)}
    if dictionary is not None:
        changes["dictionary"] = workspace.relative(dictionary)
    workspace.set_subject(found, entry.updated(**changes))
    return found, folder, FeatureInputs.open(folder, corpus, loaded)


def _part(workspace: Workspace, subject: str, what: str, relative: str | None, command: str) -> Path:
    if relative is None:
        raise NotFoundError(
            f"subject {subject!r} has no {what}", expected=f"a {what} folder in mechscope.toml", todo=f"run `{command}`"
        )
    folder = workspace.resolve(relative)
    if not folder.is_dir():
        raise NotFoundError(
            f"the {what} of subject {subject!r} is gone: no folder {folder}",
            expected=f"the folder that mechscope.toml names as its {what}",
            todo=f"run `{command}` again",
        )
    return folder
