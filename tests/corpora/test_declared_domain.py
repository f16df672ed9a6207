from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.corpora import Column, Corpus, Ragged
from mechscope.corpora.declared_domain import DeclaredDomain
from mechscope.corpora.domain import Context
from mechscope.corpora.domain_declaration import BinaryDeclaration, DomainDeclaration
from mechscope.corpora.domain_rows import row_contexts

WORDS = (
    *("<bos>", " one", " two", " three", " twenty", "-", "one", " cats", " run", "."),
    *("!", "same", "same", "tw", "o", "t", "wo", " "),
)
ID = {word: index for index, word in enumerate(WORDS)}


def ids(*words: str) -> list[int]:
    return [ID[word] for word in words]


TEXTS = Corpus(
    "texts",
    "text",
    Ragged.from_rows(
        [
            ids("<bos>", " one", " cats", " run", "."),
            ids("<bos>", " twenty", "-", "one", " cats", "!", " two", " cats"),
            ids("<bos>", " cats", " run"),
        ]
    ),
    WORDS,
    row_columns={"author": np.array(["ann", "bob", "ann"]), "page": np.array([1, 2, 3])},
    columns={"author": Column(level="row", role="group"), "page": Column(level="row")},
)
NUMBERS = {
    "name": "numbers",
    "families": {"number_word": {"rungs": [" one", " two", " three", [" twenty", "-", "one"]]}},
    "binaries": {"shouted": {"on": "!", "off": "."}, "running": {"on": " run"}},
}
DOMAIN = DeclaredDomain(TEXTS, DomainDeclaration.parse(NUMBERS))
ONE, TWENTY, NONE = row_contexts(TEXTS, [0, 1, 2])

TOKENS = ("a_2", "a_4", "a_9", "b", "c", "<PAD>", "x_1", "x_3")
SETS = Corpus(
    "sets",
    "set",
    Ragged.from_rows([[0, 1, 3], [4, 6], [7]]),
    TOKENS,
    row_columns={
        "kit": np.array([3, 5, 3]),
        "tool": np.array(["saw", "axe", "saw"]),
        "edge": np.array(["long", "wide", "long"]),
    },
    columns={
        "kit": Column(level="row", role="input"),
        "tool": Column(level="row", role="group"),
        "edge": Column(level="row"),
    },
    pad_id=5,
)
TOOLS = {
    "families": {"a": {"rungs": ["a_2", "a_4", "a_9"], "coding": "cumulative"}, "x": {"rungs": ["x_1", "x_3"]}},
    "binaries": {"b": {"on": "b", "off": "c"}},
    "inputs": {"tool": "kit"},
    "attribute_group": "tool",
    "attributes": ["edge"],
}
KITS = DeclaredDomain(SETS, DomainDeclaration.parse(TOOLS))


def test_rungs_are_read_at_their_first_place() -> None:
    assert DOMAIN.families["number_word"].names == (" one", " two", " three", " twenty-one")
    assert [DOMAIN.rung(context, "number_word") for context in (ONE, TWENTY, NONE)] == [1, 4, 0]
    assert [DOMAIN.has(context, "shouted") for context in (ONE, TWENTY, NONE)] == [False, True, False]
    assert [DOMAIN.has(context, "running") for context in (ONE, TWENTY, NONE)] == [True, False, True]
    assert [DOMAIN.group(context, "author") for context in (ONE, TWENTY, NONE)] == ["ann", "bob", "ann"]
    assert DOMAIN.groups == {"author": ("ann", "bob")}
    assert DOMAIN.group(Context(ONE.tokens), "author") == ""


def test_rungs_are_rewritten_in_place() -> None:
    changed = DOMAIN.substitute(TWENTY, rungs={"number_word": 3})
    assert DOMAIN.render(changed) == "<bos>| three| cats|!| two| cats"
    assert DOMAIN.substitute(changed, rungs={"number_word": 4}) == TWENTY
    shouted = DOMAIN.substitute(ONE, binaries={"shouted": True}, rungs={"number_word": 2})
    assert DOMAIN.render(shouted) == "<bos>| two| cats| run|!"
    assert DOMAIN.substitute(ONE, tokens_on=[ID["!"]]) == DOMAIN.substitute(ONE, binaries={"shouted": True})
    assert DOMAIN.substitute(NONE, rungs={"number_word": 0}) == NONE
    steps = dict(DOMAIN.neighbours(ONE))
    assert set(steps) == {"number_word  one ->  two", "shouted off -> on"}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ids(" one", " two", " twenty", "-", "one", " cats", "!", ".")), min_size=1, max_size=5))
