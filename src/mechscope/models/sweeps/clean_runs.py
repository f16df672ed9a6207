"""The clean runs: every base row once without edits, keeping what the variants will start from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.network import Network
from mechscope.models.own_forward import NextForward
from mechscope.models.running import Plan, run_forward
from mechscope.models.sweeps.base_rows import BaseRow, written_side
from mechscope.models.sweeps.gathered_head import GatheredHead
from mechscope.models.sweeps.past import RecordedPast

__all__ = ["CleanRow", "CleanRuns", "arguments", "run_clean"]


@dataclass(frozen=True, eq=False)
class CleanRow:
    """What is kept of one row: the stream that enters the blocks [1 pos d_model], its past,
    and its logits [d_vocab] at the wanted position.

    `past` is None where it is not reused.
    """

    row: BaseRow
    inputs: dict[int, Tensor]
    past: RecordedPast | None
    logits: Tensor | None

    @property
    def n_positions(self) -> int:
        """Positions of the stream (an image has more than its one placeholder token)."""
        return next(iter(self.inputs.values())).shape[1]


@dataclass(frozen=True, eq=False)
class CleanRuns:
    """The rows, and the values at sites in the shape of the whole batch (zero in padded places)."""

    rows: list[CleanRow]
    frames: dict[LayerComponent, Tensor]


def run_clean(
    network: Network,
    batch: Batch,
    rows: Sequence[BaseRow],
    *,
    layers: Sequence[int],
    sites: Sequence[LayerComponent],
    reuses_past: bool,
    columns: Int[Tensor, "batch"] | None,
) -> CleanRuns:
    """Run every row once.

    Args:
        network: what is swept.
        batch: the whole batch.
        rows: its rows.
        layers: the blocks at whose input variants join.
        sites: what is edited or read.
        reuses_past: keep keys and values.
        columns: the column of each row whose logits are wanted; None when none are.
    """
    entries = {layer: LayerComponent(kind="resid_pre", layer=layer) for layer in layers}
    reads = list(dict.fromkeys([*entries.values(), *sites]))
    to_end = columns is not None or reuses_past
    plan = Plan(network.ways_to(reads), reads, wants_output=to_end, copies=network.habits.copies)
    side, frames, found = written_side(batch), dict[LayerComponent, Tensor](), []
    head = GatheredHead(network)
    head.is_last = True  # each of these forwards runs its own head, at one position
    for row in rows:
        past = RecordedPast(network.n_layers) if reuses_past else None
        with ExitStack() as stack:
            stack.enter_context(network.turn_for(sites))
            if columns is not None:
                head.hang(stack, NextForward(), row.place_of(columns))
            outcome = run_forward(network.module, arguments(network, row.batch, past), row.batch, plan)
        if columns is not None:
            head.keep_output(outcome.output)
        for site in sites:
            value = outcome.values[site]
            if site not in frames:
                frames[site] = row.frame_like(site, value, side)
            row.put(site, frames[site], value[0], 0)
        inputs = {layer: outcome.values[site] for layer, site in entries.items()}
        is_whole = past is not None and past.is_complete(row.n_tokens)
        logits = None if columns is None else head.take()[0]
        found.append(CleanRow(row, inputs, past if is_whole else None, logits))
    return CleanRuns(found, frames)


def arguments(network: Network, batch: Batch, past: Any = None, start: int = 0) -> dict[str, Any]:
    """What `forward` is given for positions `start` on of one row, its past behind a cache."""
    found = network.signature.arguments(batch, with_positions=network.habits.passes_positions)
    if past is None:
        return found
    key = "input_ids" if "input_ids" in found else ""
    found |= {key: found[key][:, start:], "past_key_values": past, "use_cache": True}
    if "position_ids" in found:
        found["position_ids"] = found["position_ids"][:, start:]
    return found
