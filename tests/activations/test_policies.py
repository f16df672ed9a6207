from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from activation_cases import text_corpus

from mechscope.activations.policy import read_policy
from mechscope.core import NotFoundError, UsageError
from mechscope.core.kinds import TOKEN_POLICIES
from mechscope.corpora.corpus import Corpus, Ragged
from mechscope.testing.token_policies import check_token_policy

SPECIAL = frozenset({0, 3, 7})
Marks = Callable[[Corpus, int, int, int], bool]  # corpus, row, position in it, flat index -> marked?


def is_last_kept(corpus: Corpus, row: int, pos: int, flat: int) -> bool:
    del flat
    kept = [i for i, token in enumerate(corpus.tokens[row]) if token not in SPECIAL]
    return bool(kept) and pos == kept[-1]


CASES: list[tuple[str, dict[str, Any], Marks]] = [
    ("all", {}, lambda c, r, p, f: True),
    ("all", {"skip_first": 2}, lambda c, r, p, f: p >= 2),
    ("all", {"skip_special": True}, lambda c, r, p, f: c.tokens.ids[f] not in SPECIAL),
    ("mean", {"skip_special": True, "skip_first": 1}, lambda c, r, p, f: p >= 1 and c.tokens.ids[f] not in SPECIAL),
    ("last", {}, lambda c, r, p, f: p == len(c.tokens[r]) - 1),
    ("last", {"skip_special": True}, is_last_kept),
    ("index", {"index": 0}, lambda c, r, p, f: p == 0),
    ("index", {"index": 5}, lambda c, r, p, f: p == 5),
    ("index", {"index": -3}, lambda c, r, p, f: p == len(c.tokens[r]) - 3),
    ("span", {"column": "is_noun"}, lambda c, r, p, f: bool(c.token_columns["is_noun"][f])),
    ("span", {"column": "depth"}, lambda c, r, p, f: c.token_columns["depth"][f] != 0),
    ("span", {"column": "depth", "value": 2}, lambda c, r, p, f: c.token_columns["depth"][f] == 2),
]


@pytest.mark.parametrize(("name", "options", "marks"), CASES)
def test_masks_equal_the_slow_way(name: str, options: dict[str, Any], marks: Marks) -> None:
    corpus = text_corpus(40, seed=5)
    mask = read_policy(name, options).mask(corpus, SPECIAL)
    slow, flat = [], 0
    for row in range(corpus.n_rows):
        for pos in range(len(corpus.tokens[row])):
            slow.append(marks(corpus, row, pos, flat))
            flat += 1
    assert mask.dtype == bool
    assert mask.tolist() == slow


NEEDED_OPTIONS: dict[str, dict[str, Any]] = {"index": {"index": 0}, "span": {"column": "is_marked"}}


@pytest.mark.parametrize("name", TOKEN_POLICIES.names())
def test_every_policy_keeps_the_contract(name: str) -> None:
    check_token_policy(name, NEEDED_OPTIONS.get(name, {}))


@pytest.mark.parametrize(("name", "options"), [(name, options) for name, options, _ in CASES if name != "span"])
def test_options_keep_the_contract(name: str, options: dict[str, Any]) -> None:
    check_token_policy(name, options)


def test_last_with_only_special_tokens_marks_nothing() -> None:
    corpus = Corpus("special", "text", Ragged.from_rows([[0, 3], [7]]), tuple("abcdefgh"))
    assert not read_policy("last", {"skip_special": True}).mask(corpus, SPECIAL).any()


def test_unfit_names_and_options() -> None:
    corpus = text_corpus(5)
    with pytest.raises(NotFoundError, match="unknown token policy 'lats'"):
        read_policy("lats", {})
    with pytest.raises(UsageError, match="unknown key 'skip_frist'"):
        read_policy("all", {"skip_frist": 1})
    with pytest.raises(NotFoundError, match="unknown token column 'is_nuon'"):
        read_policy("span", {"column": "is_nuon"}).mask(corpus, SPECIAL)
    with pytest.raises(UsageError, match="token column 'word' holds"):
        read_policy("span", {"column": "word"}).mask(corpus, SPECIAL)
    with pytest.raises(UsageError, match="skip_first is -1"):
        read_policy("all", {"skip_first": -1}).mask(corpus, SPECIAL)
    assert np.array_equal(
        read_policy("span", {"column": "is_noun"}).mask(corpus, SPECIAL), corpus.token_columns["is_noun"]
    )
