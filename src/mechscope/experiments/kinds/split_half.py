"""Whether the mean activation with each token comes out again on another half of the rows."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mechscope.core import Spec, derive_seed, numpy_generator
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.slicing import slice_rows
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import OBSERVED
from mechscope.stats import split_half

__all__ = ["SplitHalf", "SplitHalfVariables"]


class SplitHalfVariables(Spec):
    """The variables.

    Attributes:
        n_splits: random halves. min_rows: least rows with a token. least: reliability from which on it passes.
    """

    n_splits: int = Field(default=100, ge=10)
    min_rows: int = Field(default=20, ge=5)
    least: float = Field(default=0.7, gt=0, le=1)


@EXPERIMENTS.register("split_half")
class SplitHalf(ExperimentKind):
    """Split-half reliability over tokens."""

    name = "split_half"
    title = "Reliability of token means over random halves"
    variables = SplitHalfVariables
    modes = (OBSERVED,)
    alternatives = ("a reliable difference between tokens may come from what goes along with them",)

    def run(
        self, spec: ExperimentSpec, variables: SplitHalfVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Correlate halves, and halves of the same activations shuffled over rows."""
        found = slice_rows(spec, context, findings)
        held = np.stack([context.rows_with(t)[found.rows] for t in range(len(context.corpus.vocabulary))], axis=1)
        n_with = held.sum(axis=0)
        held = held[:, (n_with >= variables.min_rows) & (n_with < len(found))]
        seed = derive_seed(spec.seed, "split half")
        shuffled = numpy_generator(seed, "shuffle").permutation(found.values)
        rows = []
        for name, values in (("as they are", found.values), ("shuffled", shuffled)):
            got = split_half(
                np.where(held, values[:, None], np.nan),
                seed=seed,
                clusters=context.clusters_of(found.rows),
                n_splits=variables.n_splits,
            )
            rows.append(
                {"activations": name, "reliability": got.value, "low": got.low, "high": got.high, "half_r": got.half,
                 "n": got.n, "n_tokens": got.n_items, "passes": got.value >= variables.least and got.low > 0}
            )  # fmt: skip
        findings.table("reliability", tuple(rows[0]), rows, caption="Spearman-Brown; ends: middle 95 % of the splits.")
        findings.aggregate(n_samples=len(found))
        findings.n_contexts_tested = len(found)
        findings.add(reliability=rows[0]["reliability"], passes=rows[0]["passes"], shuffled=rows[1]["reliability"])
