"""The shipped splatoon model, and a feature in the direction of a planted playstyle: its cores are of its abilities."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from mechscope.activations import CollectSpec, collect
from mechscope.corpora.domain_for import domain_for
from mechscope.corpora.domains.splatoon.playstyles import PLANTED
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.features.build import build_features
from mechscope.features.inputs import FeatureInputs
from mechscope.models import Model
from mechscope.store.sparse import StoreSpec

STYLES = ("bomb_spammer", "zombie_slayer")
ACTIVE = 0.1


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentContext]:
    """3000 builds, and a feature for each style: the mean of its builds less that of the others, a tenth active."""
    root = tmp_path_factory.mktemp("playstyles")
    model = Model.open(str(Path(str(files("mechscope"))) / "subjects_data" / "splatoon"))
    corpus = SplatoonSource(n_rows=3000, seed=6).build()
    cache = next(iter(collect(model, corpus, CollectSpec(sites=["pooled"]), root / "activations").values()))
    values = torch.as_tensor(cache.read(np.arange(cache.n_samples))).float()
    spec = DictionarySpec(architecture="relu", d_in=cache.d_in, n_features=len(STYLES))
    dictionary = Dictionary.random(spec, seed=0)
    with torch.no_grad():
        for feature, style in enumerate(STYLES):
            has = torch.as_tensor(corpus.column(style).astype(bool))
            direction = values[has].mean(0) - values[~has].mean(0)
            dictionary.W_enc[:, feature] = direction
            dictionary.b_enc[feature] = -torch.quantile(values @ direction, 1 - ACTIVE)
        dictionary.b_dec.zero_()
    build_features(cache, corpus, dictionary, root / "store", model=model, spec=StoreSpec()).close()
    inputs = FeatureInputs.open(root / "store", corpus, dictionary, model=model, cache=cache)
    with ExperimentContext("splatoon", inputs, domain_for(corpus), model_source=model) as context:
        yield context


def run(subject: ExperimentContext, kind: str, feature: int) -> ExperimentResult:
    result = get_runner_for_type(kind).run(ExperimentSpec(type=kind, feature_id=feature), subject)
    assert result.success, result.error_message
    return result


def abilities(sets: list[str]) -> list[set[str]]:
    return [{part.rstrip("0123456789").rstrip("_") for part in one.split(" + ")} for one in sets]


@pytest.mark.parametrize("feature", range(len(STYLES)))
def test_cores_and_itemsets_are_of_the_planted_abilities(subject: ExperimentContext, feature: int) -> None:
    style = next(style for style in PLANTED if style.name == STYLES[feature])
    wanted = {*style.mains, *style.extras}
    found = run(subject, "minimal_cores", feature)
    confirmed = found.aggregates.custom["confirmed_cores"]
    assert isinstance(confirmed, list)
    assert len(confirmed) >= 1
    assert all(core <= wanted for core in abilities([str(core) for core in confirmed]))
    itemsets = [row for row in run(subject, "frequent_itemsets", feature).tables["itemsets"].rows if row["confirmed"]]
    assert len(itemsets) >= 5
    assert all(one <= wanted for one in abilities([str(row["items"]) for row in itemsets]))
