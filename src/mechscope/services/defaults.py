"""Defaults of the main job, chosen from the size of the model and of the corpus, each with its reason in words."""

from __future__ import annotations

from mechscope.core import Spec
from mechscope.training import TrainSpec

__all__ = ["Choice", "ChosenDefaults", "choose_defaults"]

SAMPLES_PER_FEATURE_SEEN = 500
SAMPLES_SEEN_MIN, SAMPLES_SEEN_MAX = 200_000, 4_000_000
SAMPLES_PER_FEATURE_HELD = 20
FEATURES_ROUNDED_TO = 64
# (largest d_in, expansion, features kept a sample)
WIDTHS = ((128, 16.0, 16), (512, 8.0, 32), (1024, 8.0, 32), (1 << 30, 4.0, 64))


class Choice(Spec):
    """One setting that was chosen, and why."""

    setting: str
    value: str
    reason: str


class ChosenDefaults(Spec):
    """What `choose_defaults` found."""

    site: str
    train: TrainSpec
    choices: tuple[Choice, ...]


def choose_defaults(
    *, n_layers: int, d_model: int, n_samples: int, site: str | None, seed: int, n_features: int | None = None
) -> ChosenDefaults:
    """A site and training settings for a dictionary on a model of this size.

    Args:
        n_layers, d_model: of the model.
        n_samples: activation vectors that the corpus gives for training.
        site: the site asked for, or None for the middle of the residual stream.
        seed: of the training.
        n_features: the width asked for, or None to choose it.
    """
    choices: list[Choice] = []
    if site is None:
        site = f"resid_post:{max(0, (n_layers - 1) // 2)}" if n_layers else "pooled"
        choices.append(Choice(setting="site", value=site, reason=f"the middle of {n_layers} blocks"))
    expansion, k = next((expansion, k) for widest, expansion, k in WIDTHS if d_model <= widest)
    n_features = n_features or _choose_width(d_model, expansion, n_samples, choices)
    k = max(1, min(k, n_features // 4))
    choices.append(Choice(setting="k", value=str(k), reason=f"features kept a sample, for width {d_model}"))
    seen = min(max(SAMPLES_PER_FEATURE_SEEN * n_features, SAMPLES_SEEN_MIN), SAMPLES_SEEN_MAX)
    batch_size = 1024 if n_samples >= 20_000 else 256
    n_steps = max(200, seen // batch_size)
    choices.append(
        Choice(
            setting="n_steps",
            value=f"{n_steps:,}",
            reason=f"{SAMPLES_PER_FEATURE_SEEN} samples a feature, between "
            f"{SAMPLES_SEEN_MIN:,} and {SAMPLES_SEEN_MAX:,} in all, in batches of {batch_size:,}",
        )
    )
    train = TrainSpec(
        architecture="topk", n_features=n_features, k=k, n_steps=n_steps, batch_size=batch_size, lr=3e-3, seed=seed
    )
    return ChosenDefaults(site=site, train=train, choices=tuple(choices))


def _choose_width(d_model: int, expansion: float, n_samples: int, choices: list[Choice]) -> int:
    wanted = round(expansion * d_model / FEATURES_ROUNDED_TO) * FEATURES_ROUNDED_TO
    affordable = max(FEATURES_ROUNDED_TO, n_samples // SAMPLES_PER_FEATURE_HELD)
    n_features = max(FEATURES_ROUNDED_TO, min(wanted, affordable) // FEATURES_ROUNDED_TO * FEATURES_ROUNDED_TO)
    reason = f"{expansion:g} x d_model {d_model}"
    if affordable < wanted:
        reason = f"{n_samples:,} samples give {SAMPLES_PER_FEATURE_HELD} a feature"
    choices.append(Choice(setting="n_features", value=f"{n_features:,}", reason=reason))
    return n_features
