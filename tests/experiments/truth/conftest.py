"""Real builds that every truth test plants features on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feature_cases import opened, set_model

from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.features import FeatureInputs


@pytest.fixture(scope="session")
def gear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    """4000 builds; the model behind them does not matter, since features are planted as functions of builds."""
    with opened(set_model(), SplatoonSource(n_rows=4000, seed=5).build(), "pooled", tmp_path_factory.mktemp("g")) as it:
        yield it
