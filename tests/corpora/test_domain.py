from __future__ import annotations

import numpy as np
import pytest

from mechscope.core import NotFoundError, UsageError
from mechscope.corpora import Corpus
from mechscope.corpora.domain import Context, Family, settle_rungs
from mechscope.corpora.domain_rows import row_contexts, rung_table
from mechscope.corpora.domains.splatoon import FAMILIES
from mechscope.corpora.domains.splatoon.domain import SplatoonDomain
from mechscope.corpora.domains.splatoon.points import rung
from mechscope.corpora.sources.splatoon import SplatoonSource

POINTS = Family("quick_respawn", (3, 6, 12), ((0,), (0, 1), (0, 1, 2)), values=(3, 6, 9, 10, 12, 13))
NUMBER = Family("number", (1, 2), ((), ()), names=("singular", "plural"))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return SplatoonSource(n_rows=300, seed=5).build()


def test_contexts_are_equal_by_what_the_model_sees() -> None:
    one, other = Context((1, 2), {"a": 1, "b": 2}, row=4), Context((1, 2), {"b": 2, "a": 1}, row=9)
    assert one == other
    assert hash(one) == hash(other)
    assert one.key == ((1, 2), (("a", 1), ("b", 2)))
    assert len({one, other, Context((1, 2)), Context((1, 2), {"a": 1, "b": 3}), Context((2, 1))}) == 4


def test_rungs_have_names() -> None:
    assert [NUMBER.rung_name(rung) for rung in (0, 1, 2)] == ["absent", "singular", "plural"]
    assert POINTS.rung_name(12) == "12"
    with pytest.raises(UsageError, match="number has no rung 3") as caught:
        NUMBER.rung_name(3)
    assert "use 2" in str(caught.value)
    assert "snap" not in str(caught.value)


def test_asked_rungs_are_checked_and_mapped_only_when_told() -> None:
    assert settle_rungs(POINTS, ()) == ((3, 6, 12), ())
    assert settle_rungs(POINTS, (12, 0, 3, 12)) == ((12, 0, 3), ())
    with pytest.raises(UsageError, match="no rung 10: no token stands for it") as caught:
        settle_rungs(POINTS, (3, 10))
    assert "0 (absent) or one of 3, 6, 12" in str(caught.value)
    assert "use 6 or 12, or snap=True" in str(caught.value)
    snapped = settle_rungs(POINTS, (3, 10, 6, 13), snap=True)
    assert snapped.rungs == (3, 6, 12)
    assert snapped.notes == (
        "quick_respawn 10 has no token: taken as its rung 6",
        "quick_respawn 13 has no token: taken as its rung 12",
    )
    for impossible in (11, -3, 100):
        with pytest.raises(UsageError, match="has no rung"):
            settle_rungs(POINTS, (impossible,), snap=True)
    with pytest.raises(UsageError, match="has no rungs"):
        settle_rungs(Family("empty", (), ()), (3,))


def test_the_rungs_of_the_founding_example_snap_to_real_tokens() -> None:
    family = SplatoonDomain().families["special_charge_up"]
    snapped = settle_rungs(family, (3, 6, 12, 21, 29, 35, 41, 45, 48, 51, 54, 57), snap=True)
    assert snapped.rungs == (3, 6, 12, 21, 29, 38, 51, 57)
    assert [note.split()[1] for note in snapped.notes] == ["35", "41", "45", "48", "54"]


def test_rows_become_contexts(corpus: Corpus) -> None:
    contexts = row_contexts(corpus, np.array([7, 0]))
    assert [context.row for context in contexts] == [7, 0]
    for context in contexts:
        assert context.tokens == tuple(corpus.tokens[context.row].tolist())
        assert context.inputs == {"weapon_ids": int(corpus.column("weapon_ids")[context.row])}
    assert row_contexts(corpus, []) == []
    for rows in ([300], [-1]):
        with pytest.raises(UsageError, match=r"rows in 0\.\.299"):
            row_contexts(corpus, rows)


def test_the_rung_table_agrees_with_the_points_of_each_row(corpus: Corpus) -> None:
    table = rung_table(SplatoonDomain.of(corpus), corpus)
    for family in FAMILIES:
        expected = [rung(int(points)) for points in corpus.column(f"points.{family}")]
        assert table[family].tolist() == expected
    assert list(rung_table(SplatoonDomain.of(corpus), corpus, ["quick_respawn"])) == ["quick_respawn"]
    with pytest.raises(NotFoundError, match="quick_respawn"):
        rung_table(SplatoonDomain.of(corpus), corpus, ["quick_respawm"])
