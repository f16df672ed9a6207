from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora.domains.splatoon import (
    BUDGET,
    FAMILIES,
    MAIN_ONLY,
    MAIN_ONLY_PIECE,
    POSSIBLE_POINTS,
    THRESHOLDS,
    VOCABULARY,
    Build,
    Slots,
    decode_rungs,
    encode,
    faults,
    is_legal,
    is_legal_tokens,
    require_legal,
    slots_of,
    weapon_by_name,
    weapon_vocabulary,
    weapons,
)
from mechscope.corpora.domains.splatoon.abilities import require_family
from mechscope.corpora.domains.splatoon.points import points_in_bucket, rung
from mechscope.corpora.domains.splatoon.vocabulary import Encoding, possible_points, token_ids

ENCODINGS: tuple[Encoding, ...] = ("cumulative", "family")


@st.composite
def builds(draw: st.DrawFn, *, complete: bool = True) -> Build:
    """Fill gear slot by slot, as a player does; legality is true by construction."""
    points: dict[str, int] = {}
    main_only = set()
    for piece in ("head", "clothes", "shoes"):
        choices = [*FAMILIES[:5], *(name for name in MAIN_ONLY if MAIN_ONLY_PIECE[name] == piece)]
        main = draw(st.sampled_from(choices if complete else [*choices, ""]))
        if main in MAIN_ONLY:
            main_only.add(main)
        elif main:
            points[main] = points.get(main, 0) + 10
    for _ in range(9 if complete else draw(st.integers(0, 9))):
        family = draw(st.sampled_from(FAMILIES[:6]))
        points[family] = points.get(family, 0) + 3
    return Build(points, frozenset(main_only))


def test_the_forty_possible_values() -> None:
    stated = [0, 3, 6, 9, 10, 12, 13, 15, 16, *range(18, 40), 41, 42, 44, 45, 47, 48, 51, 54, 57]
    assert list(POSSIBLE_POINTS) == stated
    assert len(stated) == 40
    for points in POSSIBLE_POINTS:
        assert slots_of(points).points == points
    for points in set(range(58)) - set(stated):
        with pytest.raises(UsageError, match="nearest possible value"):
            slots_of(points)


def test_buckets_hold_the_values_that_reach_no_further() -> None:
    assert points_in_bucket(21) == (21, 22, 23, 24, 25, 26, 27, 28)
    assert points_in_bucket(51) == (51, 54)
    assert points_in_bucket(0) == (0,)
    together = [points for threshold in (0, *THRESHOLDS) for points in points_in_bucket(threshold)]
    assert together == list(POSSIBLE_POINTS)
    with pytest.raises(UsageError):
        points_in_bucket(35)


def test_the_vocabulary() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 140
    assert VOCABULARY[-2:] == ("<NULL>", "<PAD>")
    assert sum(token.rpartition("_")[0] in FAMILIES for token in VOCABULARY) == 14 * 9
    assert len(MAIN_ONLY) == 12
    with pytest.raises(NotFoundError, match="did you mean 'quick_respawn_"):
        token_ids(["quick_respawn_7"])
    assert require_family("scu") == "special_charge_up"
    with pytest.raises(NotFoundError, match="did you mean"):
        require_family("swim_speed")


@settings(max_examples=200, deadline=None)
@given(builds())
def test_filled_gear_is_legal_and_has_57_points(build: Build) -> None:
    assert faults(build) == []
    assert build.total_points == BUDGET
    assert require_legal(build) is build


@settings(max_examples=100, deadline=None)
@given(builds(complete=False))
def test_empty_slots_are_legal_only_when_allowed(build: Build) -> None:
    assert is_legal(build, complete=False)
    assert is_legal(build) == (build.total_points == BUDGET)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (Build({"swim_speed_up": 57}, frozenset({"comeback"})), "4 mains"),
        (Build({"swim_speed_up": 40}), "no slots give"),
        (Build({}, frozenset({"comeback", "tenacity"})), "head main slot"),
        (Build({"swim_speed_up": 54}), "54 AP, not 57"),
        (Build({"swim_speed_up": 27, "run_speed_up": 30, "ink_saver_sub": 3}), "10 subs"),
    ],
)
def test_illegal_builds_say_why(build: Build, said: str) -> None:
    assert said in "; ".join(faults(build))
    with pytest.raises(BadDataError):
        require_legal(build)


