"""What a feature writes: its decoder row through the weights, and the outputs with the feature taken out or put in.

The weights give the direct path (`features decoder` reads the same numbers). The intervention runs rows with the
feature set to 0, what the dictionary leaves unexplained kept, and with its decoder row added (`output_effects`). Each
output's change is tested with max-T over the outputs, chosen on one half of the contexts and confirmed on the other,
and held against random directions of the same length: what those move as far says nothing of this feature.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.changing.base_contexts import draw_bases
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.figures.curves import curves_figure
from mechscope.experiments.findings import Findings
from mechscope.experiments.kind import ExperimentKind
from mechscope.experiments.outputs import (
    LOWERED,
    RAISED,
    WORDS,
    DecoderOutputVariables,
    OutputMeasurement,
    OutputReader,
    direct_effect,
)
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL
from mechscope.features import decoder_outputs
from mechscope.reports import Figure

__all__ = ["DecoderOutput", "DecoderOutputVariables"]

BASES, SHOWN = 100, 5


@EXPERIMENTS.register("decoder_output")
class DecoderOutput(ExperimentKind):
    """What a feature does to the model's outputs."""

    name = "decoder_output"
    title = "What a feature writes: weights, ablation and steering"
    variables = DecoderOutputVariables
    modes = (CAUSAL,)

    def run(
        self, spec: ExperimentSpec, variables: DecoderOutputVariables, context: ExperimentContext, findings: Findings
    ) -> None:
        """Read the weights, then take the feature out and put it in."""
        bases = draw_bases(spec, context, findings, n_bases=BASES)
        direct = _direct(spec, variables, context, findings)
        rows = np.array([base.row for base in bases.contexts], dtype=np.int64)
        reader = OutputReader(context, rows, spec.feature_id)
        findings.n_contexts_tested = len(bases)
        measurement = OutputMeasurement(spec, variables, context, findings, bases, reader, direct)
        for method in dict.fromkeys(variables.methods):
            measurement.measure(method)
        measurement.write_comparisons()
        findings.note(f"{reader.n_forwards:,} rows run through the model for outputs")

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """The outputs that are moved most, by each method."""
        figures = {}
        for word in WORDS.values():
            if f"{word}_outputs" not in result.tables:
                continue
            table = result.tables[f"{word}_outputs"]
            kept = [*table.rows[:SHOWN], *table.rows[-SHOWN:]] if len(table.rows) > 2 * SHOWN else table.rows
            curve = (f"{word}, logits", table.updated(rows=tuple(kept)), "mean_delta", "low", "high")
            figures[f"{word}_outputs"] = curves_figure(
                [curve], x="output", title="Outputs that the feature raises and lowers",
                caption=f"Feature {result.feature_id}, {word}; 95 % intervals.", value_title="change of logit",
            )  # fmt: skip
        return figures


def _direct(
    spec: ExperimentSpec, variables: DecoderOutputVariables, context: ExperimentContext, findings: Findings
) -> np.ndarray | None:
    """The effect by the weights, and the table of what `features decoder` shows."""
    known = decoder_outputs(context.inputs, spec.feature_id, n_outputs=variables.top_k)
    findings.add(
        path=known.path, decoder_norm=known.decoder_norm, decoder_norm_percentile=known.decoder_norm_percentile,
        output_norm_percentile=known.output_norm_percentile, contribution_percentile=known.contribution_percentile,
    )  # fmt: skip
    sides = ((RAISED, known.promoted), (LOWERED, known.suppressed))
    rows = [{"side": side, "output": score.output, "logits_per_unit": score.value} for side, scores in sides
            for score in scores]  # fmt: skip
    caption = f"By the weights, logits a unit of activation, {known.path}."
    findings.table("direct_outputs", ("side", "output", "logits_per_unit"), rows, caption=caption)
    direct = direct_effect(context.model, context.inputs.dictionary.W_dec[spec.feature_id].detach().float())
    if direct is None:
        findings.warn(f"no effect by the weights: {known.reason or 'the path to the outputs is not linear'}")
    return direct
