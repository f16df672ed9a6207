"""A feature whose activation is a known function of contexts, on a real corpus and domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mechscope.corpora.domain import Context
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext
from mechscope.features import FeatureInputs

__all__ = ["PlantedActivations", "plant_feature"]


class PlantedActivations:
    """Stands where `ExperimentContext.activations` is: `function` of each context, floored at 0."""

    def __init__(self, function: Callable[[Context], float]) -> None:
        self.function = function
        self.n_forwards = 0

    def __call__(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        """Activations, float64 [n]."""
        del feature
        self.n_forwards += len(contexts)
        return np.maximum([self.function(context) for context in contexts], 0.0)


def plant_feature(inputs: FeatureInputs, feature: int, function: Callable[[Context], float]) -> ExperimentContext:
    """A subject whose feature is this function, stored and computed alike."""
    context = ExperimentContext("planted", inputs, domain_for(inputs.corpus), model_source="planted")
    activations = PlantedActivations(function)
    rows = np.arange(inputs.corpus.n_rows)
    context._row_activations[feature] = activations(context.contexts_of(rows), feature)
    context.__dict__["activations"] = activations  # where the cached property keeps it
    return context
