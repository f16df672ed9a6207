from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora import Corpus, Ragged
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_rows import row_contexts
from mechscope.corpora.domains.splatoon import (
    FAMILIES,
    MAIN_ONLY,
    MAIN_ONLY_PIECE,
    NULL_ID,
    PAD_ID,
    THRESHOLDS,
    VOCABULARY,
    Build,
    encode,
    is_legal_tokens,
    weapons,
)
from mechscope.corpora.domains.splatoon.domain import SplatoonDomain
from mechscope.corpora.domains.splatoon.fitting import bucket_of, slot_faults
from mechscope.corpora.domains.splatoon.vocabulary import Encoding, token_ids
from mechscope.corpora.sources.splatoon import SplatoonSource

ENCODINGS: tuple[Encoding, ...] = ("cumulative", "family")
DOMAINS = {encoding: SplatoonDomain(encoding=encoding) for encoding in ENCODINGS}
CUMULATIVE = DOMAINS["cumulative"]


def slow_legality(rungs: Mapping[str, int], main_only: set[str]) -> bool:
    """Try every way to fill main and sub slots for every family: no points, buckets or pruning of the package."""
    pieces = [MAIN_ONLY_PIECE[name] for name in main_only]
    if len(set(pieces)) < len(pieces):
        return False
    ways = []
    for rung in rungs.values():
        above = [t for t in THRESHOLDS if t > rung]
        fills = itertools.product(range(4), range(10))
        ways.append([(m, s) for m, s in fills if rung <= 10 * m + 3 * s < (above[0] if above else 1000)])
    return any(
        sum(m for m, _ in chosen) + len(main_only) <= 3 and sum(s for _, s in chosen) <= 9
        for chosen in itertools.product(*ways)
    )


def slow_state(context: Context) -> tuple[dict[str, int], set[str]]:
    names = [VOCABULARY[token] for token in context.tokens]
    rungs: dict[str, int] = {}
    for name in names:
        family, _, rung = name.rpartition("_")
        if family in FAMILIES:
            rungs[family] = max(int(rung), rungs.get(family, 0))
    return rungs, {name for name in names if name in MAIN_ONLY}


@st.composite
def gear(draw: st.DrawFn) -> tuple[Build, int]:
    """Fill slots of the three pieces one by one, some left empty, and take a weapon: legal by construction."""
    points: dict[str, int] = {}
    main_only = set()
    for piece in ("head", "clothes", "shoes"):
        own = [name for name in MAIN_ONLY if MAIN_ONLY_PIECE[name] == piece]
        main = draw(st.sampled_from(["", *FAMILIES[:3], *own]))
        if main in MAIN_ONLY:
            main_only.add(main)
        elif main:
            points[main] = points.get(main, 0) + 10
    for _ in range(draw(st.integers(0, 9))):
        family = draw(st.sampled_from(FAMILIES[:4]))
        points[family] = points.get(family, 0) + 3
    return Build(points, frozenset(main_only)), draw(st.integers(0, 129))


def shown(drawn: tuple[Build, int], encoding: Encoding) -> Context:
    build, weapon = drawn
    return Context(tuple(sorted(token_ids(encode(build, encoding)))), {"weapon_ids": weapon})


def test_slots_are_searched_as_exhaustively_as_by_hand() -> None:
    verdicts = set()
    for n_families in range(4):
        for rungs in itertools.combinations_with_replacement(THRESHOLDS, n_families):
            for n_main_only in range(4):
                named = {FAMILIES[at]: rung for at, rung in enumerate(rungs)}
                pieces = {"comeback", "haunt", "stealth_jump"}
                expected = slow_legality(named, set(sorted(pieces)[:n_main_only]))
                buckets = tuple(bucket_of(rung, THRESHOLDS) for rung in rungs)
                assert (slot_faults(buckets, n_main_only) == ()) == expected, (rungs, n_main_only)
                verdicts.add(expected)
    assert verdicts == {True, False}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_row_of_the_shipped_corpus_is_legal_and_reads_back(encoding: Encoding) -> None:
    corpus = SplatoonSource(n_rows=2000, seed=11, encoding=encoding).build()
    domain = SplatoonDomain.of(corpus)
    for context in row_contexts(corpus, np.arange(corpus.n_rows)):
        assert domain.faults(context) == []
        assert domain.parse(domain.render(context)) == context
        row = context.row
        assert domain.group(context, "weapon") == corpus.column("weapon")[row]
        for column, attribute in (("sub", "sub"), ("special", "special"), ("weapon_class", "class")):
            assert domain.group(context, attribute) == corpus.column(column)[row] == domain.group(context, column)


