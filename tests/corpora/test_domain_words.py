from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechscope.core import NotFoundError, UsageError
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_words import TokenWords

PIECES = st.text(alphabet="ab |\\n\n[]<#1>= _-", max_size=6)
AWKWARD = ("one", " two", "|", "\\", "\\n", "\n", "[a=1] ", "[", "<#3>", "", "same", "same", "\\|", "[x", " ", "é")


@given(vocabulary=st.lists(PIECES, min_size=1, max_size=8), data=st.data())
def test_any_tokens_survive(vocabulary: list[str], data: st.DataObject) -> None:
    words = TokenWords(tuple(vocabulary))
    tokens = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=6))
    inputs = data.draw(st.dictionaries(st.sampled_from(["weapon_ids", "b"]), st.integers(-5, 300), max_size=2))
    context = Context(tuple(tokens), inputs)
    assert words.parse(words.render(context)) == context


def test_awkward_tokens_survive() -> None:
    words = TokenWords(AWKWARD)
    for token in range(len(AWKWARD)):
        for context in (Context((token,)), Context((token, token), {"a": 3})):
            assert words.parse(words.render(context)) == context
    assert words.render(Context((0, 1, 10), {"a": 3})) == "[a=3] one| two|<#10>"
    assert words.render(Context((99,))) == "<#99>"


def test_unknown_and_ambiguous_tokens() -> None:
    words = TokenWords(AWKWARD)
    with pytest.raises(NotFoundError, match="did you mean 'one'"):
        words.parse("oen")
    with pytest.raises(UsageError, match="2 tokens show as 'same'"):
        words.parse("one|same")
