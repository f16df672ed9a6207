"""One feature's effect on the outputs by one method: each output tested, held against controls and the weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from mechscope.core import derive_seed
from mechscope.experiments.changing.base_contexts import Bases
from mechscope.experiments.changing.cells import CELL_COLUMNS, FEW, PairedCells, paired_cells
from mechscope.experiments.changing.selecting import ALPHA, confirm
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.outputs.controls import agreement_of, control_directions
from mechscope.experiments.outputs.reader import Method, OutputEffects, OutputReader
from mechscope.experiments.outputs.variables import DecoderOutputVariables
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["LOWERED", "RAISED", "WORDS", "OutputMeasurement"]

NAMED, LARGEST_EFFECT, TIE = 5, 1e4, 1e-12
CONTROL_CONTEXTS = 40
RAISED, LOWERED, NONE = "raised", "lowered", ""
OUTPUT_COLUMNS = ("output", *CELL_COLUMNS, "probability_delta", "direct", "control_p", "held_out_delta",
                  "held_out_p", "verdict")  # fmt: skip
CONTROL_COLUMNS = ("method", "direction", "rms", "largest", *CELL_COLUMNS)
AGREEMENT_COLUMNS = ("method", "pearson", "low", "high", "spearman", "slope", "held_out_pearson",
                     "raised_shared", "lowered_shared", "n", "n_outputs")  # fmt: skip
WORDS: dict[Method, str] = {"ablate": "ablated", "steer": "steered"}


@dataclass(frozen=True)
class OutputMeasurement:
    """One experiment at work.

    Attributes:
        bases: the contexts, in the order of the reader's rows. direct: effect by the weights, None where there is none.
    """

    spec: ExperimentSpec
    variables: DecoderOutputVariables
    context: ExperimentContext
    findings: Findings
    bases: Bases
    reader: OutputReader
    direct: np.ndarray | None
    _controls: list[dict[str, Any]] = field(default_factory=list)
    _agreement: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, method: Method) -> None:
        """Outputs, controls and agreement of one method; claims what passes all of them."""
        used = self.reader.activations > 0 if method == "ablate" else np.ones(len(self.bases), bool)
        bases = _only(self.bases, used)
        if len(np.unique(bases.clusters)) < FEW:
            self.findings.warn(f"the feature is active in {int(used.sum())} base contexts: nothing to take out")
            return
        inputs, variables = self.context.inputs, self.variables
        seed, feature = derive_seed(self.spec.seed, "decoder output", method), self.spec.feature_id
        strength = variables.steer_to * float(inputs.store.stats(feature).effective_maximum or 1.0)
        own = self._effects(inputs.dictionary.W_dec[feature].detach().float().cpu(), method, strength, used)
        random, matched = control_directions(
            inputs, feature, n_random=variables.n_random, n_matched=variables.n_matched, seed=seed
        )
        # base contexts come from each region of activity in turn, so that the first ones stand for all
        few = _only(bases, np.arange(len(bases)) < CONTROL_CONTEXTS)
        beside = OutputReader(self.context, np.array([base.row for base in few.contexts], dtype=np.int64), feature)
        drawn = [beside.effects(direction, method, strength=strength) for direction in random]
        others = {name: beside.effects(direction, method, strength=strength) for name, direction in matched.items()}
        self.reader.n_forwards += beside.n_forwards
        own_few = OutputEffects(own.logits[: len(few)], own.probabilities[: len(few)])
        self._compare(method, own_few, drawn, others, few, seed)
        self._aggregate(method, own)
        largest = np.array([np.abs(control.logits.mean(axis=0)).max() for control in drawn])
        reached = np.array([(largest >= mean - TIE).sum() for mean in np.abs(own_few.logits.mean(axis=0))])
        rows = self._outputs(method, own, bases, (1 + reached) / (1 + len(largest)), seed)
        if self.direct is not None:
            amounts = self.reader.activations[used] if method == "ablate" else np.full(len(bases), strength)
            self._agree(method, own, amounts, bases, seed)
        self._claim(method, rows, strength, len(bases))

    def write_comparisons(self) -> None:
        """The tables that hold all methods."""
        self.findings.table(
            "controls",
            CONTROL_COLUMNS,
            self._controls,
            caption="rms: change of logits over the outputs, mean over contexts; largest: of the mean changes. Cells: "
            "the feature's rms minus the control's in the same context, paired; p: sign-flip, max-T over the "
            f"controls, which run in at most {CONTROL_CONTEXTS} contexts.",
        )
        if self.direct is not None:
            self.findings.table(
                "agreement",
                AGREEMENT_COLUMNS,
                self._agreement,
                caption="Mean effect over the outputs against the weights; ends: contexts resampled. slope: against "
                "the weights times the activation (without a final norm's division). shared: top outputs of both.",
            )

    def _effects(self, direction: torch.Tensor, method: Method, strength: float, used: np.ndarray) -> OutputEffects:
        found = self.reader.effects(direction, method, strength=strength)
        return OutputEffects(found.logits[used], found.probabilities[used])

    def _compare(
        self, method: Method, own: OutputEffects, drawn: list[OutputEffects], others: dict[int, OutputEffects],
        bases: Bases, seed: int,
    ) -> None:  # fmt: skip
        """The size of the effect beside that of the controls."""
        named = {f"mean of {len(drawn)} random directions": np.mean([one.sizes for one in drawn], axis=0)}
        named |= {f"feature {other}": effects.sizes for other, effects in others.items()}
        largest = [np.mean([np.abs(one.logits.mean(axis=0)).max() for one in drawn])]
        largest += [np.abs(one.logits.mean(axis=0)).max() for one in others.values()]
        sizes = np.stack(list(named.values()), axis=1)
        cells = paired_cells(own.sizes[:, None] - sizes, bases.clusters, seed=derive_seed(seed, "controls"))
        rms = float(own.sizes.mean())
        self._controls.append(
            {"method": method, "direction": "this feature", "rms": rms,
             "largest": np.abs(own.logits.mean(axis=0)).max(), "n": len(bases)}
        )  # fmt: skip
        for at, name in enumerate(named):
            row = {"method": method, "direction": name, "rms": sizes[:, at].mean(), "largest": largest[at]}
            self._controls.append(row | _cell(cells, at))
        hits = sum(float(one.sizes.mean()) >= rms for one in drawn)
        self.findings.n_comparisons += cells.n_tested
        self.findings.add(**{f"{WORDS[method]}_rms_p": (1 + hits) / (1 + len(drawn))})

    def _aggregate(self, method: Method, own: OutputEffects) -> None:
        """The size of the effect over all contexts; that of the first method is the headline."""
        rms = float(own.sizes.mean())
        self.findings.add(**{f"{WORDS[method]}_rms": rms})
        if self.findings.mean_delta is None:
            spread = float(own.sizes.std(ddof=1)) if len(own.sizes) > 1 else None
            self.findings.aggregate(mean_delta=rms, std_delta=spread, n_samples=len(own.sizes))
            self.findings.note(f"mean_delta: root mean square change of logits over the outputs, {WORDS[method]}")

    def _outputs(
        self, method: Method, own: OutputEffects, bases: Bases, control_p: np.ndarray, seed: int
    ) -> list[dict[str, Any]]:
        """Each tested output with its cell and what the other half says, from the most raised to the most lowered."""
        tested, is_cut = self._tested(own, bases)
        shown = bases.is_held_out if is_cut else np.ones(len(bases), bool)
        cells = paired_cells(own.logits[shown][:, tested], bases.clusters[shown], seed=seed)
        first = ~bases.is_held_out
        choosing = paired_cells(own.logits[first][:, tested], bases.clusters[first], seed=seed)
        self.findings.n_comparisons += cells.n_tested
        rows = []
        for at, output in enumerate(tested.tolist()):
            row: dict[str, Any] = {
                "output": self.context.inputs.output_name(output), **_cell(cells, at),
                "probability_delta": own.probabilities[shown][:, output].mean(),
                "direct": None if self.direct is None else self.direct[output],
                "control_p": control_p[output], "verdict": NONE,
            }  # fmt: skip
            if choosing.p_corrected[at] < ALPHA and abs(choosing.mean[at]) >= self.variables.min_logit:
                sign = float(np.sign(choosing.mean[at]))
                told = confirm(
                    own.logits[:, output], bases, sign=sign, min_effect=self.variables.min_logit,
                    seed=derive_seed(seed, output),
                )  # fmt: skip
                row |= {"held_out_delta": told.mean, "held_out_p": told.p}
                if told.holds and row["control_p"] < ALPHA:
                    row["verdict"] = RAISED if sign > 0 else LOWERED
            rows.append(row)
        rows.sort(key=lambda row: -row["mean_delta"])
        said = "the held-out half of the contexts alone" if is_cut else f"{len(bases)} contexts"
        self.findings.table(
            f"{WORDS[method]}_outputs",
            OUTPUT_COLUMNS,
            rows,
            caption=f"What the feature adds to each output, logits, in {said}; 95 % cluster bootstrap; p: sign-flip, "
            f"max-T over {cells.n_tested} outputs. direct: logits a unit of activation by the weights. control_p: the "
            "share of random directions that move any output as far. A verdict passed both, and the held-out half.",
        )
        return rows

    def _tested(self, own: OutputEffects, bases: Bases) -> tuple[np.ndarray, bool]:
        """Ids of the outputs that are tested, and whether others were left out."""
        model, most = self.context.model, self.variables.most_outputs
        known = np.setdiff1d(np.arange(own.logits.shape[1]), model.component_map.loss_excluded_ids)
        self.findings.drop("outputs that the model was not trained on", own.logits.shape[1] - len(known))
        if len(known) <= most:
            return known, False
        moved = np.abs(own.logits[~bases.is_held_out].mean(axis=0))[known]
        by_weights = moved if self.direct is None else np.abs(self.direct)[known]
        halves = [np.argsort(-strength, kind="stable")[: most // 2] for strength in (moved, by_weights)]
        chosen = known[np.unique(np.concatenate(halves))]
        self.findings.drop(
            "outputs that neither the weights nor one half of the contexts move most", len(known) - len(chosen)
        )
        return chosen, True

    def _agree(self, method: Method, own: OutputEffects, amounts: np.ndarray, bases: Bases, seed: int) -> None:
        assert self.direct is not None
        told = agreement_of(own.logits, self.direct, amounts, bases.clusters, bases.is_held_out, seed=seed)
        mean, k = own.logits.mean(axis=0), min(self.variables.top_k, len(self.direct) // 2)
        shared = [len(set(np.argsort(sign * mean)[:k]) & set(np.argsort(sign * self.direct)[:k])) for sign in (-1, 1)]
        self._agreement.append(
            {"method": method, "pearson": told.pearson, "low": told.low, "high": told.high, "spearman": told.spearman,
             "slope": told.slope, "held_out_pearson": told.held_out, "raised_shared": f"{shared[0]} of {k}",
             "lowered_shared": f"{shared[1]} of {k}", "n": len(bases), "n_outputs": len(self.direct)}
        )  # fmt: skip
        self.findings.add(**{f"{WORDS[method]}_agreement": told.pearson, f"{WORDS[method]}_slope": told.slope})
        if told.high < 0.5:
            self.findings.find(
                f"the weights do not foretell what happens when the feature is {WORDS[method]} (Pearson "
                f"{told.pearson:.2f} [{told.low:.2f}, {told.high:.2f}] over {len(self.direct):,} outputs): most of its "
                "effect goes through later parts of the model"
            )

    def _claim(self, method: Method, rows: list[dict[str, Any]], strength: float, n: int) -> None:
        word, k = WORDS[method], self.variables.top_k
        raised = [row for row in rows if row["verdict"] == RAISED]
        lowered = [row for row in reversed(rows) if row["verdict"] == LOWERED]
        how = "by being active" if method == "ablate" else f"with {strength:.3g} of it added"
        for name, verb, chosen in ((RAISED, "raises", raised), (LOWERED, "lowers", lowered)):
            self.findings.add(
                **{f"{word}_{name}": [row["output"] for row in chosen[:k]], f"n_{word}_{name}": len(chosen)}
            )
            if chosen:
                shown = ", ".join(f"{row['output']} ({row['mean_delta']:+.3g})" for row in chosen[:NAMED])
                more = f" and {len(chosen) - NAMED} more" if len(chosen) > NAMED else ""
                self.findings.claim(
                    f"feature {self.spec.feature_id} {verb} the logits of {shown}{more} {how} ({n} contexts)"
                )


def _cell(cells: PairedCells, at: int) -> dict[str, Any]:
    """The columns of a cell; no effect size where contexts differ by rounding alone, as behind a linear path."""
    row = cells.row(at)
    return row | {"effect": None} if abs(row["effect"]) > LARGEST_EFFECT else row


def _only(bases: Bases, keep: np.ndarray) -> Bases:
    return replace(
        bases,
        contexts=[made for made, is_kept in zip(bases.contexts, keep, strict=True) if is_kept],
        stored=bases.stored[keep],
        region=bases.region[keep],
        weights=bases.weights[keep],
        clusters=bases.clusters[keep],
        is_held_out=bases.is_held_out[keep],
    )
