"""mechscope: from a model and its data to features, circuits and labels that one can defend."""

__version__ = "0.1.0"
