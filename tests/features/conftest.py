"""Inputs that every test here may read; they are built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feature_cases import opened, set_corpus, set_model, text_corpus, text_model

from mechscope.features.inputs import FeatureInputs


@pytest.fixture(scope="session")
def set_inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    with opened(set_model(), set_corpus(), "pooled", tmp_path_factory.mktemp("sets")) as inputs:
        yield inputs


@pytest.fixture(scope="session")
def text_inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    corpus = text_corpus()
    model = text_model(len(corpus.vocabulary))
    with opened(model, corpus, "resid_post:0", tmp_path_factory.mktemp("texts")) as inputs:
        yield inputs
