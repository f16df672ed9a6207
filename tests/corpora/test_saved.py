from pathlib import Path

import numpy as np
import pytest

from mechscope.core import BadDataError
from mechscope.corpora import Column, Corpus, Ragged, load_corpus, save_corpus


def small_corpus() -> Corpus:
    return Corpus(
        name="small",
        kind="set",
        tokens=Ragged.from_rows([[1, 2], [3], [0, 1, 2]]),
        vocabulary=("a", "b", "c", "<NULL>"),
        row_columns={"group": np.array(["x", "y", "x"], dtype=object), "split": np.array(["train", "test", "train"])},
        token_columns={"concept": np.array([True, False, False, True, False, True])},
        columns={
            "group": Column(level="row", role="group"),
            "split": Column(level="row", role="split"),
            "concept": Column(level="token", role="concept", description="planted"),
        },
        targets=Ragged.from_rows([[1, 2, 3], [3], [0, 1, 2]]),
        pad_id=3,
        facts={"seed": 1},
    )


def test_a_saved_corpus_comes_back_equal(tmp_path: Path) -> None:
    corpus = small_corpus()
    save_corpus(corpus, tmp_path / "c", key={"made": "by hand"})
    again = load_corpus(tmp_path / "c")
    assert again.digest == corpus.digest
    assert again.columns == corpus.columns
    assert again.facts == corpus.facts
    assert again.targets is not None
    np.testing.assert_array_equal(again.targets[2], [0, 1, 2])
    assert again.token_columns["concept"].dtype == bool


def test_selecting_rows_keeps_tokens_and_columns_aligned() -> None:
    chosen = small_corpus().select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.tokens[0], [0, 1, 2])
    np.testing.assert_array_equal(chosen.tokens[1], [1, 2])
    np.testing.assert_array_equal(chosen.token_columns["concept"], [True, False, True, True, False])
    assert list(chosen.row_columns["split"]) == ["train", "train"]


def test_every_field_that_matters_changes_the_digest() -> None:
    base = small_corpus()
    other = Corpus(**{**base.__dict__, "pad_id": None})
    flipped = Corpus(**{**base.__dict__, "token_columns": {"concept": ~base.token_columns["concept"]}})
    renamed = Corpus(**{**base.__dict__, "facts": {"seed": 2}})
    assert len({base.digest, other.digest, flipped.digest}) == 3
    assert renamed.digest == base.digest


@pytest.mark.parametrize("name", ["corpus.json", "tokens.safetensors", "rows.parquet", "tokens.parquet"])
def test_a_flipped_byte_is_noticed(tmp_path: Path, name: str) -> None:
    save_corpus(small_corpus(), tmp_path, key={})
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(BadDataError, match="checksum"):
        load_corpus(tmp_path)


def test_a_folder_without_manifest_is_not_taken_for_whole(tmp_path: Path) -> None:
    save_corpus(small_corpus(), tmp_path, key={})
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(BadDataError, match=r"no manifest\.json"):
        load_corpus(tmp_path)


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(BadDataError, match="0 rows"):
        Corpus(name="none", kind="text", tokens=Ragged.from_rows([]), vocabulary=("a",))


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(BadDataError, match="token ids from 0 to 7"):
        Corpus(name="off", kind="text", tokens=Ragged.from_rows([[0, 7]]), vocabulary=("a",))


def test_a_column_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(BadDataError, match="has 3 values"):
        Corpus(
            name="off",
            kind="text",
            tokens=Ragged.from_rows([[0], [0]]),
            vocabulary=("a",),
            row_columns={"x": np.arange(3)},
            columns={"x": Column(level="row")},
        )
