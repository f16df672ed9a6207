"""A subject's feature store opened with what it was made from."""

from __future__ import annotations

from pathlib import Path

from mechscope.core import NotFoundError
from mechscope.corpora import load_corpus
from mechscope.dictionaries import Dictionary
from mechscope.features import FeatureInputs
from mechscope.workspace.subjects import SubjectEntry
from mechscope.workspace.workspaces import Workspace

__all__ = ["open_features", "subject_named", "subject_part"]


def subject_named(workspace: Workspace, name: str | None) -> tuple[str, SubjectEntry]:
    """A subject by name; the only one when no name is given. Raises UsageError or NotFoundError."""
    found = workspace.only_subject() if name is None else name
    return found, workspace.subject(found)


def open_features(workspace: Workspace, name: str | None) -> FeatureInputs:
    """The feature store of a subject with what it was made from; no model is opened. Raises NotFoundError."""
    found, entry = subject_named(workspace, name)
    store = subject_part(workspace, found, "store", entry.store, "mechscope features build")
    dictionary = subject_part(workspace, found, "dictionary", entry.dictionary, "mechscope sae train")
    corpus = subject_part(workspace, found, "corpus", entry.corpus, "mechscope explore")
    return FeatureInputs.open(store, load_corpus(corpus), Dictionary.load(dictionary))


def subject_part(workspace: Workspace, subject: str, what: str, relative: str | None, command: str) -> Path:
    """The folder of one part of a subject. Raises NotFoundError, naming the command that makes it."""
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
