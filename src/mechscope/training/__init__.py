"""Training of dictionaries: specs, sources, the loop, and what a dictionary is worth."""

from mechscope.training.clusters import cluster_labels
from mechscope.training.evaluation import Evaluation, evaluate
from mechscope.training.loop import TrainResult, train, train_key
from mechscope.training.sources import ArraySource, SampleSource
from mechscope.training.specs import TrainSpec
from mechscope.training.splice import Estimate, SpliceEvaluation, SpliceSpec, evaluate_splice

__all__ = [
    "ArraySource",
    "Estimate",
    "Evaluation",
    "SampleSource",
    "SpliceEvaluation",
    "SpliceSpec",
    "TrainResult",
    "TrainSpec",
    "cluster_labels",
    "evaluate",
    "evaluate_splice",
    "train",
    "train_key",
]
