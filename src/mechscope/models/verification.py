"""The check at open: what a component map claims is measured, site by site.

Two short rows of seeded random tokens go through the network five times: bare, once read at every site, once
left-padded, once with everything that was read written back, once with gradients. From these:

    heads     sum of head_out + bias = attn_out                                refuses head_out, z
              (where the attention returns the stream: + the stream through the norm = resid_mid)
    neurons   mlp_post through the projection (and norm) = mlp_out             refuses mlp_post
    middle    resid_mid = what the MLP's norm reads                            refuses resid_mid
    stream    resid_pre + attn_out + mlp_out = resid_post                      refuses attn_out, mlp_out, head_out
              (where the MLP's norm is known, each half by itself)
    chain     resid_post = the next block's resid_pre                          refuses resid_post
    norm      final_norm(last resid_post) = final_norm                         refuses final_norm
    output    scale and cap of unembedding(final_norm or pooled) = logits      refuses final_norm or pooled
    padding   padded = unpadded, at every site                                 refuses the site
    null      writing back what was read changes no bit of the logits          refuses the site
    live      an edit moves the logits (by gradient, else by a trial)          refuses the site

An error is max |seen - told| / max |told|. A site that fails any row is refused; the others stay.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, Spec, digest_of
from mechscope.models.batch import Batch
from mechscope.models.identities import Values, measure_identities, misshapen, probe_accesses
from mechscope.models.network import LOGITS, Habits, Network
from mechscope.models.running import Outcome
from mechscope.models.trials import (
    dead_sites,
    keeps_outputs_with_positions,
    padding_errors,
    probe_batch,
    unfaithful_sites,
)

__all__ = ["Check", "CheckResult", "Verification", "verified", "verify"]

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
MIN_POSITIONS = 2
EMBED = LayerComponent(kind="embed")


class Check(Spec):
    """One row: an identity measured for one site. `error` is None where there is no number, or it is not finite."""

    name: str
    site: str
    error: float | None
    tolerance: float | None
    passed: bool
    note: str = ""


class Verification(Spec):
    """What was measured when a model was opened. `was_run` is False when the caller asked for no checks."""

    was_run: bool
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> dict[str, str]:
        """Why each refused site is refused."""
        reasons: dict[str, str] = {}
        for check in self.checks:
            if not check.passed:
                reasons.setdefault(check.site, _reason(check))
        return reasons


@dataclass(frozen=True)
class CheckResult:
    """A verification, with the shapes and habits measured on the way."""

    verification: Verification
    shapes: dict[LayerComponent, tuple[int, ...]]
    habits: Habits


_KNOWN: dict[str, CheckResult] = {}


def verified(
    network: Network, *, config: Mapping[str, Any] | None, weights_digest: str | None, should_check: bool
) -> CheckResult:
    """`verify`, remembered in this process where a config and a digest are given.

    Remembered by class, config, weights, map, dtype and device type: errors are measured on the weights, so a model
    of the same config with other weights is another model.
    """
    parameter = next(network.module.parameters())
    facts = [type(network.module).__qualname__, network.component_map.digest, should_check, parameter.dtype]
    key = None
    if config is not None and weights_digest is not None:
        key = digest_of([*map(str, (*facts, parameter.device.type)), _plain(config), weights_digest])
    result = _KNOWN.get(key) if key else None
    if result is None:
        result = verify(network, should_check=should_check)
        if key:
            _KNOWN[key] = result
    network.habits = result.habits
    return result


def verify(network: Network, *, should_check: bool) -> CheckResult:
    """Measure a network; `should_check=False` only reads shapes and habits (two forwards of two short rows).

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
    shapes = {site: _trailing(value, batch) for site, value in {**values, LOGITS: logits}.items()}
    rows = [_row("reached", site, reason) for site, reason in {**network.refused, **unread}.items()]
    if should_check:
        rows += _Checks(network, batch, outcome.values, values, logits, notes).rows()
    verification = Verification(was_run=should_check, checks=tuple(rows), notes=tuple(notes))
    return CheckResult(verification, shapes, network.habits)


