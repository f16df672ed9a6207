"""Dataset slices against filters written out row by row; every step counted; nothing left is an error that names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.core import NotFoundError, UsageError
from mechscope.experiments import ExperimentContext, ExperimentSpec, Findings
from mechscope.experiments.observing.slicing import Slice, slice_rows
from mechscope.testing.planted_features import plant_feature


def sliced(context: ExperimentContext, *, seed: int = 0, feature: int | None = None, **wanted: Any) -> Slice:
    feature = int(context.inputs.store.counts().argmax()) if feature is None else feature
    spec = ExperimentSpec.parse({"type": "x", "feature_id": feature, "dataset_slice": wanted, "seed": seed})
    findings = Findings()
    found = slice_rows(spec, context, findings)
    counts = [n for step, n in findings.rows.items() if step != "active among them"]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == len(found)
    assert findings.rows["active among them"] == int((found.values > 0).sum())
    return found


def test_a_slice_without_filters_is_every_row(builds: ExperimentContext) -> None:
    found = sliced(builds)
    np.testing.assert_array_equal(found.rows, np.arange(builds.corpus.n_rows))
    np.testing.assert_array_equal(found.values, builds.row_activations(int(builds.inputs.store.counts().argmax())))


def test_filters_equal_their_slow_versions(builds: ExperimentContext) -> None:
    weapons = builds.corpus.column("weapon").astype(str)
    some, other = weapons[3], next(name for name in weapons if name != weapons[3])
    found = sliced(
        builds,
        exclude_weapons=[some.upper()],
        exclude_groups={"special": [str(builds.corpus.column("special")[9])]},
        families={"swim_speed_up": 6},
        exclude_families=["quick_respawn"],
    )
    expected = []
    for row, context in enumerate(builds.contexts_of(np.arange(builds.corpus.n_rows))):
        fits = weapons[row] != some and builds.corpus.column("special")[row] != builds.corpus.column("special")[9]
        fits &= builds.domain.rung(context, "swim_speed_up") >= 6 and not builds.domain.rung(context, "quick_respawn")
        expected += [row] if fits else []
    assert 0 < len(expected) < 500
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(
        sliced(builds, weapons=[some, other]).rows, np.flatnonzero(np.isin(weapons, [some, other]))
    )
    assert {
        builds.domain.group(one, "class")
        for one in builds.contexts_of(sliced(builds, groups={"class": ["Rollers"]}).rows)
    } == {"Rollers"}


def test_percentiles_bound_the_active_rows_and_keep_the_zeros(builds: ExperimentContext) -> None:
    values = builds.row_activations(int(builds.inputs.store.counts().argmax()))
    low, high = np.percentile(values[values > 0], [10, 90])
    inside = (values >= low) & (values <= high)
    np.testing.assert_array_equal(
        sliced(builds, percentile_min=10, percentile_max=90).rows, np.flatnonzero(inside | (values == 0))
    )
    np.testing.assert_array_equal(
        sliced(builds, percentile_min=10, percentile_max=90, zeros=False).rows, np.flatnonzero(inside)
    )
    low, high = np.percentile(values, [95, 99])
    found = sliced(builds, percentile_min=95, percentile_max=99, percentiles_of="all")
    np.testing.assert_array_equal(found.rows, np.flatnonzero((values >= low) & (values <= high)))
    assert (sliced(builds, activation_threshold=0.1).values >= 0.1).all()


def test_samples_are_drawn_by_the_seed(builds: ExperimentContext) -> None:
    first, again = sliced(builds, sample_size=50), sliced(builds, sample_size=50)
    np.testing.assert_array_equal(first.rows, again.rows)
    assert len(np.unique(first.rows)) == 50
    assert not np.array_equal(first.rows, sliced(builds, sample_size=50, seed=1).rows)
    np.testing.assert_array_equal(np.intersect1d(first.rows, np.arange(1500)), first.rows)
    assert len(sliced(builds, sample_size=10**6)) == builds.corpus.n_rows


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (
            {"activation_threshold": 1e9},
            UsageError,
            "the dataset slice is empty: activation_threshold left none of 1,500",
        ),
        ({"families": {"swim_speed_up": 57}}, UsageError, "families swim_speed_up left none"),
        ({"weapons": ["Octobrush Noveau"]}, NotFoundError, "did you mean"),
        ({"groups": {"wepon": ["x"]}}, NotFoundError, "did you mean 'weapon'"),
        ({"families": ["swim_sped_up"]}, NotFoundError, "did you mean 'swim_speed_up'"),
    ],
)
def test_what_leaves_nothing_says_so(
    wanted: dict[str, Any], error: type[Exception], message: str, builds: ExperimentContext
) -> None:
    with pytest.raises(error, match=message):
        sliced(builds, **wanted)


def test_a_feature_that_is_never_active_is_refused(builds: ExperimentContext) -> None:
    silent = plant_feature(builds.inputs, 5, lambda _: 0.0)
    with pytest.raises(UsageError, match="feature 5 is zero in every row of 'planted'"):
        sliced(silent, feature=5)


@pytest.mark.parametrize("subject", ["builds", "sentences"])
def test_rungs_of_rows_equal_those_of_the_domain(subject: str, request: pytest.FixtureRequest) -> None:
    context: ExperimentContext = request.getfixturevalue(subject)
    rows = context.contexts_of(np.arange(context.corpus.n_rows))
    for family in context.domain.families:
        expected = [context.domain.rung(row, family) for row in rows]
        np.testing.assert_array_equal(context.family_rungs(family), expected)
    for token in (0, 5, len(context.corpus.vocabulary) - 1):
        np.testing.assert_array_equal(context.rows_with(token), [token in row.tokens for row in rows])
