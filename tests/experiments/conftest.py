"""Small subjects that every test here may read; they are built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feature_cases import opened, set_corpus, set_model, text_corpus, text_model

from mechscope.activations.policy import read_policy
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentContext]:
    """Gear builds through an untrained set model, pooled."""
    with opened(set_model(), set_corpus(), "pooled", tmp_path_factory.mktemp("builds")) as inputs:
        yield ExperimentContext("builds", inputs, domain_for(inputs.corpus), model_source=inputs.model)


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentContext]:
    """Sentences through an untrained language model, a sample a token."""
    corpus = text_corpus()
    root = tmp_path_factory.mktemp("sentences")
    with opened(text_model(len(corpus.vocabulary)), corpus, "resid_post:0", root) as inputs:
        yield ExperimentContext(
            "sentences", inputs, domain_for(inputs.corpus), model_source=inputs.model, policy=read_policy("all", {})
        )
