"""What each token of the vocabulary does to a feature, and which tokens go with it in the corpus.

Interventional: in every base context each token is removed where it is and added where it is not, by the smallest
legal change; the difference is always "with the token minus without it". Under cumulative coding removing a rung's
token takes the higher rungs of its family with it, and adding it brings the lower ones, so that neighbouring rungs
share their effect. Observational: log odds of each token in high rows (at or above a percentile of the active rows)
against all other rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, field_validator
from scipy.stats import hypergeom

from mechscope.core import Spec, UsageError, derive_seed, numpy_generator
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.base_contexts import draw_bases
from mechscope.experiments.cells import CELL_COLUMNS, FEW, flag_of
from mechscope.experiments.changes import Change, parse_held
from mechscope.experiments.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.levels_of_activity import as_quantile
from mechscope.experiments.responses import measure
from mechscope.experiments.selecting import ALPHA, confirm, with_halves
from mechscope.experiments.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED
from mechscope.stats import Z_95, benjamini_hochberg

__all__ = ["TokenInfluence", "TokenInfluenceVariables"]

BASES, MOST_TOKENS = 150, 300
INFLUENCE_COLUMNS = ("token", *CELL_COLUMNS, "removed_delta", "n_removed", "added_delta", "n_added",
                     "held_out_delta", "held_out_p", "verdict")  # fmt: skip
ENRICHMENT_COLUMNS = ("token", "n_high_with", "n_high", "n_other_with", "n_other", "high_share", "other_share",
                      "log_odds", "low", "high", "p", "q", "held_out_p", "verdict", "flag")  # fmt: skip
UP, DOWN, NONE = "enhancer", "suppressor", ""


class TokenInfluenceVariables(Spec):
    """The variables of token influence.

    Attributes:
        high_percentile: of the active rows, from which on a row is high; 90 and 0.9 mean the same.
        top_k: how many enhancers and suppressors are listed.
        stable_tokens, stable_groups, stable_weapon: what every condition has, as in a sweep.
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
        tokens = _tokens(context, findings)
        enriched = _observe(spec, variables, context, findings, tokens)
        if spec.mode == OBSERVED:
            _rank(enriched, "log_odds", variables.top_k, ENRICHMENT_COLUMNS, findings)
            for row in (row for row in enriched if row["verdict"]):
                odds = "more" if row["verdict"] == UP else "less"
                findings.claims.append(
                    f"{row['token']} is {odds} common in high rows of feature {spec.feature_id} than in the others "
                    f"(log odds {row['log_odds']:+.2g}, associated)"
                )
            return
        caused = _intervene(spec, variables, context, findings, tokens)
        _rank(caused, "mean_delta", variables.top_k, INFLUENCE_COLUMNS, findings)
        done = {row["token"]: row for row in caused}
        for row in enriched:
            other = done[row["token"]]
            is_flat = other["low"] is not None and other["low"] <= 0 <= other["high"]
            if row["verdict"] and not other["verdict"] and is_flat:
                findings.find(
                    f"{row['token']} is unequally common in high rows (log odds {row['log_odds']:+.2g}) "
                    f"though setting it changes nothing that could be measured ({other['mean_delta']:+.3g})"
                )


def _tokens(context: ExperimentContext, findings: Findings) -> dict[str, int]:
    """The tokens that are swept: no special ones; the commonest of a large vocabulary."""
    inputs, vocabulary = context.inputs, context.corpus.vocabulary
    ids = {name: index for index, name in enumerate(vocabulary)}
    names = [*(token for tokens in inputs.families.values() for token in tokens), *inputs.binary_tokens]
    if len(names) > MOST_TOKENS:
        counts = np.bincount(context.corpus.tokens.ids, minlength=len(vocabulary))
        findings.drop("tokens beyond the commonest, not swept", len(names) - MOST_TOKENS)
        findings.warn(f"only the {MOST_TOKENS} commonest of {len(names):,} tokens were swept")
        names = sorted(names, key=lambda name: -int(counts[ids[name]]))[:MOST_TOKENS]
    if not names:
        raise UsageError("a vocabulary of special tokens alone", expected="tokens", todo="use another subject")
    return {name: ids[name] for name in names}


