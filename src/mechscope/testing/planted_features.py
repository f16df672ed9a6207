"""A feature whose activation is a known function of contexts, on a real corpus and domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from mechscope.corpora import Ragged
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext
from mechscope.experiments.changing.activation import ActivationFunction
from mechscope.features import FeatureInputs
from mechscope.store.sparse import FeatureStats, FeatureStore
from mechscope.store.sparse.statistics import FeatureTable, stats_of

__all__ = ["PlantedActivations", "PlantedStore", "plant_feature"]


class PlantedActivations(ActivationFunction):
    """Stands where `ExperimentContext.activations` is: `function` of each context, floored at 0."""

    def __init__(self, function: Callable[[Context], float]) -> None:
        self.function = function
        self.n_forwards = 0

    def __call__(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        """Activations, float64 [n]."""
        return np.asarray(np.maximum(self.before_floor(contexts, feature), 0.0))

    def before_floor(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        """The function itself, negative values and all, float64 [n]."""
        del feature
        self.n_forwards += len(contexts)
        return np.array([self.function(context) for context in contexts], dtype=np.float64)

    def of_rows(self, tokens: Ragged, inputs: Mapping[str, np.ndarray], feature: int) -> np.ndarray:
        """Activations of contexts in arrays, float64 [n]."""
        return np.asarray(np.maximum(self.before_floor_of_rows(tokens, inputs, feature), 0.0))

    def before_floor_of_rows(self, tokens: Ragged, inputs: Mapping[str, np.ndarray], feature: int) -> np.ndarray:
        """The function itself for contexts in arrays, float64 [n]."""
        ids, ends = tokens.ids.tolist(), tokens.indptr.tolist()
        columns = {name: column.tolist() for name, column in inputs.items()}
        contexts = [
            Context(tuple(ids[start:end]), {name: column[at] for name, column in columns.items()})
            for at, (start, end) in enumerate(pairwise(ends))
        ]
        return self.before_floor(contexts, feature)


class PlantedStore(FeatureStore):
    """An open store in which one feature has other activations, and the statistics that a build gives them."""

    def __init__(self, real: FeatureStore, feature: int, of_samples: np.ndarray) -> None:
        self.__dict__.update(real.__dict__)
        self._planted = feature
        self._samples = np.flatnonzero(of_samples).astype(np.uint32)
        self._values = of_samples[self._samples].astype(np.float32)

    def count(self, feature: int) -> int:
        """Non-zeros of one feature."""
        return len(self._samples) if feature == self._planted else super().count(feature)

    def feature(
        self, feature: int, *, buffers: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The non-zeros of one feature; buffers are left alone for the planted one."""
        if feature == self._planted:
            return self._samples, self._values
        return super().feature(feature, buffers=buffers)

    def stats(self, feature: int) -> FeatureStats:
        """Statistics of one feature, those of the planted one measured as a build measures them."""
        if feature != self._planted:
            return super().stats(feature)
        table, indptr = FeatureTable.empty(1, self.spec), np.array([0, len(self._samples)], dtype=np.int64)
        table.measure(0, feature, indptr, self._samples, self._values, self.spec)
        return stats_of({name: array[0] for name, array in table.arrays.items()}, feature, self.n_samples, self.spec)


def plant_feature(inputs: FeatureInputs, feature: int, function: Callable[[Context], float]) -> ExperimentContext:
    """A subject whose feature is this function: stored, summed up in statistics, and computed alike."""
    domain, activations = domain_for(inputs.corpus), PlantedActivations(function)
    rows = ExperimentContext("planted", inputs, domain).contexts_of(np.arange(inputs.corpus.n_rows))
    stored = activations(rows, feature)
    planted = replace(inputs, store=PlantedStore(inputs.store, feature, stored[inputs.tokens.row]))
    context = ExperimentContext("planted", planted, domain, model_source="planted")
    context._row_activations[feature] = stored  # in float64, as it is computed
    context.__dict__["activations"] = activations  # where the cached property keeps it
    return context
