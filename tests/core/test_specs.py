import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mechscope.core import NotFoundError, Spec, UsageError


class Inner(Spec):
    rate: float = 0.5
    steps: int = 10


class Outer(Spec):
    name: str
    inner: Inner = Inner()
    tags: tuple[str, ...] = ()


class OtherOuter(Spec):
    name: str
    inner: Inner = Inner()
    tags: tuple[str, ...] = ()


def test_key_order_and_whitespace_do_not_change_the_digest(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.yaml"
    one.write_text('{"inner": {"steps": 3, "rate": 0.25},   "name": "a"}')
    two.write_text("name: a\n\ninner:\n    rate: 0.25\n    steps: 3\n")
    assert Outer.read(one).digest == Outer.read(two).digest


def test_written_defaults_give_the_same_digest_as_left_out_ones() -> None:
    assert Outer(name="a").digest == Outer.parse({"name": "a", "inner": {"rate": 0.5, "steps": 10}, "tags": []}).digest


@given(
    first=st.builds(Outer, name=st.text(), inner=st.builds(Inner), tags=st.lists(st.text()).map(tuple)),
    second=st.builds(Outer, name=st.text(), inner=st.builds(Inner), tags=st.lists(st.text()).map(tuple)),
)
def test_digests_are_equal_exactly_when_specs_are(first: Outer, second: Outer) -> None:
    assert (first == second) == (first.digest == second.digest)
    assert Outer.parse(json.loads(json.dumps(first.to_json()))) == first


def test_two_kinds_of_spec_never_share_a_digest() -> None:
    assert Outer(name="a").digest != OtherOuter(name="a").digest


def test_an_unknown_key_is_refused_and_the_nearest_offered() -> None:
    with pytest.raises(UsageError) as caught:
        Outer.parse({"name": "a", "inner": {"step": 3}})
    assert "unknown key 'inner.step'" in str(caught.value)
    assert "did you mean 'steps'?" in str(caught.value)


def test_a_wrong_value_names_its_place() -> None:
    with pytest.raises(UsageError, match=r"inner\.steps in the given values is 'many'"):
        Outer.parse({"name": "a", "inner": {"steps": "many"}})


def test_a_copy_with_changes_is_checked() -> None:
    assert Outer(name="a").updated(name="b").name == "b"
    with pytest.raises(UsageError, match="unknown key"):
        Outer(name="a").updated(nam="b")


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer(name="a").name = "b"


def test_nan_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        Inner.parse({"rate": float("nan")})


def test_a_missing_spec_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no spec file"):
        Outer.read(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "just words"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(UsageError):
        Outer.read(path)