def _observe(
    spec: ExperimentSpec,
    variables: TokenInfluenceVariables,
    context: ExperimentContext,
    findings: Findings,
    tokens: dict[str, int],
) -> list[dict[str, Any]]:
    is_main = spec.mode == OBSERVED
    found = slice_rows(spec, context, findings if is_main else Findings(), should_sample=is_main)
    if is_main and (variables.stable_tokens or variables.stable_groups or variables.stable_weapon):
        findings.warn("what is held constant applies to the intervention alone; narrow the slice instead")
    if not found.is_active.any():
        raise UsageError("no row of the slice is active", expected="active rows", todo="widen the slice")
    cut = float(np.quantile(found.values[found.is_active], variables.high_percentile))
    high = found.is_active & (found.values >= cut)
    _, cluster = np.unique(context.clusters_of(found.rows), return_inverse=True)
    generator = numpy_generator(derive_seed(spec.seed, "token influence"), "halves")
    second = (generator.permutation(int(cluster.max()) + 1) % 2 == 1)[cluster]
    findings.note(
        f"high rows: the {int(high.sum()):,} at or above {cut:.4g}, percentile {100 * variables.high_percentile:g} of "
        f"the {int(found.is_active.sum()):,} active rows; the other {int((~high).sum()):,} rows include those at zero; "
        "log odds with half a row added to each count, Wald intervals; p: hypergeometric, two-sided; q: "
        "Benjamini-Hochberg over the tokens; a verdict takes q in one half and p in the other"
    )
    masks = np.stack([context.rows_with(token)[found.rows] for token in tokens.values()], axis=1)
    everything, first, other = (_odds(masks[keep], high[keep]) for keep in (np.ones(len(high), bool), ~second, second))
    rows = []
    for index, name in enumerate(tokens):
        row = {"token": name, **{key: column[index] for key, column in everything.items()}}
        sign = np.sign(first["log_odds"][index])
        p_other = other["p"][index]
        holds = first["q"][index] < ALPHA and p_other < ALPHA and np.sign(other["log_odds"][index]) == sign
        row |= {"held_out_p": p_other, "verdict": (UP if sign > 0 else DOWN) if holds else NONE}
        n_with = int(row["n_high_with"] + row["n_other_with"])
        row["flag"] = flag_of(min(n_with, int(high.sum())))
        rows.append(row)
    rows.sort(key=lambda row: -np.nan_to_num(row["log_odds"], nan=-np.inf))
    findings.table("token_enrichment", ENRICHMENT_COLUMNS, rows, caption="OBSERVATIONAL: tokens in high rows.")
    findings.add(high_threshold=cut, n_high=int(high.sum()), high_percentile=variables.high_percentile)
    if is_main:
        findings.n_contexts_tested, findings.n_comparisons = len(found), int((~np.isnan(everything["p"])).sum())
        findings.aggregate(n_samples=len(found))
    return rows


