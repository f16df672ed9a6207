"""What each token of the vocabulary does to a feature, and which tokens go with it in the corpus.

Interventional: in every base context each token is removed where it is and added where it is not, by the smallest
legal change; the difference is always "with the token minus without it". Under cumulative coding removing a rung's
token takes the higher rungs of its family with it, and adding it brings the lower ones, so neighbouring rungs share
their effect. A family is therefore one unit: it starts at the lowest rung whose ADDITION moves the feature (a rung
above it moves it too, one below does not); where nothing could be added, at the highest rung whose removal does.
Observational: log odds of each token in high rows (at or above a percentile of the active rows) against all others;
a family speaks through its most unequal rung.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.changing.cells import CELL_COLUMNS
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.corpus_means import CORPUS_COLUMNS
from mechscope.experiments.changing.responses import measure
from mechscope.experiments.changing.token_effects import TESTED_COLUMNS, SweptTokens, judge_tokens, token_names
from mechscope.experiments.changing.wording import said_of_cell, said_size
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.dots import DotSeries, dots_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.levels_of_activity import as_quantile
from mechscope.experiments.observing.token_enrichment import (
    DOWN,
    ENRICHMENT_COLUMNS,
    UNIT_COLUMNS,
    UP,
    falling,
    observe_tokens,
)
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.reports import Figure

__all__ = ["TokenInfluence", "TokenInfluenceVariables"]

BASES, MOST_TOKENS, DRAWN = 150, 300, 30
INFLUENCE_COLUMNS = ("token", *CELL_COLUMNS, "typical_delta", "removed_delta", "n_removed", "added_delta", "n_added",
                     "held_out_delta", "held_out_p", *UNIT_COLUMNS, *TESTED_COLUMNS)  # fmt: skip


class TokenInfluenceVariables(Spec):
    """The variables of token influence.

    Attributes:
        high_percentile: of the active rows, from which on a row is high; 90 and 0.9 mean the same.
        top_k: how many enhancers and suppressors are listed.
        stable_tokens, stable_groups, stable_weapon: what every context, and every row, has.
        min_effect: least effect that counts, as a share of the feature's effective maximum.
    """

    high_percentile: float = 0.9
    top_k: int = Field(default=20, ge=1)
    stable_tokens: tuple[str, ...] = ()
    stable_groups: dict[str, str] = {}
    stable_weapon: str | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)

    @field_validator("high_percentile")
    @classmethod
    def _is_a_quantile(cls, value: float) -> float:
        return as_quantile(value, "high_percentile")

    @property
    def groups_held(self) -> dict[str, str]:
        """`stable_groups` with the weapon in it."""
        return self.stable_groups | ({} if self.stable_weapon is None else {"weapon": self.stable_weapon})


@EXPERIMENTS.register("token_influence")
class TokenInfluence(ExperimentKind):
    """Every token, removed or added; and its enrichment in high rows."""

    name = "token_influence"
    title = "What each token does to a feature"
    variables = TokenInfluenceVariables
    modes = (CAUSAL, OBSERVED)
    alternatives = (
        "the token goes with another token, or a weapon, that is what the feature follows",
        "players who take the token tend to build alike in other ways, and the feature follows those",
    )

    def run(
        self, spec: ExperimentSpec, variables: TokenInfluenceVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Sweep the vocabulary, or count."""
        held = parse_held(
            context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=variables.groups_held
        )
        findings.add(held=held.words)
        tokens = _tokens(context, findings, held, must_switch=spec.mode == CAUSAL)
        enriched = observe_tokens(spec, context, findings, tokens, held, high_percentile=variables.high_percentile)
        if spec.mode == OBSERVED:
            _rank(enriched, "log_odds", variables.top_k, ENRICHMENT_COLUMNS, findings)
            for row in (row for row in enriched if row["verdict"]):
                odds = "more" if row["verdict"] == UP else "less"
                findings.claim(
                    f"{_unit(row)} is {odds} common in high rows of feature {spec.feature_id} than in the others "
                    f"(log odds {said_size(row['log_odds'], row['low'], row['high'])}, {row['n_high_with']:,} of "
                    f"{row['n_high']:,} against {row['n_other_with']:,} of {row['n_other']:,} rows, "
                    f"p {row['p_corrected']:.2g} corrected{_where(held)}, associated)"
                )
            return
        caused = _intervene(spec, variables, context, findings, tokens, held)
        _rank(caused, "mean_delta", variables.top_k, INFLUENCE_COLUMNS, findings)
        done = {row["token"]: row for row in caused}
        moving = {row["family"] for row in caused if row["verdict"] and row["family"]}
        for row in enriched:
            other = done[row["token"]]
            is_flat = other["low"] is not None and other["low"] <= 0 <= other["high"]
            if row["verdict"] and not other["verdict"] and is_flat and row["family"] not in moving:
                findings.find(
                    f"{row['token']} is unequally common in high rows (log odds {row['log_odds']:+.2g}) "
                    f"though setting it changes nothing that could be measured ({other['mean_delta']:+.3g})"
                )

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The strongest tokens with their intervals, by what setting them does, or by their log odds."""
        is_caused = result.evidence == CAUSAL
        value = "mean_delta" if is_caused else "log_odds"
        table = result.tables["token_deltas" if is_caused else "token_enrichment"]
        known = [row for row in table.rows if isinstance(row.get(value), int | float)]
        shown = sorted(known, key=lambda row: -abs(_number(row[value])))[:DRAWN]
        order = [str(row["token"]) for row in sorted(shown, key=lambda row: -_number(row[value]))]
        n = "n" if is_caused else "n_high_with"
        said = "Activation with the token minus without it" if is_caused else "Log odds of the token in high rows"
        return {
            "tokens": dots_figure(
                [DotSeries(said, table.rows, value, "low", "high", n)],
                row_name="token",
                order=order,
                title=f"Tokens and feature {result.feature_id}",
                caption=f"{said}, 95 % intervals; the {len(order)} of {len(table.rows)} tokens furthest from 0.",
                value_title="change of activation" if is_caused else "log odds",
            )
        }


def _number(value: Any) -> float:
    return float(value)


def _where(held: Held) -> str:
    return f", on contexts with {held.words}" if held.words else ""


def _unit(row: Mapping[str, Any]) -> str:
    return f"{row['family']} (most so its rung {row['start']})" if row["family"] else str(row["token"])


def _claim(row: Mapping[str, Any], feature: int, held: Held) -> str:
    """What a token or family does, by the very cell that was tested."""
    sign = 1 if row["verdict"] == UP else -1
    cell = {name: row[f"tested_{name}"] for name in ("low", "high", "n", "p_corrected", *CORPUS_COLUMNS)}
    done = {"added": "added where it was not", "removed": "taken from where it was"}.get(
        row["tested"], "set against unset"
    )
    return (f"{row['family']} {row['said_rungs']}" if row["family"] else str(row["token"])) + (
        f" {'raises' if sign > 0 else 'lowers'} feature {feature} "
        f"{said_of_cell(cell | {'mean_delta': row['tested_delta']}, sign=sign)} ({row['token']} {done}{_where(held)})"
    )


def _tokens(context: ExperimentContext, findings: Findings, held: Held, *, must_switch: bool) -> SweptTokens:
    """The tokens that are swept: no special ones, none that are held; the commonest of a large vocabulary."""
    vocabulary = context.corpus.vocabulary
    ids = {name: index for index, name in enumerate(vocabulary)}
    names = token_names(context, must_switch=must_switch)
    constant = {token for family in held.change.rungs for rung in context.domain.families[family].tokens
                for token in rung}  # fmt: skip
    constant |= {context.domain.binaries[binary] for binary in held.change.binaries} | set(held.change.tokens_on)
    names = [name for name in names if ids[name] not in constant]
    if len(names) > MOST_TOKENS:
        counts = np.bincount(context.corpus.tokens.ids, minlength=len(vocabulary))
        findings.drop("tokens beyond the commonest, not swept", len(names) - MOST_TOKENS)
        findings.warn(f"only the {MOST_TOKENS} commonest of {len(names):,} tokens were swept")
        names = sorted(names, key=lambda name: -int(counts[ids[name]]))[:MOST_TOKENS]
    if not names:
        raise UsageError(
            f"no token to sweep: {context.domain.name!r} can switch none by itself (it lists {_n_listed(context)}), or "
            "all are held constant",
            expected="binaries, or families of a corpus of sets",
            todo="declare binaries in a YAML file (docs/domains.md), or use --mode observational, which "
            "looks at every token",
        )
    return SweptTokens.of(context.domain, {name: ids[name] for name in names})


def _n_listed(context: ExperimentContext) -> str:
    domain = context.domain
    return f"{len(domain.families)} families and {len(domain.binaries)} binaries"


def _intervene(
    spec: ExperimentSpec,
    variables: TokenInfluenceVariables,
    context: ExperimentContext,
    findings: Findings,
    tokens: SweptTokens,
    held: Held,
) -> list[dict[str, Any]]:
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    changes = [Change("as it is")]
    for name, token in tokens.ids.items():
        changes += [Change(f"{name} removed", tokens_off=(token,)), Change(f"{name} added", tokens_on=(token,))]
    constraints = Constraints(spec.constraints, context, findings)
    responses = measure(context, spec.feature_id, bases, changes, constraints)
    holds = np.zeros((len(bases), len(context.corpus.vocabulary)), bool)
    for at, base in enumerate(bases.contexts):
        holds[at, list(base.tokens)] = True
    has = holds[:, list(tokens.ids.values())]
    itself = responses.values[:, [0]]
    removed = np.where(has, itself - responses.values[:, 1::2], np.nan)
    added = np.where(has, np.nan, responses.values[:, 2::2] - itself)
    findings.n_contexts_tested = int((~np.isnan(removed) | ~np.isnan(added)).any(axis=1).sum())
    constraints.floor(responses.values, touches_group=bool(held.change.groups))
    least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    seed = derive_seed(spec.seed, "token influence")
    rows, n_tested = judge_tokens(tokens, removed, added, bases, least=least, seed=seed)
    findings.n_comparisons = n_tested
    for row in rows:
        if row["depends_on_context"]:
            findings.find(
                f"{row['token']}: its sign depends on context: taken from contexts that have it, with minus without is "
                f"{row['removed_delta']:+.3g} (n = {row['n_removed']:,}), added to those without it "
                f"{row['added_delta']:+.3g} (n = {row['n_added']:,})"
            )
        elif row["verdict"]:
            findings.claim(_claim(row, spec.feature_id, held))
    rows.sort(key=lambda row: falling(row["mean_delta"]))
    findings.table(
        "token_deltas",
        INFLUENCE_COLUMNS,
        rows,
        caption="Activation with the token minus without it, paired. Intervals: 95 %, cluster bootstrap; p: sign-flip, "
        f"corrected by max-T over {n_tested} cells (tokens, and what adding and removing each rung does); effect: d_z. "
        "A family has one verdict, at the rung where it starts, chosen on one half and confirmed on the other, there "
        "also beyond typical_delta: what the median token does to the same contexts.",
    )
    each = np.where(np.isnan(removed), added, removed)
    each = each[~np.isnan(each)]
    findings.aggregate(
        mean_delta=float(each.mean()) if len(each) else None,
        std_delta=float(each.std(ddof=1)) if len(each) > 1 else None,
        n_samples=len(bases),
    )
    findings.add(min_effect=least)
    return rows


def _rank(rows: list[dict[str, Any]], value: str, top_k: int, columns: tuple[str, ...], findings: Findings) -> None:
    """The tokens with a verdict, the strongest first: by the cell that was tested."""

    def size(row: Mapping[str, Any]) -> float:
        return abs(_number(row[value] if row.get("tested") is None else row["tested_delta"]))

    for verdict in (UP, DOWN):
        chosen = sorted((row for row in rows if row["verdict"] == verdict), key=size, reverse=True)[:top_k]
        findings.table(f"{verdict}s", columns, chosen, caption=f"The strongest {verdict}s, by {value}.")
        findings.add(**{f"{verdict}s": [row["token"] for row in chosen]})