def test_unknown_names_in_a_build_are_refused() -> None:
    with pytest.raises(NotFoundError, match="swim_speed_up"):
        Build({"swim_speed": 3})
    with pytest.raises(NotFoundError, match="comeback"):
        Build({}, frozenset({"comebak"}))


@settings(max_examples=80, deadline=None)
@given(builds(complete=False), st.sampled_from(ENCODINGS))
def test_tokens_give_back_every_rung_and_allow_the_true_points(build: Build, encoding: Encoding) -> None:
    tokens = encode(build, encoding)
    rungs, main_only = decode_rungs(tokens, encoding)
    assert main_only == build.main_only
    assert rungs == {family: rung(points) for family, points in build.points.items()}
    allowed = possible_points(rungs)
    assert all(build.points.get(family, 0) in allowed[family] for family in FAMILIES)
    assert is_legal_tokens(tokens, encoding, complete=False)
    if is_legal(build):
        assert is_legal_tokens(tokens, encoding)
    n_tokens = sum(sum(t <= points for t in THRESHOLDS) for points in build.points.values())
    if encoding == "cumulative" and (build.points or build.main_only):
        assert len(tokens) == n_tokens + len(build.main_only)


def test_twelve_points_in_both_encodings() -> None:
    build = Build({"swim_speed_up": 12})
    assert encode(build) == ("swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12")
    assert encode(build, "family") == ("swim_speed_up_12",)
    assert encode(Build({})) == ("<NULL>",)


def test_token_sets_that_an_encoding_never_writes_are_refused() -> None:
    with pytest.raises(BadDataError, match="cumulative"):
        decode_rungs(["swim_speed_up_12"])
    with pytest.raises(BadDataError, match="family"):
        decode_rungs(["swim_speed_up_3", "swim_speed_up_6"], "family")
    assert not is_legal_tokens(["swim_speed_up_12"])
    assert not is_legal_tokens(["comeback", "tenacity"], complete=False)


def brute_force_legal(rungs: dict[str, int], main_only: frozenset[str], *, complete: bool) -> bool:
    """Try every combination of possible points."""
    options = [points_in_bucket(threshold) for threshold in rungs.values()]
    builds = (Build(dict(zip(rungs, points, strict=True)), main_only) for points in itertools.product(*options))
    return any(is_legal(build, complete=complete) for build in builds)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FAMILIES[:5]), st.sampled_from(THRESHOLDS), max_size=3),
    st.frozensets(st.sampled_from(MAIN_ONLY), max_size=3),
    st.booleans(),
)
def test_legal_tokens_against_every_combination(
    rungs: dict[str, int], main_only: frozenset[str], complete: bool
) -> None:
    tokens = [*(f"{family}_{threshold}" for family, threshold in rungs.items()), *main_only]
    assert is_legal_tokens(tokens, "family", complete=complete) == brute_force_legal(
        rungs, main_only, complete=complete
    )


def test_points_and_slots_are_ordered_and_add_up() -> None:
    assert Build({"swim_speed_up": 16}, frozenset({"haunt"})).slots == Slots(mains=2, subs=2)
    assert len({Build({"swim_speed_up": 3}), Build({"swim_speed_up": 3, "run_speed_up": 0})}) == 1


def test_weapons_are_the_130_kits() -> None:
    kits = weapons()
    assert len(kits) == len({kit.weapon_id for kit in kits}) == 130
    assert len({kit.weapon_class for kit in kits}) == 11
    assert len({kit.sub for kit in kits}) == 14
    assert len({kit.special for kit in kits}) == 19
    assert weapon_by_name("octobrush nouveau").sub == "Squid Beakon"
    assert weapon_by_name("1111") == weapon_by_name("weapon_id_1111")
    assert weapon_vocabulary()[kits[7].token] == 7
    with pytest.raises(NotFoundError, match="Luna Blaster"):
        weapon_by_name("Luna Blastr")
