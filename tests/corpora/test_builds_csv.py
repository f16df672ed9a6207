from __future__ import annotations

import json
from pathlib import Path

import pytest

from mechscope.core import BadDataError, NotFoundError
from mechscope.corpora.domains.splatoon import VOCABULARY, encode, weapon_vocabulary, weapons
from mechscope.corpora.domains.splatoon.builds import Build
from mechscope.corpora.sources.builds_csv import BuildsCsvSource

TOKENS = encode(Build({"swim_speed_up": 16, "quick_respawn": 9}, frozenset({"comeback"})))
IDS = [VOCABULARY.index(token) for token in TOKENS]


def write(tmp_path: Path, text: str, **options: object) -> BuildsCsvSource:
    vocab, weapon_vocab, rows = (tmp_path / name for name in ("vocab.json", "weapon_vocab.json", "rows.csv"))
    vocab.write_text(json.dumps({token: i for i, token in enumerate(VOCABULARY)}))
    weapon_vocab.write_text(json.dumps(weapon_vocabulary()))
    rows.write_text(text)
    return BuildsCsvSource.parse({"csv": rows, "vocab": vocab, "weapon_vocab": weapon_vocab, **options})


@pytest.mark.parametrize(
    "cell",
    [
        json.dumps(IDS),
        "(" + ", ".join(map(str, IDS)) + ")",
        " ".join(map(str, IDS)),
        str(list(TOKENS)),
        ",".join(TOKENS),
    ],
)
def test_list_like_cells_all_read_alike(tmp_path: Path, cell: str) -> None:
    corpus = write(tmp_path, f'win,ability_ids,weapon_id\n1,"{cell}",7\n0,"[]",weapon_id_200\n').build()
    assert corpus.tokens[0].tolist() == sorted(IDS)
    assert [VOCABULARY[i] for i in corpus.tokens[1]] == ["<NULL>"]
    assert corpus.column("weapon_ids").tolist() == [7, weapon_vocabulary()["weapon_id_200"]]
    assert corpus.column("weapon").tolist() == [weapons()[7].name, "Luna Blaster"]
    assert corpus.column("csv.win").tolist() == ["1", "0"]
    assert corpus.kind == "set"
    assert corpus.names_with_role("input") == ["weapon_ids"]
    assert corpus.facts["token_families"]["quick_respawn"][0] == "quick_respawn_3"  # type: ignore[index]


def test_rows_can_be_limited_and_columns_named(tmp_path: Path) -> None:
    text = "gear,gun\n" + "[1 2],3\n" * 5
    source = write(tmp_path, text, token_column="gear", weapon_column="gun", max_rows=2)
    assert source.build().n_rows == 2


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("ability_ids,weapon_id\n[1],500\n", BadDataError, "line 2: weapon 500"),
        ("ability_ids,weapon_id\n[1],\n", BadDataError, "weapon missing"),
        ("ability_ids,weapon_id\n[140],3\n", BadDataError, "line 2: token 140"),
        ("ability_ids,weapon_id\nswim_sped_up_3,3\n", NotFoundError, "swim_speed_up_3"),
        ("ability_ids,weapon_id\n[1,3\n", BadDataError, "weapon missing|does not close"),
        ("gear,weapon_id\n[1],3\n", NotFoundError, "token_column"),
        ("ability_ids,weapon_id\n", BadDataError, "no rows"),
        ("", NotFoundError, "none"),
    ],
)
def test_wrong_files_say_what_is_wrong(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        write(tmp_path, text).build()


def test_wrong_vocabularies_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path, "ability_ids,weapon_id\n[1],3\n")
    for text, said in (("[1]", "no vocabulary"), ('{"a": 1}', "no vocabulary"), ("{", "not JSON")):
        source.vocab.write_text(text)
        with pytest.raises(BadDataError, match=said):
            source.build()
    source.vocab.unlink()
    with pytest.raises(NotFoundError):
        source.build()


def test_a_missing_csv_and_an_unknown_column_are_named(tmp_path: Path) -> None:
    source = write(tmp_path, "ability_ids,weapon_id\n[1],3\n", token_column="ability_id")
    with pytest.raises(NotFoundError, match="did you mean 'ability_ids'"):
        source.build()
    source.csv.unlink()
    with pytest.raises(NotFoundError, match="no file"):
        source.build()
