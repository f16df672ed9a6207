"""The shipped splatoon model on generated builds, with the stored activation of one feature planted by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mechscope.activations import CollectSpec, collect
from mechscope.corpora.domain_for import domain_for
from mechscope.corpora.domains.splatoon.weapons import weapons
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, get_runner_for_type
from mechscope.features.build import build_features
from mechscope.features.inputs import FeatureInputs
from mechscope.models import Model
from mechscope.store.sparse import StoreSpec
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
SPECIAL_OF = {weapon.name: weapon.special for weapon in weapons()}
SUB_OF = {weapon.name: weapon.sub for weapon in weapons()}


@dataclass(frozen=True, eq=False)
class PlantedContext(ExperimentContext):
    """The subject with other stored activations."""

    planted: np.ndarray | None = None

    def row_activations(self, feature: int) -> np.ndarray:
        return super().row_activations(feature) if self.planted is None else self.planted


@contextmanager
def opened_subject(root: Path) -> Iterator[PlantedContext]:
    """The shipped model, 3000 builds, and a dictionary of random directions."""
    model = Model.open(str(Path(str(files("mechscope"))) / "subjects_data" / "splatoon"))
    corpus = SplatoonSource(n_rows=3000, seed=5).build()
    cache = next(iter(collect(model, corpus, CollectSpec(sites=["pooled"]), root / "activations").values()))
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=cache.d_in, n_features=16, k=8), seed=0)
    with torch.no_grad():
        dictionary.b_dec.copy_(cache.read(np.arange(cache.n_samples)).mean(0))
    build_features(cache, corpus, dictionary, root / "store", model=model, spec=StoreSpec()).close()
    inputs = FeatureInputs.open(root / "store", corpus, dictionary, model=model, cache=cache)
    with PlantedContext("splatoon", inputs, domain_for(corpus), model_source=model) as context:
        yield context


def planted(context: PlantedContext, rule: Callable[[np.ndarray], np.ndarray], *, seed: int = 0) -> PlantedContext:
    """Stored activations: what `rule` gives for the weapons' names, half-normal noise of 0.3, a fifth of rows zero."""
    generator = np.random.default_rng(seed)
    values = rule(context.group_values("weapon")) + np.abs(generator.normal(0, 0.3, context.corpus.n_rows))
    return replace(context, planted=np.where(generator.random(len(values)) < 0.2, 0.0, values))


def run(context: ExperimentContext, kind: str, mode: str | None = None, **variables: Any) -> ExperimentResult:
    slice_size = {"sample_size": 20} if mode == "interventional" else {}
    spec = ExperimentSpec.parse(
        {"type": kind, "feature_id": FEATURE, "mode": mode, "variables": variables, "dataset_slice": slice_size}
    )
    return get_runner_for_type(kind).run(spec, context)


def rows_of(found: ExperimentResult, table: str) -> list[dict[str, Any]]:
    """The rows of a table, its cells typed loosely."""
    return [dict(row) for row in found.tables[table].rows]


def custom_of(found: ExperimentResult) -> dict[str, Any]:
    """The aggregates of the kind alone, typed loosely."""
    return dict(found.aggregates.custom)


def plant_comeback_in_noise(inputs: FeatureInputs, feature: int) -> ExperimentContext:
    """Noise in 60 % of the rows, zero in the others, and 2 more with Comeback."""
    domain = plant_feature(inputs, feature, lambda _: 1.0).domain
    noise = np.random.default_rng(7).exponential(size=inputs.corpus.n_rows)
    is_on = np.random.default_rng(9).random(inputs.corpus.n_rows) < 0.6
    return plant_feature(inputs, feature, lambda c: is_on[c.row] * (noise[c.row] + 2.0 * domain.has(c, "comeback")))
