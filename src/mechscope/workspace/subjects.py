"""A subject: the named bundle of model, site, corpus, activations, dictionary and feature store."""

from __future__ import annotations

from mechscope.core import Spec

__all__ = ["SubjectEntry"]


class SubjectEntry(Spec):
    """What `[subjects.NAME]` in mechscope.toml says.

    Attributes:
        model: a shipped subject's name, a folder, or a hub id.
        site: where activations are read, such as "resid_post:3".
        corpus: folder of the corpus, relative to the workspace (or absolute); likewise the next three, which are
            None until the step that makes them has run.
        activations: folder of the dense cache.
        dictionary: folder of the trained dictionary.
        store: folder of the feature store.
        domain: YAML file that declares what its tokens mean; None where the corpus tells.
    """

    model: str
    site: str
    corpus: str | None = None
    activations: str | None = None
    dictionary: str | None = None
    store: str | None = None
    domain: str | None = None