def test_texts_there_and_back(tokens: list[int]) -> None:
    context = Context(tuple(tokens))
    here = DOMAIN.rung(context, "number_word")
    shown = "".join(WORDS[token] for token in tokens)
    firsts = [shown.find(name) for name in (" one", " two", " twenty-one") if name in shown]
    assert bool(here) == bool(firsts)
    for rung in DOMAIN.families["number_word"].rungs if here else ():
        changed = DOMAIN.substitute(context, rungs={"number_word": rung})
        assert DOMAIN.rung(changed, "number_word") == rung
        assert DOMAIN.substitute(changed, rungs={"number_word": here}) == context
        assert "".join(WORDS[t] for t in changed.tokens).startswith(shown[: min(firsts)])
    assert DOMAIN.parse(DOMAIN.render(context)) == context


@pytest.mark.parametrize(
    ("context", "changes", "rule"),
    [
        (NONE, {"rungs": {"number_word": 2}}, "number_word stands nowhere in the text"),
        (ONE, {"rungs": {"number_word": 0}}, "cannot be taken out of a text"),
        (ONE, {"rungs": {"number_word": 7}}, "number_word has no rung 7"),
        (NONE, {"binaries": {"shouted": True}}, "shouted has no place"),
        (ONE, {"binaries": {"running": False}}, "running has no token that stands in its place"),
        (ONE, {"tokens_off": [ID[" cats"]]}, "cannot be switched"),
        (ONE, {"tokens_on": [ID["!"]], "tokens_off": [ID["!"]]}, "contradict each other"),
        (ONE, {"groups": {"author": "bob"}}, "author cannot be changed: it is a fact about the row"),
        (Context(tuple([7] * 9)), {}, "it has 9 tokens: the longest row has 8"),
        (Context((99,)), {}, "no token 99"),
        (Context(()), {}, "no token at all"),
    ],
)
def test_illegal_changes_name_the_rule(context: Context, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        DOMAIN.substitute(context, **changes)
    assert rule in str(caught.value)


def test_unknown_names_offer_the_nearest() -> None:
    for changes in ({"rungs": {"number_wrd": 1}}, {"binaries": {"shoutd": True}}, {"groups": {"authr": "bob"}}):
        with pytest.raises(NotFoundError, match="did you mean"):
            DOMAIN.substitute(ONE, **changes)
    with pytest.raises(NotFoundError, match="did you mean 'author'"):
        DOMAIN.group(ONE, "autor")


def test_sets_follow_their_coding() -> None:
    assert KITS.families["a"].rungs == (2, 4, 9)
    first, second, third = row_contexts(SETS, [0, 1, 2])
    assert [KITS.rung(context, "a") for context in (first, second, third)] == [4, 0, 0]
    assert [KITS.rung(context, "x") for context in (first, second, third)] == [0, 1, 3]
    assert KITS.render(KITS.substitute(second, rungs={"a": 9, "x": 3})) == "[kit=5] a_2|a_4|a_9|c|x_3"
    assert KITS.render(KITS.substitute(first, binaries={"b": False}, rungs={"a": 0})) == "[kit=3] c"
    with pytest.raises(UsageError, match="no token at all"):
        KITS.substitute(third, rungs={"x": 0})
    assert (KITS.group(first, "tool"), KITS.group(first, "edge")) == ("saw", "long")
    swapped = KITS.substitute(first, groups={"tool": "axe"})
    assert (swapped.inputs, KITS.group(swapped, "tool"), KITS.group(swapped, "edge")) == ({"kit": 5}, "axe", "wide")
    with pytest.raises(NotFoundError, match="did you mean 'saw'"):
        KITS.substitute(first, groups={"tool": "saws"})
    assert set(dict(KITS.neighbours(first))) == {
        "a 4 -> 2",
        "a 4 -> 9",
        "x absent -> 1",
        "b on -> off",
        "tool saw -> axe",
    }


@pytest.mark.parametrize(
    ("context", "fault"),
    [
        (Context((1, 3), {"kit": 3}), "a has 4: its coding"),
        (Context((6, 7), {"kit": 3}), "x has 1 and 3: its coding"),
        (Context((3, 3), {"kit": 3}), "twice"),
        (Context((3, 5), {"kit": 3}), "<PAD> pads a batch"),
        (Context((3,)), "it has no kit"),
        (Context((3,), {"kit": 4}), "no row has kit 4"),
        (Context((3,), {"kit": 3, "hat": 1}), "no row has hat 1"),
    ],
)
def test_faults_of_sets(context: Context, fault: str) -> None:
    assert fault in "; ".join(KITS.faults(context))


def family(*rungs: object) -> dict[str, Any]:
    return {"families": {"f": {"rungs": list(rungs)}}}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"familys": {}}, "unknown key 'familys'"),
        ({"families": {"f": {"rungs": [" one", " two"], "code": "single"}}}, "code"),
        (family(" one"), "rungs"),
        (family(" one", " tree"), "did you mean ' three'"),
        (family(" one", ""), "an empty rung in family 'f'"),
        (family(" one", []), "an empty rung in family 'f'"),
        (family(" one", "same"), "2 tokens show as 'same' in family 'f': [11, 12]"),
        (family(" one", "two"), "'two' in family 'f' can be cut as ['t', 'wo'] or ['tw', 'o']"),
        (family(" one", " two."), "' two.' in family 'f', cut as [' two', '.'], stands nowhere in corpus 'texts'"),
        (family(" one", " two", " one"), "' one' is declared twice"),
        (
            {"families": {"f": {"rungs": [" one", " two"]}, "g": {"rungs": [" three", " two"]}}},
            "' two' is declared twice: in 'f' and in 'g'",
        ),
        ({**family(" one", " two"), "binaries": {"b": {"on": " one"}}}, "' one' is declared twice: in 'f' and in 'b'"),
        ({"binaries": {"b": {"on": "?"}}}, "unknown token in binary 'b' '?'"),
        ({"families": {"f": {"rungs": [" one", " two"], "coding": "cumulative"}}}, "cumulative coding in a corpus"),
        ({"groups": ["autor"]}, "did you mean 'author'"),
        ({"inputs": {"author": "page"}}, "unknown input column 'page'"),
        ({"attributes": ["page"]}, "without a group"),
        ({"attribute_group": "author", "attributes": ["page"]}, "author 'ann' has the page 1 and 3"),
    ],
)  # fmt: skip
def test_wrong_declarations_say_what_was_seen(tmp_path: Path, declared: dict[str, Any], said: str) -> None:
    path = tmp_path / "domain.json"
    path.write_text(json.dumps(declared))
    with pytest.raises((UsageError, NotFoundError, BadDataError)) as caught:
        DeclaredDomain.read(TEXTS, path)
    assert said in str(caught.value)


