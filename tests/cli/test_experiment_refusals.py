"""What `mechscope experiment` answers to bad input: an exit code, three parts for people, valid JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mechscope.cli.experiment_calls import read_names
from mechscope.cli.experiment_flags import COMMANDS
from mechscope.core import UsageError
from mechscope.testing.command_line import Call


def test_groups_are_read_as_pairs() -> None:
    assert read_names("class=Shooters, sub = Sprinkler") == {"class": "Shooters", "sub": "Sprinkler"}
    assert read_names(None) is None
    for wrong in ("class", "class=", "=x", "a=1,a=2"):
        with pytest.raises(UsageError, match="each group once"):
            read_names(wrong)


def test_every_sweep_has_the_flags_of_what_is_held() -> None:
    flags = {command.name: {flag.name for flag in command.flags} for command in COMMANDS}
    for name in ("family-sweep", "heatmap", "binary", "coverage", "token-influence"):
        assert {"stable_tokens", "stable_weapon", "stable_groups"} <= flags[name]
    for name in ("weapon-sweep", "kit-sweep"):
        assert {"stable_tokens", "stable_groups"} <= flags[name]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("measure", "covrage", "-f", 1), 3, "coverage"),
        (("coverage", "-f", 1, "--model", "tinny"), 3, "tiny"),
        (("coverage", "-f", 100_000), 5, "feature 100000 is not in subject"),
        (("family-sweep", "-f", 1, "--family", "number"), 5, "unknown family"),
        (("binary", "-f", 1), 5, "no binaries to look at"),
        (("token-influence", "-f", 1, "--mode", "interventional"), 5, "can switch none by itself"),
        (("measure", "coverage", "-f", 1, "--set", "treshold=0.9"), 2, "threshold"),
        (("coverage", "-f", 1, "--threshold", 300), 2, "threshold"),
        (("coverage", "-f", 1, "--threshold", 5), 2, "0.05, or 95 for the highest 5 %"),
        (("coverage", "-f", 1, "--tokens", ""), 2, "names nothing"),
        (("family-sweep", "-f", 1, "--family", "number", "--rungs", " , "), 2, "--rungs ' , ' names nothing"),
        (("coverage", "-f", 1, "--mode", "causal"), 2, "mode"),
        (("family-sweep", "-f", 1), 2, "--family"),
        (("run", "--spec-path", "nowhere.json"), 5, "nowhere.json"),
    ],
)
def test_a_refusal_has_a_code_and_words(
    call: Call, explored: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    done = call("experiment", *arguments, "-w", explored)
    assert done.code == code, done.out + done.err
    words = " ".join((done.out + done.err).split())
    assert said in words, words
    told = call("experiment", *arguments, "-w", explored, "--json")
    assert told.code == code
    assert isinstance(json.loads(told.out), dict)


def test_a_dry_run_says_what_is_missing_and_writes_nothing(call: Call, explored: Path, tmp_path: Path) -> None:
    spec = {"id": "a", "type": "coverage", "feature_id": 1}
    (tmp_path / "a.json").write_text(json.dumps(spec))
    (tmp_path / "b.json").write_text(json.dumps(spec | {"id": "b", "feature_id": 100_000}))
    before = sorted(explored.rglob("*"))
    done = call("experiment", "run", "--spec-path", tmp_path, "--dry-run", "-w", explored, "--json")
    assert done.code == 5
    first, second = done.envelope["result"]["specs"]
    assert first["ok"]
    assert first["result"] == second["result"] == "missing"
    assert "is not in subject" in second["error"]
    assert sorted(explored.rglob("*")) == before
    elsewhere = call("experiment", "run", "--spec-path", tmp_path / "a.json", "--dry-run", "-w", tmp_path)
    assert elsewhere.code == 0
    assert "is no workspace" in " ".join(elsewhere.out.split())
    listed = call("experiment", "--list-types", "--json")
    assert listed.code == 0
    assert "core_coverage" in [kind["type"] for kind in listed.envelope["result"]]