def _odds(masks: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
    """Counts, log odds and tests of each token (columns of `masks`); none for tokens or high rows below 5."""
    n_high, n_other = int(high.sum()), int((~high).sum())
    k_high, k_other = masks[high].sum(axis=0), masks[~high].sum(axis=0)
    a, b, c, d = (count + 0.5 for count in (k_high, n_high - k_high, k_other, n_other - k_other))
    log_odds, error = np.log(a * d / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    k, n = k_high + k_other, n_high + n_other
    tails = np.minimum(hypergeom.sf(k_high - 1, n, k, n_high), hypergeom.cdf(k_high, n, k, n_high))
    known = (k >= FEW) & (n - k >= FEW) & (n_high >= FEW)
    p = np.where(known, np.minimum(1.0, 2 * tails), np.nan)
    q = benjamini_hochberg(p, skip_nan=True) if known.any() else p

    def kept(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, np.nan)

    return {
        "n_high_with": k_high, "n_high": np.full(len(k), n_high),
        "n_other_with": k_other, "n_other": np.full(len(k), n_other),
        "high_share": k_high / max(1, n_high), "other_share": k_other / max(1, n_other),
        "log_odds": kept(log_odds), "low": kept(log_odds - Z_95 * error), "high": kept(log_odds + Z_95 * error),
        "p": p, "q": q,
    }  # fmt: skip


def _intervene(
    spec: ExperimentSpec,
    variables: TokenInfluenceVariables,
    context: ExperimentContext,
    findings: Findings,
    tokens: dict[str, int],
) -> list[dict[str, Any]]:
    groups = variables.stable_groups | ({} if variables.stable_weapon is None else {"weapon": variables.stable_weapon})
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
    bases = draw_bases(spec, context, findings, held=held, n_bases=BASES)
    swept = {name: token for name, token in tokens.items() if not _is_held(held.change, name, context)}
    changes = [Change("as it is")]
    for name, token in swept.items():
        changes += [Change(f"{name} removed", tokens_off=(token,)), Change(f"{name} added", tokens_on=(token,))]
    constraints = Constraints(spec.constraints, context, findings)
    responses = measure(context, spec.feature_id, bases, changes, constraints)
    has = np.array([[token in base.tokens for token in swept.values()] for base in bases.contexts])
    itself = responses.values[:, [0]]
    removed = np.where(has, itself - responses.values[:, 1::2], np.nan)
    added = np.where(has, np.nan, responses.values[:, 2::2] - itself)
    deltas = np.where(has, removed, added)
    findings.n_contexts_tested = int((~np.isnan(deltas).all(axis=1)).sum())
    is_withheld = constraints.floor(responses.values, touches_group=bool(held.change.groups))
    least = variables.min_effect * float(context.inputs.store.stats(spec.feature_id).effective_maximum or 1.0)
    seed = derive_seed(spec.seed, "token influence")
    cells, selecting = with_halves(deltas, bases, seed=seed)
    findings.n_comparisons = cells.n_tested
    rows = []
    for index, name in enumerate(swept):
        row = {"token": name, **cells.row(index), "verdict": NONE, "held_out_delta": None, "held_out_p": None}
        for word, values in (("removed", removed[:, index]), ("added", added[:, index])):
            known = values[~np.isnan(values)]
            row |= {f"{word}_delta": float(known.mean()) if len(known) else None, f"n_{word}": len(known)}
        if selecting.p_corrected[index] < ALPHA and abs(selecting.mean[index]) >= least:
            sign = float(np.sign(selecting.mean[index]))
            told = confirm(deltas[:, index], bases, sign=sign, min_effect=least, seed=derive_seed(seed, name))
            row |= {"held_out_delta": told.mean, "held_out_p": told.p}
            row["verdict"] = (UP if sign > 0 else DOWN) if told.holds else NONE
        rows.append(row)
        if row["verdict"] and not is_withheld:
            verb = "raises" if row["verdict"] == UP else "lowers"
            findings.claim(
                f"{name} {verb} feature {spec.feature_id} by {abs(row['mean_delta']):.3g} (set against unset)"
            )
    rows.sort(key=lambda row: -np.nan_to_num(row["mean_delta"], nan=-np.inf))
    findings.table(
        "token_deltas",
        INFLUENCE_COLUMNS,
        rows,
        caption="Activation with the token minus without it, paired. Intervals: 95 %, cluster bootstrap; p: sign-flip, "
        f"corrected by max-T over {cells.n_tested} tokens; effect: d_z. A verdict was chosen on one half of the base "
        "contexts and confirmed on the other.",
    )
    each = deltas[~np.isnan(deltas)]
    findings.aggregate(
        mean_delta=float(each.mean()) if len(each) else None,
        std_delta=float(each.std(ddof=1)) if len(each) > 1 else None,
        n_samples=len(bases),
    )
    findings.add(min_effect=least, held=held.words)
    # tokens that are held have no difference to show
    unswept = [name for name in tokens if name not in swept]
    return rows + [
        {"token": name, "low": None, "high": None, "verdict": NONE, "mean_delta": np.nan} for name in unswept
    ]


def _is_held(change: Change, name: str, context: ExperimentContext) -> bool:
    token = list(context.corpus.vocabulary).index(name)
    if token in change.tokens_on or any(context.domain.binaries[binary] == token for binary in change.binaries):
        return True
    return any(token in tokens for family in change.rungs for tokens in context.domain.families[family].tokens)


def _rank(rows: list[dict[str, Any]], value: str, top_k: int, columns: tuple[str, ...], findings: Findings) -> None:
    """The tokens with a verdict, the strongest first."""
    for verdict in (UP, DOWN):
        chosen = sorted((row for row in rows if row["verdict"] == verdict), key=lambda row: -abs(row[value]))[:top_k]
        findings.table(f"{verdict}s", columns, chosen, caption=f"The strongest {verdict}s, by {value}.")
        findings.add(**{f"{verdict}s": [row["token"] for row in chosen]})
