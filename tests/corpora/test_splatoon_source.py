from __future__ import annotations

import numpy as np
import pytest

from mechscope.corpora.corpus import Corpus, Ragged
from mechscope.corpora.domains.splatoon import (
    FAMILIES,
    MAIN_ONLY,
    VOCABULARY,
    Build,
    draw_builds,
    encode,
    is_legal,
    is_legal_tokens,
    weapons,
)
from mechscope.corpora.domains.splatoon.generator import style_shares
from mechscope.corpora.domains.splatoon.multi_hot import encode_rows
from mechscope.corpora.domains.splatoon.playstyles import PLAYSTYLES
from mechscope.corpora.sources.splatoon import SplatoonSource

N_ROWS = 4000


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return SplatoonSource(n_rows=N_ROWS, seed=5).build()


def build_of(points: np.ndarray, main_only: np.ndarray) -> Build:
    held = {family: int(value) for family, value in zip(FAMILIES, points, strict=True)}
    return Build(held, frozenset(name for name, has in zip(MAIN_ONLY, main_only, strict=True) if has))


def hot_rows(tokens: Ragged) -> np.ndarray:
    hot = np.zeros((len(tokens), len(VOCABULARY)), dtype=bool)
    hot[np.repeat(np.arange(len(tokens)), tokens.lengths), tokens.ids] = True
    return hot


def test_every_drawn_build_is_legal_and_complete() -> None:
    drawn = draw_builds(500, seed=2)
    for points, main_only in zip(drawn.points(), drawn.main_only(), strict=True):
        assert is_legal(build_of(points, main_only))


@pytest.mark.parametrize("encoding", ["cumulative", "family"])
def test_arrays_encode_as_single_builds_do(encoding: str) -> None:
    drawn = draw_builds(200, seed=3)
    points, main_only = drawn.points(), drawn.main_only()
    points[0], main_only[0] = 0, False
    hot = encode_rows(points, main_only, encoding)  # type: ignore[arg-type]
    for row in range(len(points)):
        one = encode(build_of(points[row], main_only[row]), encoding)  # type: ignore[arg-type]
        assert tuple(np.array(VOCABULARY)[hot[row]]) == one


def test_rows_are_parts_of_their_targets(corpus: Corpus) -> None:
    assert corpus.targets is not None
    shown, whole = hot_rows(corpus.tokens), hot_rows(corpus.targets)
    null, mains = VOCABULARY.index("<NULL>"), [VOCABULARY.index(name) for name in MAIN_ONLY]
    is_null = shown[:, null]
    assert (shown[is_null].sum(1) == 1).all()
    assert not (shown & ~whole)[~is_null].any()
    removed = whole & ~shown
    assert np.array_equal(removed.sum(1), corpus.column("n_removed"))
    names = np.array(VOCABULARY)
    assert [" ".join(names[row]) for row in removed] == corpus.column("removed").tolist()
    full, left = (np.stack([corpus.column(f"{p}.{f}") for f in FAMILIES], axis=1) for p in ("full_points", "points"))
    assert (left <= full).all()
    assert np.array_equal(encode_rows(full.astype(np.int64), whole[:, mains], "cumulative"), whole)


def test_rows_and_targets_are_tokens_of_legal_builds(corpus: Corpus) -> None:
    assert corpus.targets is not None
    for row in range(150):
        assert is_legal_tokens([VOCABULARY[i] for i in corpus.targets[row]])
        assert is_legal_tokens([VOCABULARY[i] for i in corpus.tokens[row]], complete=False)


def test_the_same_spec_gives_the_same_corpus(corpus: Corpus) -> None:
    assert SplatoonSource(n_rows=N_ROWS, seed=5).build().digest == corpus.digest
    assert SplatoonSource(n_rows=N_ROWS, seed=6).build().digest != corpus.digest


def test_columns_have_their_roles(corpus: Corpus) -> None:
    assert corpus.names_with_role("input") == ["weapon_ids"]
    assert corpus.names_with_role("group") == ["weapon", "weapon_class", "sub", "special"]
    assert set(np.unique(corpus.column("split"))) == {"train", "valid", "test"}
    concepts = corpus.names_with_role("concept")
    assert 10 <= len(concepts) <= 14
    for name in concepts:
        assert corpus.column(name).dtype == bool
        assert 0.03 < corpus.column(name).mean() < 0.15, name
        assert corpus.columns[name].description
    kit = weapons()[corpus.column("weapon_ids")[0]]
    assert (kit.name, kit.sub, kit.special) == tuple(corpus.column(n)[0] for n in ("weapon", "sub", "special"))


def test_gated_styles_stay_in_their_context() -> None:
    shares = style_shares()
    for index, style in enumerate(PLAYSTYLES, start=1):
        if style.name == "splatling_turret":
            on = [kit.weapon_class in style.classes for kit in weapons()]
            assert shares[np.array(on), index].min() > 0
            assert shares[~np.array(on), index].max() == 0
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_no_single_token_stands_for_a_concept(corpus: Corpus) -> None:
    hot = hot_rows(corpus.tokens)
    for name in corpus.names_with_role("concept"):
        is_in = corpus.column(name)
        auroc = 0.5 + (hot[is_in].mean(0) - hot[~is_in].mean(0)) / 2
        assert np.maximum(auroc, 1 - auroc).max() < 0.9, name


def test_nuisances_go_with_concepts_and_change_no_build() -> None:
    corpus = SplatoonSource(n_rows=30_000, seed=8).build()
    style, region = corpus.column("playstyle"), corpus.column("region")
    is_stealth, is_japan = style == "stealth_slayer", region == "japan"
    assert is_japan[is_stealth].mean() - is_japan[~is_stealth].mean() > 0.25
    points = np.stack([corpus.column(f"full_points.{family}") for family in FAMILIES], axis=1).astype(float)
    one, other = points[is_stealth & is_japan], points[is_stealth & ~is_japan]
    spread = np.sqrt(one.var(0) / len(one) + other.var(0) / len(other))
    z = (one.mean(0) - other.mean(0)) / np.maximum(spread, 1e-12)
    assert np.abs(z).max() < 4.0


def test_kits_change_builds() -> None:
    corpus = SplatoonSource(n_rows=30_000, seed=9).build()
    is_flex = corpus.column("playstyle") == "flex"
    cooler = is_flex & (corpus.column("special") == "Tacticooler")
    power = corpus.column("full_points.special_power_up")
    assert power[cooler].mean() > power[is_flex].mean() + 2
    planted = corpus.facts["planted"]
    assert isinstance(planted, dict)
    assert planted["special_effects"]["Tacticooler"]["special_power_up"] > 0
