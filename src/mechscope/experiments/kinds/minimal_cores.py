"""Irreducible sets of tokens that keep a feature up, and whether they do so, and are needed, in held-out contexts.

1. In highly active contexts of one half tokens are taken away (slots stay empty, lower rungs stay, the weapon stays).
   A core keeps the stated share of the context's activation and loses it with any further token. All subsets are tried
   for up to 10 tokens, else QuickXplain or ddmin within a budget, with all alternative cores that turn up.
2. Each core is tried in every searched context that has it; tokens are counted; a few cores that cover the contexts.
   Where most contexts need no token at all the question does not apply: that is said first, and nothing of cores.
3. On the other half a core is kept alone, inserted, and removed, each beside a change of the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field, field_validator

from mechscope.core import Spec, UsageError, derive_seed
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.cores.contexts import CoreContexts
from mechscope.experiments.cores.estimates import CoreVerification
from mechscope.experiments.cores.finding import CoreMethod, FoundCores, search_contexts
from mechscope.experiments.cores.players import Players
from mechscope.experiments.cores.tables import write_contexts, write_cores
from mechscope.experiments.cores.trials import CoreTrials
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.observing.levels_of_activity import as_quantile
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL
from mechscope.reports import Estimate, Figure
from mechscope.reports.figures import NamedValue, named_bars

__all__ = ["MinimalCores", "MinimalCoresVariables"]

TOKENS_SHOWN = 40


class MinimalCoresVariables(Spec):
    """The variables of minimal cores.

    Attributes:
        threshold: share of a context's own activation that a core must keep.
        high_percentile: of the active rows, from which on a context is searched; 90 and 0.9 mean the same.
        n_contexts: how many are searched, unless the slice has a `sample_size`.
        method: "auto" tries all subsets of up to 10 tokens and uses ddmin beyond; "quickxplain" takes the feature as
            monotone (fewer evaluations, checked for contradictions); "ddmin" assumes nothing.
        budget: evaluations that the search in one context may use.
        top_k: how many cores are verified.
        n_held_out: held-out contexts a trial of a core.
        stable_tokens, stable_weapon: what every condition holds; never part of a core.
        min_effect: least effect that counts, as a share of the feature's effective maximum.
    """

    threshold: float = Field(default=0.5, gt=0, le=1)
    high_percentile: float = 0.9
    n_contexts: int = Field(default=20, ge=5)
    method: CoreMethod = "auto"
    budget: int = Field(default=1024, ge=2)
    top_k: int = Field(default=8, ge=1)
    n_held_out: int = Field(default=100, ge=5)
    stable_tokens: tuple[str, ...] = ()
    stable_weapon: str | None = None
    min_effect: float = Field(default=0.02, ge=0, le=1)

    @field_validator("high_percentile")
    @classmethod
    def _is_a_quantile(cls, value: float) -> float:
        return as_quantile(value, "high_percentile")


@EXPERIMENTS.register("minimal_cores")
class MinimalCores(ExperimentKind):
    """Minimal cores."""

    name = "minimal_cores"
    aliases = ("cores",)
    title = "Irreducible sets of tokens that keep the feature up"
    variables = MinimalCoresVariables
    modes = (CAUSAL,)

    def run(
        self, spec: ExperimentSpec, variables: MinimalCoresVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Search, count, verify."""
        groups = {} if variables.stable_weapon is None else {"weapon": variables.stable_weapon}
        held = parse_held(context.domain, context.corpus.vocabulary, tokens=variables.stable_tokens, groups=groups)
        constraints = Constraints(spec.constraints, context, findings)
        drawn = CoreContexts.draw(
            spec,
            context,
            findings,
            constraints,
            held,
            quantile=variables.high_percentile,
            n_contexts=variables.n_contexts,
        )
        names = (*held.change.rungs, *held.change.binaries)
        players = [Players.of(context.domain, base, leave_out=names) for base in drawn.searched]
        searched = search_contexts(
            context,
            spec.feature_id,
            players,
            constraints,
            share=variables.threshold,
            method=variables.method,
            budget=variables.budget,
            seed=derive_seed(spec.seed, "cores"),
        )
        if len(searched) < FEW:
            raise UsageError(
                f"{len(searched)} contexts in which the feature is active and tokens can be left out",
                expected=f"at least {FEW}",
                todo="use a domain with families or binaries, or another slice",
            )
        findings.n_contexts_tested = len(searched)
        found = FoundCores.of(searched, context, spec.feature_id, constraints, share=variables.threshold)
        applies = write_cores(found, searched, context, findings)
        if found.cores and applies:
            verification = CoreVerification(
                tuple(dict.fromkeys([*found.covering, *found.cores]))[: variables.top_k],
                CoreTrials(context, spec.feature_id, drawn, constraints, held=names, seed=spec.seed),
                findings,
                share=variables.threshold,
                level=variables.threshold * float(np.median([one.activation for one in searched])),
                least=variables.min_effect * _effective_maximum(context, spec.feature_id),
                n=variables.n_held_out,
            )
            verification.run(spec, constraints)
        elif applies:
            findings.warn("no core was found in any context searched, so there is none to verify")
        write_contexts(searched, context, findings, share=variables.threshold)

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """How often each token is in a core, and what inserting and removing the cores does."""
        figures = {}
        if "tokens" in result.tables:
            figures["tokens_in_cores"] = named_bars(
                _named(result, "tokens", ("token",), "share", prefix="share_")[:TOKENS_SHOWN],
                title="Tokens in cores",
                caption=f"Feature {result.feature_id}: share of the searched contexts with the token in which it is in "
                "a core; 95 % intervals.",
                value_title="share",
            )
        if "core_tests" in result.tables:
            figures["core_tests"] = named_bars(
                _named(result, "core_tests", ("test", "core"), "mean_delta"),
                title="Cores put in and taken out",
                caption=f"Feature {result.feature_id}, held-out contexts: paired change of the activation; 95 % "
                "intervals.",
                value_title="change of activation",
                reference=0.0,
            )
        return figures


def _named(
    result: ExperimentResult, table: str, names: Sequence[str], value: str, *, prefix: str = ""
) -> list[NamedValue]:
    found = []
    for row in result.tables[table].rows:
        number, low, high, n = (row.get(key) for key in (value, f"{prefix}low", f"{prefix}high", "n"))
        if isinstance(number, int | float) and isinstance(n, int):
            ends = {"low": low, "high": high} if low is not None and high is not None else {}
            estimate = Estimate.parse({"value": number, "n": n, **ends})
            found.append(NamedValue(name=": ".join(str(row[name]) for name in names), estimate=estimate))
    return found


def _effective_maximum(context: ExperimentContext, feature: int) -> float:
    values = context.row_activations(feature)
    return float(np.quantile(values[values > 0], 0.995))
