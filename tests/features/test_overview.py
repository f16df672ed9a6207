"""The overview against slow, dense versions of each of its numbers, and its words against the rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mechscope.core import NotFoundError
from mechscope.features.activity import REGIONS, Activity
from mechscope.features.flags import binary_tokens, core_coverage, raise_flags
from mechscope.features.inputs import FeatureInputs, infer_families
from mechscope.features.overview import FeatureOverview, overview
from mechscope.store.sparse import CompressedRows, FeatureStore, FeatureStoreWriter

CAUSAL = ("cause", "drives ", "uses ", "because", "leads to")


def dense_column(inputs: FeatureInputs, feature: int) -> np.ndarray:
    column = np.zeros(inputs.store.n_samples)
    samples, values = inputs.store.feature(feature)
    column[samples] = values
    return column


def busiest(inputs: FeatureInputs) -> int:
    return int(inputs.store.counts().argmax())


def holds(inputs: FeatureInputs) -> np.ndarray:
    """Which sample holds which token, dense and slow."""
    table = np.zeros((inputs.store.n_samples, inputs.tokens.d_vocab), bool)
    for sample in range(inputs.store.n_samples):
        row, pos = int(inputs.tokens.row[sample]), int(inputs.tokens.pos[sample])
        ids = inputs.corpus.tokens[row]
        table[sample, ids if pos < 0 else ids[pos]] = True
    return table


@pytest.mark.parametrize("name", ["set_inputs", "text_inputs"])
def test_every_token_number_equals_the_slow_one(name: str, request: pytest.FixtureRequest) -> None:
    inputs: FeatureInputs = request.getfixturevalue(name)
    feature = busiest(inputs)
    column, table = dense_column(inputs, feature), holds(inputs)
    seen = overview(inputs, feature, everything=True)
    is_active = column > 0
    assert seen.tokens.top
    for share in (*seen.tokens.top, *seen.tokens.bottom):
        held = table[:, share.index]
        assert share.name == inputs.corpus.vocabulary[share.index]
        assert (share.n, share.n_with) == (is_active.sum(), (held & is_active).sum())
        assert (share.base_n, share.base_n_with) == (len(held), held.sum())
        assert share.lift == pytest.approx(held[is_active].mean() / held.mean())
        assert share.weighted_share == pytest.approx(column[held].sum() / column.sum())
        assert share.mean == pytest.approx(column[held].mean())  # zeros counted
        assert share.lift is not None
        assert share.lift_low is not None
        assert share.lift_low <= share.lift
        rows_with = np.unique(
            np.repeat(np.arange(inputs.corpus.n_rows), inputs.corpus.tokens.lengths)[
                inputs.corpus.tokens.ids == share.index
            ]
        )
        assert share.idf == pytest.approx(np.log((1 + inputs.corpus.n_rows) / (1 + len(rows_with))) + 1)
    lows = [share.lift_low or 0 for share in seen.tokens.top]
    assert lows == sorted(lows, reverse=True)


def test_regions_equal_the_slow_ones(set_inputs: FeatureInputs) -> None:
    feature = busiest(set_inputs)
    column, table = dense_column(set_inputs, feature), holds(set_inputs)
    effective = np.percentile(column[column > 0], 99.5)
    seen = overview(set_inputs, feature)
    assert sum(region.n for region in seen.regions) == len(column)
    assert sum(region.share for region in seen.regions) == pytest.approx(1)
    weapons = set_inputs.corpus.column("weapon").astype(str)[set_inputs.tokens.row]
    per_region = []
    for region, (name, low, high) in zip(seen.regions, REGIONS, strict=True):
        inside = (column > low * effective) & (column <= (high or np.inf) * effective)
        inside |= (column == 0) & (name == "floor")
        per_region.append(set(weapons[inside].tolist()))
        assert (region.name, region.n) == (name, inside.sum())
        assert region.share_low <= region.share <= region.share_high
        for share in region.tokens:
            assert (share.n, share.n_with) == (inside.sum(), table[inside, share.index].sum())
        groups = next(groups for groups in region.groups if groups.column == "weapon")
        assert groups.n_different == len(per_region[-1])
        for share in groups.leading:
            assert share.n_with == (weapons[inside] == share.name).sum()
    summary = next(group for group in seen.groups if group.column == "weapon")
    assert set(summary.in_all_regions) == set.intersection(*per_region)
    only = per_region[-1] - set.union(*per_region[1:-1])
    assert {share.name for share in summary.only_extreme} <= only
    for share in summary.top:
        assert share.lift == pytest.approx((weapons[column > 0] == share.name).mean() / (weapons == share.name).mean())


def test_families_and_their_rungs(set_inputs: FeatureInputs) -> None:
    feature = busiest(set_inputs)
    column, table = dense_column(set_inputs, feature), holds(set_inputs)
    names = list(set_inputs.corpus.vocabulary)
    assert len(set_inputs.families) == 14
    assert len(set_inputs.binary_tokens) == 12
    for family in overview(set_inputs, feature, everything=True).families:
        ids = [names.index(token) for token in set_inputs.families[family.share.name]]
        held = table[:, ids].any(axis=1)
        assert family.share.n_with == (held & (column > 0)).sum()
        rungs = (table[:, ids] * np.arange(1, 10)).max(axis=1)
        assert family.base_mean_top_rung == pytest.approx(rungs[held].mean())
        assert family.mean_top_rung == pytest.approx(rungs[held & (column > 0)].mean())


def test_families_are_inferred_from_names() -> None:
    names = ("swim_3", "swim_12", "swim_6", "alone_3", "haunt", "<PAD>")
    assert infer_families(names) == {"swim": ("swim_3", "swim_6", "swim_12")}


def test_text_examples_show_the_activation_of_each_token(text_inputs: FeatureInputs) -> None:
    feature = busiest(text_inputs)
    column = dense_column(text_inputs, feature)
    seen = overview(text_inputs, feature, max_examples=5)
    top = [example for example in seen.examples if example.source == "top"]
    assert len(top) == 5
    assert len({example.row for example in top}) == 5
    assert top[0].activation == pytest.approx(column.max())
    sample_of = {
        (int(r), int(p)): i for i, (r, p) in enumerate(zip(text_inputs.tokens.row, text_inputs.tokens.pos, strict=True))
    }
    for example in seen.examples:
        assert example.focus is not None
        assert example.activations[example.focus] == pytest.approx(example.activation)
        assert example.first_pos + example.focus == example.pos
        for at, (token, value) in enumerate(zip(example.tokens, example.activations, strict=True)):
            pos = example.first_pos + at
            assert token == text_inputs.corpus.vocabulary[text_inputs.corpus.tokens[example.row][pos]]
            assert value == pytest.approx(column[sample_of[example.row, pos]])
    assert "quantiles" in seen.examples[-1].source


def test_json_round_trip_and_words(set_inputs: FeatureInputs, text_inputs: FeatureInputs) -> None:
    for inputs in (set_inputs, text_inputs):
        seen = overview(inputs, busiest(inputs))
        text = json.dumps(seen.to_json(), allow_nan=False)
        assert FeatureOverview.parse(json.loads(text)) == seen
        said = " ".join([seen.statement, seen.unit, seen.tokens.unit, *(flag.text for flag in seen.flags)]).lower()
        assert not [word for word in CAUSAL if word in said]
        assert seen.evidence_tier == 0
        assert "nothing was re-run" in seen.statement
        assert ("take samples as independent" in seen.statement) == (seen.unit == "token positions")


def test_an_unknown_feature_names_the_range(set_inputs: FeatureInputs) -> None:
    with pytest.raises(NotFoundError, match="0 to 47"):
        overview(set_inputs, 48)


def planted(folder: Path, inputs: FeatureInputs, column: np.ndarray) -> FeatureInputs:
    """The same inputs with a store whose feature 0 is `column`; feature 1 is never active."""
    samples = np.flatnonzero(column)
    indptr = np.concatenate([[0], np.cumsum(column > 0)])
    rows = CompressedRows(indptr, np.zeros(len(samples), np.uint32), column[samples].astype(np.float32))
    with FeatureStoreWriter(folder, key={"site": "pooled"}, n_features=2) as writer:
        writer.add(0, rows)
        writer.finish(n_samples=len(column))
    return replace(inputs, store=FeatureStore.open(folder))


def test_a_tail_marker_is_flagged_and_a_true_signature_is_not(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    names = list(set_inputs.corpus.vocabulary)
    every = np.arange(set_inputs.store.n_samples)
    rate = set_inputs.n_samples_with[[names.index(token) for token in set_inputs.binary_tokens]] / len(every)
    marker = set_inputs.binary_tokens[int(np.where(rate > 0.01, rate, 1).argmin())]
    has_marker = set_inputs.tokens.holds(every, np.array([names.index(marker)]))
    common = names[int(np.where(set_inputs.n_samples_with < 0.5 * len(every), set_inputs.n_samples_with, 0).argmax())]
    has_common = set_inputs.tokens.holds(every, np.array([names.index(common)]))
    column = np.where(has_marker, 10.0, np.where(has_common, 5.0, 0.0))
    inputs = planted(tmp_path, set_inputs, column)
    activity = Activity.read(inputs, 0)
    binaries = binary_tokens(inputs, activity)
    assert binaries[0].token == marker
    assert binaries[0].is_tail_marker
    assert binaries[0].tail_share == 1
    assert binaries[0].core_share == 0
    tail, core = (core_coverage(inputs, activity, (token,)) for token in (marker, common))
    assert (tail.guidance, core.guidance) == ("tail marker", "may headline")
    assert core.share == 1
    flags = raise_flags(inputs, activity, binaries, tail)
    assert {"tail marker", "low core coverage"} <= {flag.kind for flag in flags}
    with pytest.raises(NotFoundError, match="did you mean"):
        core_coverage(inputs, activity, (marker[:-1],))
    inputs.store.close()


def test_a_dominating_weapon_and_the_relu_floor_are_flagged(tmp_path: Path, set_inputs: FeatureInputs) -> None:
    generator = np.random.default_rng(0)
    column = np.where(generator.random(set_inputs.store.n_samples) < 0.2, 5.0, 0.0)
    extreme = generator.permutation(len(column))[:60]
    column[extreme] = 10.0
    index = np.zeros(len(column), np.int64)
    index[extreme[:45]] = 1  # 45 of the 100 largest, none of the core
    inputs = planted(tmp_path, set_inputs, column)
    inputs = replace(inputs, groups={"weapon": (np.array(["common", "niche"]), index)})
    flags = raise_flags(inputs, Activity.read(inputs, 0), (), None)
    assert [flag.about for flag in flags if flag.kind == "dominating group"] == ["weapon: niche"]
    floor = next(flag for flag in flags if flag.kind == "relu floor")
    assert f"{(column == 0).sum():,} of" in floor.text
    dead = raise_flags(inputs, Activity.read(inputs, 1), (), None)
    assert [flag.kind for flag in dead] == ["never active"]
    inputs.store.close()


def test_a_dead_feature_has_an_overview(set_inputs: FeatureInputs, text_inputs: FeatureInputs) -> None:
    for inputs in (set_inputs, text_inputs):
        for feature in np.argsort(inputs.store.counts())[:2].tolist():
            seen = overview(inputs, feature)
            if seen.stats.n_nonzero == 0:
                assert [flag.kind for flag in seen.flags] == ["never active"]
                assert seen.regions[0].n == inputs.store.n_samples
