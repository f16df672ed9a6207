"""The check at open: what a component map claims is measured, site by site.

Two short rows of seeded random tokens go through the network a few times: bare, read at every site, padded, with
everything that was read written back, with gradients; once more each with eager attention for the patterns. From these:

    heads     sum of head_out + bias = attn_out                                refuses head_out, z
              (where the attention returns the stream: + the stream through the norm = resid_mid)
    neurons   mlp_post through the projection (and norm) = mlp_out             refuses mlp_post
    middle    resid_mid = what the MLP's norm reads                            refuses resid_mid
    stream    resid_pre + attn_out (+ cross_attn_out) + mlp_out = resid_post   refuses attn_out, mlp_out, head_out,
              (where the MLP's norm is known, each half by itself)             resid_mid where nothing else checks it
    chain     resid_post = the next block's resid_pre                          refuses resid_post
    norm      final_norm(last resid_post) = final_norm                         refuses final_norm
    output    scale and cap of unembedding(final_norm or pooled) = logits      refuses final_norm or pooled
    apart     q, k, v and mlp_pre act on their own head or neuron only         refuses the site
    eager     eager attention gives the logits of the model's own attention      refuses pattern
    weights   the rows of a pattern sum to one                                 refuses pattern
    mix       pattern times v = z                                              refuses pattern, v
    padding   padded = unpadded, at every site                                 refuses the site
    null      writing back what was read changes no bit of the logits          refuses the site
    live      an edit moves the logits (by gradient, else by a trial)          refuses the site

An error is max |seen - told| / max |told|. A site that fails any row is refused; the others stay.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.checks import Check, CheckResult, Verification, measured_row, plain_row
from mechscope.models.identities import Values, measure_identities, misshapen, probe_accesses, relative_error
from mechscope.models.isolation import measure_isolation
from mechscope.models.network import LOGITS, Network
from mechscope.models.pattern_checks import PatternReading, is_pattern, measure_patterns, read_patterns
from mechscope.models.running import Outcome
from mechscope.models.trials import (
    N_PADDED,
    dead_sites,
    keeps_outputs_with_positions,
    padding_errors,
    probe_batch,
    unfaithful_sites,
)

__all__ = ["verify"]

# float64 is not held to its own rounding: many norms and softmaxes compute in float32 whatever the model runs in
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
MIN_POSITIONS = 2
EMBED = LayerComponent(kind="embed")


@torch.inference_mode(mode=False)
def verify(network: Network, *, should_check: bool) -> CheckResult:
    """Measure a network; `should_check=False` only reads shapes and habits (two or three forwards of two short rows).

    Sets the network's habits to what was measured.

    Raises:
        BadDataError: the first block is given no tensor, so that there is no stream to speak of.
    """
    batch = probe_batch(network)
    notes: list[str] = []
    if not keeps_outputs_with_positions(network, batch):
        network.habits = replace(network.habits, passes_positions=False)
        notes.append("forward makes other positions than 0, 1, 2 ... by itself, so none are passed to it")
    outcome, logits = _read_all(network, batch)
    if outcome.overwritten:
        network.habits = replace(network.habits, copies=True)
        notes.append("the network writes into tensors in place, so captures are copied")
        outcome, logits = _read_all(network, batch)
    unread = {site: reason for site, reason in outcome.failures.items() if site in network.accesses}
    if (reason := unread.get(EMBED)) is not None:
        raise BadDataError(
            f"the first block cannot be read: {reason}",
            expected="blocks whose first tensor argument is the stream",
            todo="correct 'blocks' in the component map",
        )
    unread |= misshapen(outcome.values)
    values = {site: value for site, value in outcome.values.items() if site in network.accesses and site not in unread}
    patterns = read_patterns(network, batch)
    shapes = {site: _trailing(site, value, values) for site, value in {**values, LOGITS: logits}.items()}
    if patterns is not None:
        unread |= patterns.failures
        shapes |= {site: tuple(value.shape[1:2]) for site, value in patterns.values.items() if is_pattern(site)}
    rows = [plain_row("reached", site, reason) for site, reason in {**network.refused, **unread}.items()]
    if should_check:
        rows += _Checks(network, batch, outcome.values, values, logits, patterns, notes).rows()
    verification = Verification(was_run=should_check, checks=tuple(rows), notes=tuple(notes))
    return CheckResult(verification, shapes, network.habits)


@torch.no_grad()
def _read_all(network: Network, batch: Batch) -> tuple[Outcome, Tensor]:
    accesses = {**network.accesses, **probe_accesses(network)}
    sites = [site for site in accesses if not is_pattern(site)]
    outcome, logits = network.run(batch, sites, wants_output=True, accesses=accesses, keeps_failures=True)
    assert logits is not None
    return outcome, logits


class _Checks:
    def __init__(
        self,
        network: Network,
        batch: Batch,
        read: Values,
        values: Values,
        logits: Tensor,
        patterns: PatternReading | None,
        notes: list[str],
    ) -> None:
        self.network = network
        self.batch = batch
        self.read = {site: value for site, value in read.items() if site in values or site not in network.accesses}
        self.values = values
        self.logits = logits
        self.patterns = patterns
        self.notes = notes
        # some networks put out float32 logits of what they computed in bfloat16
        dtypes = {part.dtype for part in network.module.parameters()}
        known = [TOLERANCES[dtype] for dtype in dtypes | {logits.dtype} if dtype in TOLERANCES]
        self.tolerance = max(known, default=TOLERANCES[torch.float32])

    def rows(self) -> list[Check]:
        rows = [
            self._measured(found.name, site, found.error, found.note)
            for found in measure_identities(self.network, self.read, self.logits)
            for site in found.sites
        ]
        if self.patterns is not None:
            tolerance = max([self.tolerance, *map(_tolerance, self.patterns.values.values())])
            error = relative_error(self.patterns.logits, self.logits)
            note = "logits under eager attention"
            rows += [
                measured_row("eager", site, error, tolerance=tolerance, note=note)
                for site in self.patterns.values
                if is_pattern(site)
            ]
            rows += [
                measured_row(found.name, site, found.error, tolerance=tolerance, note=found.note)
                for found in measure_patterns(self.patterns, head_clip=self.network.component_map.head_clip)
                for site in found.sites
            ]
        self.values = self._standing(self.values, rows)
        rows += [
            self._measured(found.name, site, found.error, found.note)
            for found in measure_isolation(self.network, self.batch, self.values)
            for site in found.sites
        ]
        self.values = self._standing(self.values, rows)
        rows += [*self._padding(self.values, self.logits), *self._edits(self.values, self.logits)]
        if self.patterns is not None:
            patterns = {site: value for site, value in self.patterns.values.items() if is_pattern(site)}
            if patterns := self._standing(patterns, rows):
                rows += self._edits(patterns, self.patterns.logits)
                padded = self._padding(patterns, self.patterns.logits, may_refuse_left=False)
                rows += [row for row in padded if row.site != str(LOGITS)]
        return rows

    def _standing(self, values: Values, rows: list[Check]) -> Values:
        failed = {row.site for row in rows if not row.passed}
        return {site: value for site, value in values.items() if str(site) not in failed}

    def _padding(self, values: Values, logits: Tensor, *, may_refuse_left: bool = True) -> list[Check]:
        if not self.network.signature.takes_mask:
            self._note("forward takes no attention_mask: padded batches are refused")
            return []
        component_map, n_columns = self.network.component_map, self.batch.input_ids.shape[1]
        needed = n_columns + N_PADDED if component_map.padding_takes_positions else MIN_POSITIONS
        if (component_map.max_positions or needed) < needed:
            self._note("too few positions to try padding")
            return []
        allows_left = self.network.habits.allows_left_padding
        errors = padding_errors(self.network, self.batch, values, logits, left=allows_left)
        worst = max(errors.values(), key=lambda error: error if error == error else float("inf"))
        if allows_left and may_refuse_left and not worst <= self.tolerance:
            right = padding_errors(self.network, self.batch, values, logits, left=False)
            if all(error <= self.tolerance for error in right.values()):
                self.network.habits = replace(self.network.habits, allows_left_padding=False)
                self._note(f"left padding moves values by {worst:.1e}: left-padded batches are refused")
                errors = right
        return [self._measured("padding", site, error) for site, error in errors.items()]

    def _edits(self, values: Values, logits: Tensor) -> list[Check]:
        unfaithful = unfaithful_sites(self.network, self.batch, list(values), logits)
        dead = dead_sites(self.network, self.batch, values, logits)
        null_note, live_note = "writing back what was read changed the logits", "an edit does not move the logits"
        return [
            *(plain_row("null", site, null_note if site in unfaithful else "") for site in values),
            *(plain_row("live", site, live_note if site in dead else "") for site in values),
        ]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _measured(self, name: str, site: LayerComponent, error: float, note: str = "") -> Check:
        return measured_row(name, site, error, tolerance=self.tolerance, note=note)


def _tolerance(value: Tensor) -> float:
    """Many families take the softmax in float32, whatever they run in."""
    return TOLERANCES.get(value.dtype, TOLERANCES[torch.float32])


def _trailing(site: LayerComponent, value: Tensor, values: Values) -> tuple[int, ...]:
    """The shape behind batch and positions, which are the leading axes of the stream."""
    stream = values[LayerComponent(kind="embed", stack=site.stack)]
    if site.kind == "pooled":
        return tuple(value.shape[1:])
    n_leading = stream.ndim - 1 if stream.ndim <= 3 else 1  # of images only the batch: channels come next
    has_no_positions = value.ndim <= n_leading or value.shape[:n_leading] != stream.shape[:n_leading]
    if site.kind == "logits" and has_no_positions:
        return tuple(value.shape[1:])
    return tuple(value.shape[n_leading:])
