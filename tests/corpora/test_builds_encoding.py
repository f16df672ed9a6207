"""The encoding of builds from a CSV: read from its rows, stated, or asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mechscope.core import BadDataError, UsageError
from mechscope.corpora import Ragged
from mechscope.corpora.domain_for import domain_for
from mechscope.corpora.domain_rows import row_contexts
from mechscope.corpora.domains.splatoon import VOCABULARY, encode, weapon_vocabulary
from mechscope.corpora.domains.splatoon.builds import Build
from mechscope.corpora.domains.splatoon.encoding import encoding_of_rows, family_ids
from mechscope.corpora.domains.splatoon.vocabulary import Encoding
from mechscope.corpora.sources.builds_csv import BuildsCsvSource

IDS = {token: at for at, token in enumerate(VOCABULARY)}


def source(folder: Path, rows: list[list[int]], **options: object) -> BuildsCsvSource:
    (folder / "vocab.json").write_text(json.dumps(IDS))
    (folder / "weapons.json").write_text(json.dumps(weapon_vocabulary()))
    lines = [f'"{row}",{at % 5}' for at, row in enumerate(rows)]
    (folder / "rows.csv").write_text("\n".join(["ability_ids,weapon_id", *lines]) + "\n")
    return BuildsCsvSource.parse(
        {"csv": folder / "rows.csv", "vocab": folder / "vocab.json", "weapon_vocab": folder / "weapons.json", **options}
    )


def builds(encoding: Encoding, n: int = 60) -> list[list[int]]:
    generator = np.random.default_rng(6)
    points = generator.choice([0, 3, 6, 9, 12, 15, 16, 19], size=(n, 2))
    found = [Build({"swim_speed_up": int(a), "quick_respawn": int(b)}, frozenset()) for a, b in points if a + b]
    return [[IDS[token] for token in encode(build, encoding=encoding)] for build in found]


@pytest.mark.parametrize("encoding", ["cumulative", "family"])
def test_rows_tell_their_encoding_and_the_domain_calls_them_legal(encoding: Encoding, tmp_path: Path) -> None:
    corpus = source(tmp_path, builds(encoding)).build()
    assert corpus.facts["encoding"] == encoding
    assert corpus.facts["encoding_from"] == "rows"
    domain = domain_for(corpus)
    contexts = row_contexts(corpus, range(corpus.n_rows))
    assert all(domain.is_legal(context) for context in contexts)
    base = next(context for context in contexts if domain.rung(context, "swim_speed_up") == 0)
    raised = domain.substitute(base, rungs={"swim_speed_up": 12})
    held = [VOCABULARY[token] for token in raised.tokens if VOCABULARY[token].startswith("swim")]
    assert held == (["swim_speed_up_12"] if encoding == "family" else [f"swim_speed_up_{r}" for r in (3, 6, 12)])


def test_a_corpus_stored_without_the_fact_is_read_by_its_rows(tmp_path: Path) -> None:
    corpus = source(tmp_path, builds("family")).build()
    del corpus.facts["encoding"]
    domain = domain_for(corpus)
    assert all(domain.is_legal(context) for context in row_contexts(corpus, range(corpus.n_rows)))


def test_rows_that_do_not_tell_make_a_corpus_and_experiments_ask(tmp_path: Path) -> None:
    silent = [[IDS["swim_speed_up_3"]], [IDS["quick_respawn_3"], IDS["comeback"]]] * 4
    corpus = source(tmp_path, silent).build()
    assert "encoding" not in corpus.facts
    with pytest.raises(UsageError, match="do not tell their encoding") as caught:
        domain_for(corpus)
    assert "`encoding`" in caught.value.todo
    stated = source(tmp_path, silent, encoding="family").build()
    assert stated.facts["encoding_from"] == "stated"
    assert domain_for(stated).families["swim_speed_up"].tokens[1] == (IDS["swim_speed_up_6"],)


def test_one_damaged_row_in_a_hundred_changes_nothing_and_half_of_them_are_refused() -> None:
    whole = [[IDS["haunt"], *(IDS[f"swim_speed_up_{rung}"] for rung in (3, 6, 12))]] * 199
    gap = [[IDS["swim_speed_up_3"], IDS["swim_speed_up_12"]]]
    alone = [[IDS["swim_speed_up_12"]]]

    def told(rows: list[list[int]]) -> Encoding:
        tokens = Ragged.from_rows(rows)
        return encoding_of_rows(tokens.indptr, tokens.ids, family_ids(IDS), name="some")

    assert told(whole + gap) == "cumulative"
    assert told(alone * 199 + gap) == "family"
    with pytest.raises(BadDataError, match="199 have all lower rungs beside them, 150 stand alone, 2 have some"):
        told(whole + alone * 150 + gap * 2)
    assert encoding_of_rows(np.array([0, 1]), np.array([0]), {"x": [0], "y": [1]}, name="one rung each") == "cumulative"