def test_what_the_domain_consists_of() -> None:
    assert tuple(CUMULATIVE.families) == FAMILIES
    assert all(family.rungs == THRESHOLDS for family in CUMULATIVE.families.values())
    assert tuple(CUMULATIVE.binaries) == MAIN_ONLY
    assert all(VOCABULARY[token] == name for name, token in CUMULATIVE.binaries.items())
    assert CUMULATIVE.groups == {"weapon": tuple(kit.name for kit in weapons())}
    assert CUMULATIVE.attribute_group == "weapon"
    assert len(set(CUMULATIVE.attributes["special"].values())) == 19
    reached = [VOCABULARY[token] for token in CUMULATIVE.families["swim_speed_up"].tokens[2]]
    assert reached == ["swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12"]
    alone = DOMAINS["family"].families["swim_speed_up"].tokens[2]
    assert [VOCABULARY[token] for token in alone] == ["swim_speed_up_12"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_gear_is_legal_and_survives_words(encoding: Encoding, data: st.DataObject) -> None:
    domain, context = DOMAINS[encoding], shown(data.draw(gear()), encoding)
    assert domain.faults(context) == []
    assert domain.parse(domain.render(context)) == context
    tokens = [*(VOCABULARY[token] for token in context.tokens), weapons()[context.inputs["weapon_ids"]].token]
    assert domain.parse(" ".join(tokens)) == context == domain.parse(", ".join(tokens))


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_neighbour_is_legal_and_none_is_missing(encoding: Encoding, data: st.DataObject) -> None:
    domain, context = DOMAINS[encoding], shown(data.draw(gear()), encoding)
    found = dict(domain.neighbours(context))
    rungs, main_only = slow_state(context)
    expected = set()
    for family in FAMILIES:
        ladder = [0, *THRESHOLDS]
        at = ladder.index(rungs.get(family, 0))
        for there in (at - 1, at + 1):
            if 0 <= there <= 9:
                changed = {f: r for f, r in {**rungs, family: ladder[there]}.items() if r}
                if slow_legality(changed, main_only):
                    expected.add(f"{family} {ladder[at]} -> {ladder[there]}")
    for name in MAIN_ONLY:
        if slow_legality(rungs, main_only ^ {name}):
            expected.add(f"{name} {'on -> off' if name in main_only else 'off -> on'}")
    assert {step for step in found if not step.startswith("weapon ")} == expected
    assert sum(step.startswith("weapon ") for step in found) == 129
    for step, neighbour in found.items():
        names = [VOCABULARY[token] for token in neighbour.tokens]
        assert is_legal_tokens(names, encoding, complete=False), step
        assert slow_legality(*slow_state(neighbour)), step
        assert neighbour != context
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_substitutions_there_and_back(encoding: Encoding, data: st.DataObject) -> None:
    domain, context = DOMAINS[encoding], shown(data.draw(gear()), encoding)
    family, rung = data.draw(st.sampled_from(FAMILIES[:5])), data.draw(st.sampled_from((0, *THRESHOLDS)))
    binary, is_there = data.draw(st.sampled_from(MAIN_ONLY)), data.draw(st.booleans())
    weapon = data.draw(st.sampled_from(domain.groups["weapon"]))
    rungs, main_only = slow_state(context)
    wanted = {f: r for f, r in {**rungs, family: rung}.items() if r}
    wanted_only = main_only | {binary} if is_there else main_only - {binary}
    changes: dict[str, Any] = {"rungs": {family: rung}, "binaries": {binary: is_there}, "groups": {"weapon": weapon}}
    if not slow_legality(wanted, wanted_only):
        with pytest.raises(UsageError, match=r"AP budget|both need the|main slots of 10 AP"):
            domain.substitute(context, **changes)
        return
    changed = domain.substitute(context, **changes)
    assert slow_state(changed) == (wanted, wanted_only)
    assert (domain.rung(changed, family), domain.has(changed, binary)) == (rung, is_there)
    assert domain.group(changed, "weapon") == weapon
    assert is_legal_tokens([VOCABULARY[token] for token in changed.tokens], encoding, complete=False)
    back = domain.substitute(
        changed,
        rungs={family: rungs.get(family, 0)},
        binaries={binary: binary in main_only},
        groups={"weapon": domain.group(context, "weapon")},
    )
    assert back == context


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_tokens_are_switched_by_the_smallest_change(encoding: Encoding, data: st.DataObject) -> None:
    domain, context = DOMAINS[encoding], shown(data.draw(gear()), encoding)
    token = data.draw(st.sampled_from([t for t in context.tokens if t != NULL_ID] or [0]))
    off = domain.substitute(context, tokens_off=[token])
    assert token not in off.tokens
    assert domain.is_legal(off)
    family, _, rung = VOCABULARY[token].rpartition("_")
    if family in FAMILIES and token in context.tokens:
        assert domain.rung(off, family) == max((t for t in THRESHOLDS if t < int(rung)), default=0)
        kept = set(context.tokens) - set(token_ids(f"{family}_{t}" for t in THRESHOLDS))
        assert kept <= set(off.tokens) or not kept
    elif VOCABULARY[token] in MAIN_ONLY:
        assert set(context.tokens) - {token} <= set(off.tokens)
        assert token in domain.substitute(off, tokens_on=[token]).tokens
    assert domain.substitute(off, tokens_off=[token]) == off


def test_a_high_rung_brings_its_lower_ones() -> None:
    empty = Context((NULL_ID,), {"weapon_ids": 0})
    raised = CUMULATIVE.substitute(empty, tokens_on=token_ids(["ink_saver_sub_12"]))
    assert [VOCABULARY[token] for token in raised.tokens] == ["ink_saver_sub_3", "ink_saver_sub_6", "ink_saver_sub_12"]
    assert CUMULATIVE.substitute(raised, rungs={"ink_saver_sub": 0}) == empty
    alone = DOMAINS["family"].substitute(empty, tokens_on=token_ids(["ink_saver_sub_12"]))
    assert [VOCABULARY[token] for token in alone.tokens] == ["ink_saver_sub_12"]


BASE = "Splattershot: QR 12, SCU 3, comeback"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"rungs": {"swim_speed_up": 51}}, "AP budget is 57"),
        ({"binaries": {"tenacity": True}}, "comeback and tenacity both need the head main slot"),
        ({"rungs": {"special_charge_up": 38}, "binaries": {"haunt": True, "stealth_jump": True}}, "AP budget"),
        (
            {
                "rungs": {"special_charge_up": 21, "quick_respawn": 21, "swim_speed_up": 15},
                "binaries": {"comeback": False},
            },
            "no 3 main slots of 10 AP and 9 sub slots of 3 AP give these rungs",  # though they are 57 AP
        ),
        (
            {"rungs": dict.fromkeys(FAMILIES[:7], 6)},
            "give these rungs beside 1 main-only ability",
        ),
        ({"rungs": {"quick_respawn": 41}}, "no rung 41: no token stands for it"),
        ({"rungs": {"quick_respawn": 40}}, "no rung 40"),
        ({"tokens_on": [NULL_ID]}, "<NULL> cannot be switched"),
        ({"tokens_on": [999]}, "token 999 cannot be switched"),
        ({"rungs": {"quick_respawn": 12}, "tokens_off": token_ids(["quick_respawn_6"])}, "contradict each other"),
        ({"tokens_on": [126], "tokens_off": [126]}, "contradict each other: comeback off"),
        ({"binaries": {"comeback": True}, "tokens_off": [126]}, "contradict each other: comeback on"),
    ],
)
def test_illegal_changes_name_the_rule(changes: dict, rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        CUMULATIVE.substitute(CUMULATIVE.parse(BASE), **changes)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"rungs": {"quick_respwn": 12}}, "quick_respawn"),
        ({"binaries": {"comebak": True}}, "comeback"),
        ({"groups": {"weapon": "Splatershot"}}, "Splattershot"),
        ({"groups": {"weapn": "Splattershot"}}, "weapon"),
    ],
)
def test_unknown_names_offer_the_nearest(changes: dict, near: str) -> None:
    with pytest.raises(NotFoundError, match=f"did you mean '{near}'"):
        CUMULATIVE.substitute(CUMULATIVE.parse(BASE), **changes)
    for ask in (CUMULATIVE.rung, CUMULATIVE.has, CUMULATIVE.group):
        with pytest.raises(NotFoundError):
            ask(CUMULATIVE.parse(BASE), "nothing_such")


