"""What a claim says of the rungs above the one where it starts, and curves with both signs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mechscope.corpora.domain import Context
from mechscope.corpora.domain_for import domain_for
from mechscope.experiments import ExperimentContext
from mechscope.experiments.changing.cells import flag_of
from mechscope.experiments.changing.lasting import listed, said_rungs, signed_rungs
from mechscope.testing.planted_builds import run_kind
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
RUNGS = (3, 6, 9, 12)


def cell(low: float | None, high: float | None, n: int = 100, p: float | None = 0.001) -> dict[str, Any]:
    mean = None if low is None or high is None else (low + high) / 2
    return {"mean_delta": mean, "low": low, "high": high, "n": n, "flag": flag_of(n), "p_corrected": p}


UP, FLAT, DOWN = cell(1, 2), cell(-1, 1), cell(-2, -1)


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ([UP, UP, UP], "from rung 3 on"),
        ([UP, FLAT, UP], "at rung 3"),  # back at zero
        ([UP, UP, DOWN], "at rung 3"),
        ([UP, cell(-1, 1, n=9), cell(None, None, n=3)], "from rung 3 on (too few contexts to tell at 9, 12)"),
        ([UP, UP, cell(-2, -1, n=9)], "at rung 3"),
        ([cell(1, 2, n=9), cell(None, None, n=0), cell(None, None, n=0)], "from rung 3 on"),
        ([cell(-1, 2, n=9), cell(None, None, n=2), cell(None, None, n=0)], "at rung 3"),  # nothing bears it out
    ],
)
def test_from_a_rung_on_needs_every_rung_above_it(above: list[dict[str, Any]], said: str) -> None:
    assert said_rungs(RUNGS, [UP, *above], [0], sign=1) == said
    turned = [cell(None, None, row["n"]) if row["low"] is None else cell(-row["high"], -row["low"], row["n"])
              for row in (UP, *above)]  # fmt: skip
    assert said_rungs(RUNGS, turned, [0], sign=-1) == said


def test_the_highest_rung_and_several_are_listed() -> None:
    assert said_rungs(RUNGS, [FLAT, FLAT, FLAT, UP], [3], sign=1) == "at rung 12"
    assert said_rungs(RUNGS, [UP, UP, FLAT, UP], [0, 1, 3], sign=1) == "at rungs 3, 6, 12"
    assert listed(RUNGS, (0, 1, 2, 3)) == "3 to 12"


def test_signs_are_those_of_corrected_p_whatever_the_size() -> None:
    rows = [cell(1e-6, 2e-6), cell(-2e-6, -1e-6), cell(1, 2, p=0.2), cell(None, None, p=None)]
    assert (signed_rungs(rows, sign=1), signed_rungs(rows, sign=-1)) == ([0], [1])


def sweep(builds: ExperimentContext, effect: dict[int, float], *, noise: float = 0.1, **more: Any) -> Any:
    """A sweep of sub power up where each of its rungs adds `effect` of it, nothing where it is not named."""
    domain, generator, known = domain_for(builds.corpus), np.random.default_rng(9), dict[object, float]()

    def activation(made: Context) -> float:
        extra = known.setdefault(made.key, float(generator.normal(0, noise)))
        return 3.0 + effect.get(domain.rung(made, "sub_power_up"), 0.0) + extra

    context = plant_feature(builds.inputs, FEATURE, activation)
    return run_kind(
        context, "family_1d_sweep", FEATURE, n_bases=200, family="sub_power_up", observed_beside=False, **more
    )


def test_what_acts_at_one_rung_alone_is_claimed_of_that_alone(builds: ExperimentContext) -> None:
    found = sweep(builds, {3: 2.0})
    (claim,) = found.claims
    assert claim.endswith("; at rung 3")
    assert "to 3 raises" in claim
    (row,) = (row for row in found.tables["rung_deltas"].rows if row["rung"] == 3)
    for number in ("mean_delta", "low", "high", "corpus_delta", "corpus_low", "corpus_high"):
        assert f"{row[number]:.3g}" in claim
    assert f"in {row['n']} base contexts drawn evenly over its activity (p {row['p_corrected']:.2g} corrected)" in claim
    assert "weighted to the corpus" in claim
    custom = found.aggregates.custom
    assert (custom["threshold_rung"], custom["max_delta_rung"], custom["direction"]) == (3, 3, "rises")


def test_small_effects_of_both_signs_are_told_and_not_claimed(builds: ExperimentContext) -> None:
    found = sweep(builds, {3: 0.05, 12: -0.05}, noise=0.01, rungs=[3, 12], min_effect=0.5)
    assert found.claims == ()
    assert found.aggregates.custom["has_both_signs"]
    assert any("above rung 0 at 3, below it at 12" in text for text in found.findings)


def test_large_effects_of_both_signs_are_two_claims(builds: ExperimentContext) -> None:
    found = sweep(builds, {3: 1.0, 12: -2.0}, rungs=[3, 12])
    up, down = found.claims
    assert ("to 3 raises" in up, up.endswith("; at rung 3")) == (True, True)
    assert ("to 12 lowers" in down, down.endswith("; at rung 12")) == (True, True)
    custom = found.aggregates.custom
    assert (custom["direction"], custom["threshold_rung"], custom["has_both_signs"]) == ("falls", 12, True)
    assert custom["max_rung_delta"] < 0


def test_the_headline_is_no_cell_of_few_contexts(builds: ExperimentContext) -> None:
    """The highest rungs fit in few contexts; there the feature is wild."""
    found = sweep(builds, dict.fromkeys((3, 6, 9, 12, 15), 0.5) | dict.fromkeys(range(30, 58), -2.5))
    rows = {row["rung"]: row for row in found.tables["rung_deltas"].rows}
    custom = found.aggregates.custom
    assert min(row["mean_delta"] for row in rows.values() if row["n"]) < -1
    assert not rows[custom["max_delta_rung"]]["flag"]
    assert custom["max_rung_flag"] == ""
    assert np.sign(custom["max_rung_delta"]) == (1 if custom["direction"] == "rises" else -1)
