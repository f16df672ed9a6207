"""The tables of a search for cores."""

from __future__ import annotations

from collections.abc import Sequence

from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.cores.finding import FoundCores, SearchedContext, consensus, count_tokens
from mechscope.experiments.findings import DOES_NOT_APPLY, Findings

__all__ = ["write_contexts", "write_cores"]

CORES_SHOWN = 40
CORE_COLUMNS = (
    "core",
    "size",
    "n",
    "n_sufficient",
    "share",
    "share_low",
    "share_high",
    "n_minimal",
    "cover_rank",
    "flag",
)
TOKEN_COLUMNS = (
    "token",
    "n",
    "n_in_core",
    "share",
    "share_low",
    "share_high",
    "n_in_every_core",
    "contexts_share",
    "flag",
)
CONTEXT_COLUMNS = ("row", "context", "activation", "baseline", "n_tokens", "n_cores", "smallest_core")
CONTEXT_CORE_COLUMNS = ("row", "core", "size", "activation", "largest_without_one")
SEARCH_COLUMNS = ("row", "method", "is_complete", "statement", "n_evaluations", "n_contradictions")


def write_contexts(
    searched: Sequence[SearchedContext],
    context: ExperimentContext,
    findings: Findings,
    *,
    share: float,
) -> None:
    """What was found in each context: the tables `contexts`, `context_cores` and `searches`."""
    kept = f"{share:g} of the activation"
    findings.table(
        "contexts",
        CONTEXT_COLUMNS,
        [
            {
                "row": one.players.base.row,
                "context": context.domain.render(one.players.base),
                "activation": one.activation,
                "baseline": one.baseline,
                "n_tokens": len(one.players),
                "n_cores": len(one.cores),
                "smallest_core": str(one.cores[0]) if one.cores else None,
            }
            for one in searched
        ],
        caption=f"Searched contexts, by corpus row, and how many cores keep {kept} with all other tokens left out; "
        "baseline: with none left.",
    )
    findings.table(
        "context_cores",
        CONTEXT_CORE_COLUMNS,
        [
            {
                "row": one.players.base.row,
                "core": str(one.players.core(core.members)),
                "size": len(core.members),
                "activation": core.value,
                "largest_without_one": max(core.deletion_values, default=None),
            }
            for one in searched
            for core in one.search.cores
            if core.is_one_minimal or not core.members
        ],
        caption="Every core of every searched context: activation with nothing else, and the largest with one token "
        f"less, which falls short of {kept}. Families stand at their lowest sufficient rung.",
    )
    findings.table(
        "searches",
        SEARCH_COLUMNS,
        [
            {
                "row": one.players.base.row,
                "method": one.search.method,
                "is_complete": one.search.is_complete,
                "statement": one.search.statement,
                "n_evaluations": one.search.n_evaluations,
                "n_contradictions": one.search.n_contradictions,
            }
            for one in searched
        ],
        caption="How far each search went; n_contradictions: pairs of sets in which more tokens gave less.",
    )
    stuck = {f"{name} cannot be absent: it is held against rung {rung}" for one in searched
             for name, rung in one.players.floors.items() if rung}  # fmt: skip
    for text in sorted(stuck):
        findings.note(text)
    n_complete = sum(one.search.is_complete for one in searched)
    if n_complete < len(searched):
        findings.warn(
            f"in {len(searched) - n_complete} of {len(searched)} contexts the list of cores may not be complete: "
            "see the table of searches, or raise `budget`"
        )


def write_cores(
    found: FoundCores, searched: Sequence[SearchedContext], context: ExperimentContext, findings: Findings
) -> bool:
    """What was found over all contexts: aggregates, and the tables `cores` and `tokens`.

    False where most contexts need no token: the question does not apply, which is a warning; then nothing is said of
    the cores of the others.
    """
    n_bare = sum(any(not core.parts for core in one.cores) for one in searched)
    applies = 2 * n_bare <= len(searched)
    shown = found.cores if applies else ()
    findings.add(
        n_contexts=len(searched),
        n_without_tokens=n_bare,
        n_distinct_cores=len(found.cores),
        top_core=str(shown[0]) if shown else None,
        top_core_share=found.n_sufficient[shown[0]] / len(searched) if shown else None,
        consensus_core=str(consensus(searched)) if applies else None,
        covering_cores=[str(core) for core in found.covering] if applies else [],
        share_complete=sum(one.search.is_complete for one in searched) / len(searched),
        n_evaluations=sum(one.search.n_evaluations for one in searched),
    )
    findings.aggregate(n_samples=len(searched))
    inputs = ", ".join(context.domain.settable_groups)
    kept = f"what no search leaves out{f' ({inputs} among it)' if inputs else ''} keeps the share by itself"
    needless = f"in {n_bare} of {len(searched)} contexts no token is needed: {kept}"
    if not applies:
        findings.warnings.insert(0, f"{DOES_NOT_APPLY}: {needless}")
        return False
    findings.note(
        "consensus_core: the tokens that are in some core in more than half of the searched contexts; where cores are "
        "alternatives it holds more than any one of them needs"
    )
    if n_bare:
        findings.find(needless)
    findings.table(
        "cores",
        CORE_COLUMNS,
        [found.row(core) for core in found.cores[:CORES_SHOWN]],
        caption="Of the searched contexts that have all of a core (n), those in which it suffices alone; n_minimal: in "
        "which it is irreducible; cover_rank: place in a short list of which each context has one. 95 % Wilson "
        f"intervals. {len(found.cores)} distinct cores.",
    )
    findings.table(
        "tokens",
        TOKEN_COLUMNS,
        count_tokens(searched),
        caption="Of the searched contexts that have a token (n), those in which it is in a core; in every core: no "
        "core does without it. A rung counts where a core needs this rung or a higher one. 95 % Wilson intervals.",
    )
    return True