@torch.no_grad()
def _read_all(network: Network, batch: Batch) -> tuple[Outcome, Tensor]:
    accesses = {**network.accesses, **probe_accesses(network)}
    outcome, logits = network.run(batch, [*accesses], wants_output=True, accesses=accesses, keeps_failures=True)
    assert logits is not None
    return outcome, logits


class _Checks:
    def __init__(
        self, network: Network, batch: Batch, read: Values, values: Values, logits: Tensor, notes: list[str]
    ) -> None:
        self.network = network
        self.batch = batch
        self.read = {site: value for site, value in read.items() if site in values or site not in network.accesses}
        self.values = values
        self.logits = logits
        self.notes = notes
        self.tolerance = TOLERANCES.get(logits.dtype, TOLERANCES[torch.float32])

    def rows(self) -> list[Check]:
        rows = [
            self._measured(found.name, site, found.error, found.note)
            for found in measure_identities(self.network, self.read, self.logits)
            for site in found.sites
        ]
        failed = {row.site for row in rows if not row.passed}
        self.values = {site: value for site, value in self.values.items() if str(site) not in failed}
        return rows + self._padding() + self._edits()

    def _padding(self) -> list[Check]:
        if not self.network.signature.takes_mask:
            self.notes.append("forward takes no attention_mask: padded batches are refused")
            return []
        if (self.network.component_map.max_positions or MIN_POSITIONS) < MIN_POSITIONS:
            self.notes.append("too few positions to try padding")
            return []
        errors = padding_errors(self.network, self.batch, self.values, self.logits, left=True)
        worst = max(errors.values(), key=lambda error: error if error == error else float("inf"))
        if not worst <= self.tolerance:
            right = padding_errors(self.network, self.batch, self.values, self.logits, left=False)
            if all(error <= self.tolerance for error in right.values()):
                self.network.habits = replace(self.network.habits, allows_left_padding=False)
                self.notes.append(f"left padding moves values by {worst:.1e}: left-padded batches are refused")
                errors = right
        return [self._measured("padding", site, error) for site, error in errors.items()]

    def _edits(self) -> list[Check]:
        unfaithful = unfaithful_sites(self.network, self.batch, list(self.values), self.logits)
        dead = dead_sites(self.network, self.batch, self.values, self.logits)
        null_note, live_note = "writing back what was read changed the logits", "an edit does not move the logits"
        return [
            *(_row("null", site, null_note if site in unfaithful else "") for site in self.values),
            *(_row("live", site, live_note if site in dead else "") for site in self.values),
        ]

    def _measured(self, name: str, site: LayerComponent, error: float, note: str = "") -> Check:
        passed = error <= self.tolerance
        finite = error if math.isfinite(error) else None
        return Check(name=name, site=str(site), error=finite, tolerance=self.tolerance, passed=passed, note=note)


def _row(name: str, site: LayerComponent, fault: str) -> Check:
    return Check(name=name, site=str(site), error=None, tolerance=None, passed=not fault, note=fault)


def _reason(check: Check) -> str:
    if check.tolerance is None:
        return f"{check.name}: {check.note}"
    measured = "is not a number" if check.error is None else f"is {check.error:.1e}"
    note = f" ({check.note})" if check.note else ""
    return f"{check.name}{note}: relative error {measured}, allowed {check.tolerance:.0e}"


def _trailing(value: Tensor, batch: Batch) -> tuple[int, ...]:
    has_positions = value.ndim > 2 and value.shape[1] == batch.input_ids.shape[1]
    return tuple(value.shape[2 if has_positions else 1 :])


def _plain(config: Mapping[str, Any]) -> str:
    return json.dumps({**config, "_name_or_path": ""}, sort_keys=True, default=str)
