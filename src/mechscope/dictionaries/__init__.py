"""Sparse dictionaries: codes, architectures, weights on disk."""

from mechscope.dictionaries.architecture import Architecture, LossTerms, Pressure, Weights, architecture_of
from mechscope.dictionaries.codes import Codes
from mechscope.dictionaries.dictionary import Dictionary
from mechscope.dictionaries.specs import DictionarySpec

__all__ = [
    "Architecture",
    "Codes",
    "Dictionary",
    "DictionarySpec",
    "LossTerms",
    "Pressure",
    "Weights",
    "architecture_of",
]
