"""Ready-made tables: how a model's sites passed verification, and which features resemble one."""

from __future__ import annotations

from collections.abc import Sequence

from mechscope.core import Spec
from mechscope.reports.markup import show_token
from mechscope.reports.table_block import Cell, Column, Table

__all__ = ["Check", "SimilarFeature", "similar_features_table", "verification_table"]


class Check(Spec):
    """One numerical check of a model at open: the largest difference seen against the one allowed."""

    check: str
    site: str = ""
    passed: bool
    error: float | None = None
    tolerance: float | None = None
    reason: str = ""


class SimilarFeature(Spec):
    """A feature that resembles another, by each measure that was taken."""

    feature: int
    decoder_cosine: float | None = None
    coactivation: float | None = None
    token_overlap: float | None = None
    top_tokens: tuple[str, ...] = ()
    label: str = ""


def verification_table(checks: Sequence[Check], *, model: str, title: str = "Verification of the model") -> Table:
    """What was checked when the model was opened, and what was refused."""
    columns = (
        Column(name="check"),
        Column(name="site", form="code"),
        Column(name="passed"),
        Column(name="largest difference", form="number"),
        Column(name="allowed", form="number"),
        Column(name="remark"),
    )
    rows: list[tuple[Cell, ...]] = [
        (check.check, check.site or None, check.passed, check.error, check.tolerance, check.reason) for check in checks
    ]
    n_passed = sum(check.passed for check in checks)
    caption = f"{model}: {n_passed} of {len(checks)} checks passed; a site that fails is refused and the others stay."
    note = f"{model} was opened without verification."
    return Table(columns=columns, rows=tuple(rows), title=title, caption=caption if checks else "", empty_note=note)


def similar_features_table(
    features: Sequence[SimilarFeature], *, n_samples: int | None = None, title: str = "Similar features"
) -> Table:
    """Neighbours of a feature with decoder cosine, co-activation, shared top tokens and their own top tokens."""
    columns = (
        Column(name="feature", form="feature"),
        Column(name="decoder cosine", form="number", digits=3),
        Column(name="co-activation", form="number", digits=3, help="correlation over all samples, zeros included"),
        Column(name="shared top tokens", form="percent", digits=0),
        Column(name="top tokens"),
        Column(name="label"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            f.feature,
            f.decoder_cosine,
            f.coactivation,
            f.token_overlap,
            "  ".join(map(show_token, f.top_tokens)),
            f.label,
        )
        for f in features
    ]
    counted = f" Co-activation over {n_samples:,} samples." if n_samples is not None else ""
    caption = f"{len(features)} nearest features.{counted}" if features else ""
    return Table(
        columns=columns, rows=tuple(rows), title=title, caption=caption, empty_note="No similar feature is known."
    )
