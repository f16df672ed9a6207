"""Training of dictionaries: specs, sources, the loop."""

from mechscope.training.loop import TrainResult, train, train_key
from mechscope.training.sources import ArraySource, SampleSource
from mechscope.training.specs import TrainSpec

__all__ = ["ArraySource", "SampleSource", "TrainResult", "TrainSpec", "train", "train_key"]
