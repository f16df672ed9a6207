"""Collect a corpus at sites of a model into the dense cache, and read it back."""

from mechscope.activations.batching import make_batches
from mechscope.activations.cache import ActivationCache, Shard
from mechscope.activations.collecting import CollectSpec, collect
from mechscope.activations.policy import TokenPolicy
from mechscope.activations.shuffling import ShuffledReader

__all__ = [
    "ActivationCache",
    "CollectSpec",
    "Shard",
    "ShuffledReader",
    "TokenPolicy",
    "collect",
    "make_batches",
]