WEAPON = {"weapon_ids": 3}


@pytest.mark.parametrize(
    ("context", "fault"),
    [
        (Context((1,), WEAPON), "lacks its lower tokens [3]"),
        (Context((), WEAPON), "no token at all"),
        (Context((0, 0), WEAPON), "come twice"),
        (Context((140,), WEAPON), "no token 140"),
        (Context((0, NULL_ID), WEAPON), "<NULL> stands for an empty build"),
        (Context((0, PAD_ID), WEAPON), "<PAD> is no ability"),
        (Context((0,), {}), "it has no weapon"),
        (Context((0,), {"weapon_ids": 130}), "no weapon 130"),
        (Context(tuple(range(9 * 14)), WEAPON), "AP budget"),
    ],
)
def test_faults_are_said_in_words(context: Context, fault: str) -> None:
    assert fault in "; ".join(CUMULATIVE.faults(context))
    assert not CUMULATIVE.is_legal(context)
    CUMULATIVE.render(context)
    if len(context.tokens) < 20:
        with pytest.raises(UsageError) as caught:
            CUMULATIVE.substitute(context, rungs={"swim_speed_up": 3})
        assert fault in str(caught.value)
        with pytest.raises(UsageError):
            list(CUMULATIVE.neighbours(context))


def test_one_token_a_family_in_the_family_encoding() -> None:
    domain = DOMAINS["family"]
    assert domain.faults(Context((1,), WEAPON)) == []
    assert "has the rungs [3, 6]: the encoding has one token a family" in domain.faults(Context((0, 1), WEAPON))[0]


