"""What is held constant: parsed from tokens and groups, refused by name, joined without contradiction."""

from __future__ import annotations

import pytest

from mechscope.core import NotFoundError, UsageError
from mechscope.experiments import ExperimentContext
from mechscope.experiments.changing.changes import Change, Held, parse_held, token_change


def held_of(builds: ExperimentContext, *tokens: str, **groups: str) -> Held:
    return parse_held(builds.domain, builds.corpus.vocabulary, tokens=tokens, groups=groups)


def test_binaries_rungs_and_groups_are_understood(builds: ExperimentContext) -> None:
    held = held_of(builds, "Comeback", "special_charge_up_12", "QR 6", weapon="splattershot", special="Ink Storm")
    assert dict(held.change.binaries) == {"comeback": True}
    assert dict(held.change.rungs) == {"special_charge_up": 12, "quick_respawn": 6}
    assert dict(held.change.groups) == {"weapon": "Splattershot"}
    assert dict(held.required) == {"special": "Ink Storm"}
    assert held.words == "special_charge_up 12, quick_respawn 6, comeback, weapon Splattershot, special Ink Storm"
    base = builds.domain.parse("Splat Roller: SCU 3")
    changed = held.change.apply(builds.domain, base)
    assert builds.domain.render(changed) == "Splattershot: QR 6, SCU 12, comeback"
    assert builds.domain.rung(base, "special_charge_up") == 3
    assert Held().words == ""


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("comebak", NotFoundError, "did you mean 'comeback'"),
        ("special_charge_up_41", UsageError, "has no rung 41: no token stands for it"),
        ("special_charge_up_5", UsageError, "has no rung 5"),
    ],
)
def test_unknown_tokens_are_refused(name: str, error: type[Exception], message: str, builds: ExperimentContext) -> None:
    with pytest.raises(error, match=message):
        token_change(builds.domain, builds.corpus.vocabulary, name)


def test_contradictions_and_unknown_names_are_refused(builds: ExperimentContext) -> None:
    with pytest.raises(UsageError, match="both set 'special_charge_up'"):
        held_of(builds, "special_charge_up_3", "special_charge_up_12")
    with pytest.raises(NotFoundError, match="did you mean 'Splattershot'"):
        held_of(builds, weapon="Splatershot")
    with pytest.raises(UsageError, match="one ability a gear piece"):
        held_of(builds, "stealth_jump", "drop_roller").change.apply(builds.domain, builds.contexts_of([0])[0])


def test_an_empty_change_is_the_context_itself(builds: ExperimentContext) -> None:
    base = builds.contexts_of([0])[0]
    assert Change("nothing").apply(builds.domain, base) is base
    assert Change("nothing").is_empty