def test_wrong_declarations_of_sets() -> None:
    with pytest.raises(UsageError, match=r"'a_2b' in family 'f', cut as .*, stands nowhere"):
        DeclaredDomain(SETS, DomainDeclaration.parse(family("a_2b", "a_4")))
    with pytest.raises(UsageError, match="is several tokens"):
        DeclaredDomain(SETS, DomainDeclaration.parse(family(["a_2", "b"], "a_4")))
    with pytest.raises(UsageError, match="kit '3' has the tool 'saw' and 'axe'"):
        one_id = Corpus(
            "one_id",
            "set",
            SETS.tokens,
            TOKENS,
            row_columns={**SETS.row_columns, "kit": np.array([3, 3, 3])},
            columns=SETS.columns,
        )
        DeclaredDomain(one_id, DomainDeclaration.parse({"inputs": {"tool": "kit"}}))


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "domain.yaml"
    path.write_text("families: [")
    with pytest.raises(UsageError, match="is not YAML"):
        DeclaredDomain.read(TEXTS, path)


def test_a_string_of_several_tokens_is_cut_as_the_corpus_has_it() -> None:
    domain = DeclaredDomain(TEXTS, DomainDeclaration.parse(family(" one", " twenty-one")))
    assert domain.families["f"].tokens == (tuple(ids(" one")), tuple(ids(" twenty", "-", "one")))


def test_the_longest_rung_at_a_place_counts() -> None:
    domain = DeclaredDomain(TEXTS, DomainDeclaration.parse(family(" twenty", " twenty-one", " two")))
    assert domain.rung(TWENTY, "f") == 2
    assert DOMAIN.render(domain.substitute(TWENTY, rungs={"f": 1})) == "<bos>| twenty| cats|!| two| cats"


def test_the_bare_words_on_and_off_of_a_yaml_file_are_keys(tmp_path: Path) -> None:
    """YAML 1.1 reads them as true and false; the example of the documentation writes them bare."""
    path = tmp_path / "shouted.yaml"
    path.write_text('binaries:\n  shouted: {on: "!", off: "."}\n')
    declared = DomainDeclaration.read(path)
    assert declared.binaries["shouted"] == BinaryDeclaration(on="!", off=".")
    path.write_text('binaries:\n  shouted: {"on": "!"}\n')
    assert DomainDeclaration.read(path).binaries["shouted"].off is None
    path.write_text("binaries:\n  shouted: {off: x}\n")
    with pytest.raises(UsageError, match=r"binaries.shouted.on"):
        DomainDeclaration.read(path)
