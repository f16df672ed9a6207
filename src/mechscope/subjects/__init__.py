"""The subjects that ship with the package: how each was trained."""

from mechscope.subjects.language_models import (
    LanguageModelTrainSpec,
    causal_losses,
    computing_threads,
    save_language_model,
    train_causal_lm,
)

__all__ = [
    "LanguageModelTrainSpec",
    "causal_losses",
    "computing_threads",
    "save_language_model",
    "train_causal_lm",
]
