"""Questions about one feature of a subject: overview, decoder, similar. And the build of its feature store."""

from __future__ import annotations

from pathlib import Path

from mechscope.activations import ActivationCache
from mechscope.core import SILENT, Progress, UsageError
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
from mechscope.workspace import Workspace, open_features, subject_named, subject_part

__all__ = ["build_store", "open_features", "subject_named", "view_decoder", "view_overview", "view_similar"]


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
        activations or subject_part(workspace, found, "activations", entry.activations, "mechscope activations collect")
    )
    loaded = Dictionary.load(
        dictionary or subject_part(workspace, found, "dictionary", entry.dictionary, "mechscope sae train")
    )
    corpus = load_corpus(subject_part(workspace, found, "corpus", entry.corpus, "mechscope explore"))
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
