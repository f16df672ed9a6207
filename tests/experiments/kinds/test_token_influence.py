"""Token influence: planted enhancers and suppressors rank first; what only goes along is told from what acts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_cases import opened, set_corpus, set_model
from scipy.stats import fisher_exact

from mechscope.corpora.domain import Context
from mechscope.experiments import ExperimentContext, ExperimentResult, ExperimentSpec, find_kind, get_runner_for_type
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.token_effects import SweptTokens, judge_tokens
from mechscope.features import FeatureInputs
from mechscope.testing.planted_features import plant_feature

FEATURE = 3
ENHANCER, SUPPRESSOR = "ninja_squid", "stealth_jump"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureInputs]:
    root: Path = tmp_path_factory.mktemp("influence")
    with opened(set_model(), set_corpus(), "pooled", root) as found:
        yield found


@pytest.fixture(scope="module")
def planted(inputs: FeatureInputs) -> ExperimentContext:
    """Ninja Squid adds 4, Stealth Jump takes 2, quick respawn adds with its rungs; nothing else acts."""

    def activation(context: Context) -> float:
        respawn = 1.0 * (domain.rung(context, "quick_respawn") >= 12)
        return 3.0 + 4 * domain.has(context, ENHANCER) - 2 * domain.has(context, SUPPRESSOR) + respawn

    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    return plant_feature(inputs, FEATURE, activation)


def run(planted: ExperimentContext, mode: str, n_bases: int = 80, **variables: object) -> ExperimentResult:
    spec = ExperimentSpec.parse(
        {"type": "token_influence", "feature_id": FEATURE, "mode": mode, "variables": variables,
         "dataset_slice": {"sample_size": n_bases} if mode == "interventional" else {}}
    )  # fmt: skip
    result = get_runner_for_type("token_influence").run(spec, planted)
    assert result.success, result.error_message
    return result


def rows_of(result: ExperimentResult, table: str) -> Any:
    return result.tables[table].rows


def custom(result: ExperimentResult) -> Any:
    return result.aggregates.custom


@pytest.fixture(scope="module")
def caused(planted: ExperimentContext) -> ExperimentResult:
    return run(planted, "interventional", high_percentile=90)


def test_planted_tokens_rank_first_with_their_planted_size(caused: ExperimentResult) -> None:
    assert custom(caused)["enhancers"][0] == ENHANCER
    assert custom(caused)["suppressors"] == [SUPPRESSOR]
    first = rows_of(caused, "enhancers")[0]
    assert first["mean_delta"] == pytest.approx(4.0)
    assert first["n"] == first["n_removed"] + first["n_added"]
    assert rows_of(caused, "suppressors")[0]["mean_delta"] == pytest.approx(-2.0)
    assert {name.rsplit("_", 1)[0] for name in custom(caused)["enhancers"][1:]} == {"quick_respawn"}
    assert caused.evidence == "interventional"


def test_inert_tokens_have_no_effect_at_all(caused: ExperimentResult) -> None:
    inert = [row for row in rows_of(caused, "token_deltas") if not row["token"].startswith(
        ("quick_respawn", ENHANCER, SUPPRESSOR))]  # fmt: skip
    others = [row["mean_delta"] for row in inert if row["n"] and row["token"].rsplit("_", 1)[-1].isdigit()]
    assert len(others) > 50
    assert np.abs(others).max() == 0


def test_enrichment_is_the_odds_ratio_of_the_table(planted: ExperimentContext) -> None:
    result = run(planted, "observational", high_percentile=0.9)
    assert custom(result) == custom(run(planted, "observational", high_percentile=90))
    rows = {row["token"]: row for row in rows_of(result, "token_enrichment")}
    assert custom(result)["enhancers"][0] == ENHANCER
    row = rows[ENHANCER]
    counts = [[row["n_high_with"], row["n_high"] - row["n_high_with"]],
              [row["n_other_with"], row["n_other"] - row["n_other_with"]]]  # fmt: skip
    values = planted.row_activations(FEATURE)
    high = values >= np.quantile(values[values > 0], 0.9)
    assert row["n_high"] == high.sum()
    has = planted.rows_with(planted.domain.binaries[ENHANCER])
    assert (row["n_high_with"], row["n_other_with"]) == ((has & high).sum(), (has & ~high).sum())
    a, b, c, d = (np.ravel(counts) + 0.5).tolist()
    assert row["log_odds"] == pytest.approx(np.log(a * d / b / c))
    assert row["p"] < 0.001
    assert fisher_exact(counts).pvalue < 0.001
    assert row["low"] < row["log_odds"] < row["high"]
    assert all("associated" in claim for claim in result.claims)


def test_a_null_feature_claims_nothing(inputs: FeatureInputs) -> None:
    generator = np.random.default_rng(5)
    noise: dict[object, float] = {}
    null = plant_feature(inputs, FEATURE, lambda c: noise.setdefault(c.key, float(generator.normal(3, 0.5))))
    assert run(null, "interventional", n_bases=40).claims == ()


@pytest.mark.parametrize(("start", "sign"), [(3, 1), (12, -1)])
def test_a_family_is_one_claim_from_the_rung_where_it_starts(inputs: FeatureInputs, start: int, sign: int) -> None:
    """All rungs from the planted one on are tied by the coding; one claim names that one."""
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    context = plant_feature(inputs, FEATURE, lambda c: 3.0 + sign * (domain.rung(c, "sub_power_up") >= start))
    result = run(context, "interventional", n_bases=40)
    verb = "raises" if sign > 0 else "lowers"
    token = f"sub_power_up_{start}"
    (claim,) = result.claims
    assert claim.startswith(f"sub_power_up from rung {start} on")
    assert f" {verb} feature {FEATURE} by " in claim
    assert claim.endswith(f"({token} added where it was not)")
    (row,) = (row for row in rows_of(result, "token_deltas") if row["token"] == token)
    assert (row["tested"], row["tested_n"]) == ("added", row["n_added"])
    assert row["tested_delta"] == pytest.approx(row["added_delta"])
    assert f"by {abs(row['tested_delta']):.3g} [" in claim
    assert f"in {row['tested_n']} base contexts" in claim
    assert f"(p {row['tested_p_corrected']:.2g} corrected), by {abs(row['tested_corpus_delta']):.3g} [" in claim
    assert custom(result)["enhancers" if sign > 0 else "suppressors"] == [token]
    assert custom(result)["suppressors" if sign > 0 else "enhancers"] == []
    moving = [row for row in rows_of(result, "token_deltas") if row["family"] == "sub_power_up" and row["mean_delta"]]
    assert len(moving) > 1  # the others show their share, and carry no verdict
    observed = run(context, "observational")
    assert len([claim for claim in observed.claims if "sub_power_up" in claim]) <= 1


def test_figures_show_the_strongest_tokens(planted: ExperimentContext, caused: ExperimentResult) -> None:
    figure = find_kind("token_influence").draw(caused)["tokens"]
    shown = [row[0] for row in figure.numbers.rows] if figure.numbers else []
    assert ENHANCER in shown
    assert SUPPRESSOR in shown
    assert len(shown) == 30
    seen = find_kind("token_influence").draw(run(planted, "observational"))["tokens"]
    assert seen.traces[0]["name"].startswith("Log odds")


def test_what_acts_at_one_rung_alone_is_not_claimed_of_those_above(inputs: FeatureInputs) -> None:
    domain = plant_feature(inputs, FEATURE, lambda _: 1.0).domain
    context = plant_feature(inputs, FEATURE, lambda c: 3.0 + 2.0 * (domain.rung(c, "sub_power_up") == 3))
    result = run(context, "interventional", n_bases=100)
    said = [claim for claim in result.claims if "raises" in claim]
    assert all(claim.startswith("sub_power_up at rung 3 raises") for claim in said)
    assert not any("rung 3 on" in claim for claim in result.claims)


def test_a_token_whose_sign_depends_on_context_is_told() -> None:
    """Taken from 30 contexts it was worth 2, added to 30 others it takes 2; beside it are tokens that do nothing."""
    n = 60
    removed, added = np.full((n, 4), np.nan), np.zeros((n, 4))
    removed[:30, 0], added[:30, 0], added[30:, 0] = 2.0, np.nan, -2.0
    removed[:30, 1:], added[:30, 1:] = 0.0, np.nan
    bases = Bases([], np.zeros(n), np.zeros(n, np.int64), np.ones(n), np.arange(n), np.arange(n) % 2 == 1)
    tokens = SweptTokens({name: at for at, name in enumerate("abcd")}, {}, {})
    rows, _ = judge_tokens(tokens, removed, added, bases, least=0.1, seed=0)
    assert [row["depends_on_context"] for row in rows] == [True, False, False, False]
