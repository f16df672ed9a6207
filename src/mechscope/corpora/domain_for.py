"""The domain of a corpus."""

from __future__ import annotations

from pathlib import Path

from mechscope.corpora.corpus import Corpus
from mechscope.corpora.declared_domain import DeclaredDomain
from mechscope.corpora.domain import Domain
from mechscope.corpora.domains.agreement.domain import AgreementDomain
from mechscope.corpora.domains.splatoon.domain import SplatoonDomain

__all__ = ["domain_for"]


def domain_for(corpus: Corpus, *, declared: Path | None = None) -> Domain:
    """What the tokens of a corpus mean.

    Args:
        corpus: its facts name the domain ("splatoon"), or the source that has one ("agreement").
        declared: a YAML file that declares the domain; it goes before what the facts say.

    Without either, the families that the facts list; if there are none, a plain domain with groups alone.
    Raises what the domain raises for a corpus that is not its own, and NotFoundError or UsageError for a bad file.
    """
    if declared is not None:
        return DeclaredDomain.read(corpus, declared)
    if corpus.facts.get("domain") == "splatoon":
        return SplatoonDomain.of(corpus)
    if corpus.facts.get("source") == "agreement":
        return AgreementDomain.of(corpus)
    return DeclaredDomain.of(corpus)
