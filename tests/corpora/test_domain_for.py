from __future__ import annotations

from pathlib import Path

import pytest

from mechscope.core import NotFoundError
from mechscope.corpora import Corpus, Ragged
from mechscope.corpora.declared_domain import DeclaredDomain
from mechscope.corpora.domain import Domain
from mechscope.corpora.domain_for import domain_for
from mechscope.corpora.domain_rows import row_contexts
from mechscope.corpora.domains.agreement.domain import AgreementDomain
from mechscope.corpora.domains.splatoon.domain import SplatoonDomain
from mechscope.corpora.sources.agreement import AgreementSource
from mechscope.corpora.sources.splatoon import SplatoonSource

PLAIN = Corpus("plain", "text", Ragged.from_rows([[0, 1], [1]]), ("a", "b"))
SETS = Corpus(
    "sets",
    "set",
    Ragged.from_rows([[0, 1], [2]]),
    ("x_1", "x_5", "y"),
    facts={"token_families": {"x": ["x_1", "x_5"]}, "binary_tokens": ["y"]},
)


def test_facts_choose_the_domain() -> None:
    splatoon = domain_for(SplatoonSource(n_rows=20, encoding="family").build())
    assert isinstance(splatoon, SplatoonDomain)
    assert len(splatoon.families["quick_respawn"].tokens[-1]) == 1
    assert isinstance(domain_for(AgreementSource(n_rows=5).build()), AgreementDomain)
    plain = domain_for(PLAIN)
    assert (plain.name, dict(plain.families), dict(plain.groups)) == ("plain", {}, {})


def test_facts_may_list_families() -> None:
    domain = domain_for(SETS)
    assert domain.families["x"].rungs == (1, 5)
    base = domain.parse("y")
    assert domain.render(domain.substitute(base, rungs={"x": 5})) == "x_1|x_5|y"


def test_a_declaration_goes_before_the_facts(tmp_path: Path) -> None:
    path = tmp_path / "domain.yaml"
    path.write_text("name: mine\nfamilies: {speed: {rungs: [run_speed_up_3, run_speed_up_6], coding: cumulative}}\n")
    corpus = SplatoonSource(n_rows=20).build()
    domain = domain_for(corpus, declared=path)
    assert isinstance(domain, DeclaredDomain)
    assert (domain.name, list(domain.families)) == ("mine", ["speed"])
    with pytest.raises(NotFoundError, match="no spec file"):
        domain_for(corpus, declared=tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "corpus", [SplatoonSource(n_rows=30).build(), AgreementSource(n_rows=30).build(), PLAIN, SETS], ids=lambda c: c.name
)
def test_every_domain_keeps_the_contract(corpus: Corpus) -> None:
    domain: Domain = domain_for(corpus)
    assert set(domain.settable_groups) <= set(domain.groups)
    for family in domain.families.values():
        assert len(family.rungs) == len(family.tokens)
        assert list(family.rungs) == sorted(set(family.rungs))
        assert family.rungs[0] > 0
        assert family.names == () or len(family.names) == len(family.rungs)
    for values in domain.attributes.values():
        assert domain.attribute_group is not None
        assert tuple(values) == domain.groups[domain.attribute_group]
    for context in row_contexts(corpus, range(corpus.n_rows)):
        assert domain.faults(context) == []
        assert domain.is_legal(context)
        assert domain.parse(domain.render(context)) == context
        assert domain.substitute(context) == context
        assert all(domain.rung(context, name) in (0, *family.rungs) for name, family in domain.families.items())
        for step, neighbour in domain.neighbours(context):
            assert domain.is_legal(neighbour), step
            assert neighbour != context