def test_words_are_read_generously_and_refused_clearly() -> None:
    context = CUMULATIVE.parse(BASE)
    assert CUMULATIVE.render(context) == BASE
    for text in ("splattershot: qr 12, special_charge_up 3, Comeback", "Splattershot: comeback SCU 3 quick_respawn 12"):
        assert CUMULATIVE.parse(text) == context
    assert CUMULATIVE.render(CUMULATIVE.parse("Splattershot: nothing")) == "Splattershot: nothing"
    assert CUMULATIVE.parse("nothing") == Context((NULL_ID,)) == CUMULATIVE.parse("")
    assert CUMULATIVE.render(CUMULATIVE.parse("QR 12")) == "QR 12"
    for text, near in (("Splatershot: QR 12", "Splattershot"), ("QR 12, comebak", "comeback"), ("QX 12", "QR")):
        with pytest.raises(NotFoundError, match="did you mean") as caught:
            CUMULATIVE.parse(text)
        assert near in str(caught.value)
    with pytest.raises(UsageError, match="no rung 13"):
        CUMULATIVE.parse("QR 13")


def foreign(vocabulary: tuple[str, ...], **facts: object) -> Corpus:
    return Corpus("foreign", "set", Ragged.from_rows([[0]]), vocabulary, facts={"domain": "splatoon", **facts})


def test_a_vocabulary_of_somebody_else() -> None:
    vocabulary = ("comeback", "quick_respawn_6", "quick_respawn_3", "<PAD>", "swim_speed_up_57")
    domain = SplatoonDomain.of(foreign(vocabulary, encoding="cumulative"))
    assert {name: family.rungs for name, family in domain.families.items()} == {
        "quick_respawn": (3, 6),
        "swim_speed_up": (57,),
    }
    assert domain.groups == {}
    assert domain.attribute_group is None
    base = domain.parse("comeback")
    raised = domain.substitute(base, rungs={"quick_respawn": 6})
    assert raised.tokens == (0, 1, 2)
    with pytest.raises(UsageError, match="AP budget"):
        domain.substitute(base, rungs={"swim_speed_up": 57})
    with pytest.raises(UsageError, match="no <NULL>"):
        domain.substitute(base, binaries={"comeback": False})
    with pytest.raises(BadDataError, match="no ability token"):
        SplatoonDomain.of(foreign(("a", "b")))
    with pytest.raises(BadDataError, match="the encoding 'other'"):
        SplatoonDomain.of(foreign(vocabulary, encoding="other"))


def test_rows_stay_known_and_the_base_stays_as_it_was() -> None:
    base = Context(CUMULATIVE.parse(BASE).tokens, {"weapon_ids": 3}, row=17)
    changed = CUMULATIVE.substitute(base, groups={"weapon": "Splattershot"})
    assert changed.row == 17
    assert base.inputs == {"weapon_ids": 3}
    assert {neighbour.row for _, neighbour in CUMULATIVE.neighbours(base)} == {17}
