"""The kinds of plug-in, each with its registry. Packages are named as text, so nothing above is imported."""

from __future__ import annotations

from mechscope.core.errors import unknown_name
from mechscope.core.registry import Registry

__all__ = [
    "ARCHITECTURES",
    "CORPUS_SOURCES",
    "EXPERIMENTS",
    "FAMILIES",
    "KINDS",
    "SIMILARITIES",
    "TOKEN_POLICIES",
    "kind_registry",
]

ARCHITECTURES = Registry("architecture", "mechscope.dictionaries.architectures", "mechscope.architectures")
CORPUS_SOURCES = Registry("corpus source", "mechscope.corpora.sources", "mechscope.corpus_sources")
EXPERIMENTS = Registry("experiment", "mechscope.experiments.kinds", "mechscope.experiments")
FAMILIES = Registry("model family", "mechscope.models.families", "mechscope.families")
SIMILARITIES = Registry("similarity", "mechscope.features.similarities", "mechscope.similarities")
TOKEN_POLICIES = Registry("token policy", "mechscope.activations.policies", "mechscope.token_policies")

KINDS: dict[str, Registry] = {
    "architectures": ARCHITECTURES,
    "corpus-sources": CORPUS_SOURCES,
    "experiments": EXPERIMENTS,
    "families": FAMILIES,
    "similarities": SIMILARITIES,
    "token-policies": TOKEN_POLICIES,
}


def kind_registry(plural: str) -> Registry:
    """The registry of a kind by its plural name. Raises NotFoundError with the nearest name."""
    if plural not in KINDS:
        raise unknown_name("kind", plural, KINDS)
    return KINDS[plural]
