"""Sweeps: many variants of one batch, each with its own edits, in as few forwards as can be.

1. every base row runs once, clean: the stream at block inputs, keys and values, values at the sites
2. variants with the same first edited position of a row form a group: positions before it are not run again, in
   causal models, since no edit reaches them; their keys and values are the clean ones
3. a group is one forward of the network itself over a batch that grows: a variant's row joins, as the clean stream,
   at the block of its first edit (`growing`); weights are read once a group, and nothing in front of an edit runs
4. at each site, each row gets its own variant's edits (`row_visits`)
5. what enters the output head is gathered over groups, and the head runs once for all (`gathered_head`)
6. some variants are run again in full; if they differ, the sweep raises
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.eager import eager_attention, needs_eager
from mechscope.models.edits import Edit, Positions
from mechscope.models.network import LOGITS, Network
from mechscope.models.points import narrow
from mechscope.models.positions import from_right
from mechscope.models.sweeps.base_rows import base_rows, written_side
from mechscope.models.sweeps.clean_runs import CleanRow, CleanRuns, run_clean
from mechscope.models.sweeps.forwards import Forwards, Group, split_groups
from mechscope.models.sweeps.full_runs import check_variant, draw_variants
from mechscope.models.sweeps.past import can_reuse_past
from mechscope.models.sweeps.row_visits import Ground
from mechscope.models.sweeps.settings import SweepCost, SweepResult, SweepSettings
from mechscope.models.sweeps.variants import Variant, read_variants

__all__ = ["Metric", "sweep"]

Metric: TypeAlias = Callable[[Tensor], Tensor]  # logits [batch d_vocab] to one number a row, [batch]


@torch.no_grad()
def sweep(
    network: Network,
    batch: Batch,
    variants: Sequence[Sequence[Edit]],
    *,
    reads: Sequence[LayerComponent] = (),
    metric: Metric | None = None,
    at: Positions | None = None,
    settings: SweepSettings = SweepSettings(),
) -> SweepResult:
    """Run every variant on every row; see `Model.sweep`."""
    network.require_fit(batch)
    batch = batch.to(network.device)
    rows = base_rows(batch, reuses_past=(cuts := settings.reuses_past and can_reuse_past(network, batch)))
    found = read_variants(network, batch, variants, rows, reuses_past=cuts)
    sites = list(
        dict.fromkeys(
            [*(site for one in found for site in one.edits), *(site.base for site in reads if site != LOGITS)]
        )
    )
    with eager_attention(network.module) if needs_eager(sites) else nullcontext():
        clean = run_clean(
            network,
            batch,
            rows,
            layers=sorted({variant.layer for variant in found}),
            sites=sites,
            reuses_past=cuts,
            wants_logits=metric is not None or LOGITS in reads or not reads,
        )
        inner = [site for site in reads if site != LOGITS]
        return _Sweep(network, batch, found, clean, inner, wanted_columns(batch, at), settings).run(metric)


def wanted_columns(batch: Batch, at: Positions | None) -> Int[Tensor, "batch"]:
    """The one column of each row whose logits are wanted; by default the last real token's. Raises UsageError."""
    mask = (at or from_right(0)).mask(written_side(batch))
    counts = mask.sum(dim=1)
    if bool((counts != 1).any()):
        row = int((counts != 1).nonzero()[0])
        raise UsageError(
            f"{int(counts[row])} positions of row {row} for the logits",
            expected="one position a row",
            todo="name one, for example from_right(0)",
        )
    return mask.int().argmax(dim=1)


@dataclass(frozen=True, eq=False)
class _Sweep:
    """A sweep whose clean runs are done. `columns` says which column's logits are wanted, by row."""

    network: Network
    batch: Batch
    variants: list[Variant]
    clean: CleanRuns
    reads: list[LayerComponent]
    columns: Tensor
    settings: SweepSettings

    def run(self, metric: Metric | None) -> SweepResult:
        """Run the groups, then the check."""
        clean_values = {site: narrow(site, self.clean.frames[site.base]) for site in self.reads}
        n_variants = len(self.variants)
        values = {site: value.expand(n_variants, *value.shape).clone() for site, value in clean_values.items()}
        accesses = self.network.ways_to(list(self.clean.frames))
        ground = Ground(written_side(self.batch), accesses, self.clean.frames, values)
        forwards = Forwards(self.network, ground, self.clean.rows[0])
        clean_logits = self._clean_logits()
        outputs = _Outputs(n_variants, clean_logits, metric, self._drawn())
        for portion in self._portions(clean_logits):
            found = self._run_portion(portion, forwards, clean_logits)
            if found is not None:
                outputs.keep([variant.index for variant in portion], found)
        error = self._check(outputs, values)
        return SweepResult(
            logits=outputs.logits,
            clean_logits=clean_logits,
            metric=outputs.metrics,
            clean_metric=None if metric is None or clean_logits is None else _metric_of(metric, clean_logits),
            values=values,
            clean_values=clean_values,
            error=error,
            reused_past=all(row.past is not None for row in self.clean.rows),
            cost=self._cost(forwards.n_block_tokens),
        )

    def _portions(self, clean_logits: Tensor | None) -> Iterator[list[Variant]]:
        """Variants whose logits are held together; those of one start stand together."""
        size = len(self.variants)
        if clean_logits is not None:
            size = max(1, self.settings.max_logits // clean_logits.numel())
        ordered = sorted(self.variants, key=lambda variant: -1 if variant.starts[0] is None else variant.starts[0])
        for first in range(0, len(ordered), size):
            yield ordered[first : first + size]

    def _run_portion(
        self, portion: list[Variant], forwards: Forwards, clean_logits: Tensor | None
    ) -> Float[Tensor, "n_variants batch d_vocab"] | None:
        groups: list[Group] = []
        for clean in self.clean.rows:
            groups += split_groups(
                portion,
                clean,
                place=None if clean_logits is None else self._place(clean),
                has_reads=bool(self.reads),
                max_tokens=self.settings.max_tokens,
            )
        found = None if clean_logits is None else clean_logits.expand(len(portion), *clean_logits.shape).clone()
        slots = {variant.index: slot for slot, variant in enumerate(portion)}
        for index, row, logits in forwards.run(groups):
            assert found is not None
            found[slots[index], row] = logits
        return found

    def _place(self, clean: CleanRow) -> int:
        """The wanted position of a row among those that it runs on."""
        return int((clean.row.columns == self.columns[clean.row.index]).nonzero()[0])

    def _clean_logits(self) -> Float[Tensor, "batch d_vocab"] | None:
        kept = [(row.logits, self._place(row)) for row in self.clean.rows if row.logits is not None]
        return torch.stack([logits if logits.ndim == 1 else logits[place] for logits, place in kept]) if kept else None

    def _drawn(self) -> list[int]:
        return draw_variants(len(self.variants), self.settings.n_checks, self.settings.seed)

    def _check(self, outputs: _Outputs, values: dict[LayerComponent, Tensor]) -> float | None:
        """The largest error of the variants that were drawn. Raises BadDataError."""
        errors = [
            check_variant(
                self.network,
                self.batch,
                self.variants[index],
                columns=self.columns,
                logits=outputs.checked.get(index),
                values={site: value[index] for site, value in values.items()},
                tolerance=self.settings.tolerance,
            )
            for index in self._drawn()
        ]
        return max(errors, default=None)

    def _cost(self, n_in_groups: int) -> SweepCost:
        side, n_layers = written_side(self.batch), self.network.n_layers
        n_clean = n_layers * sum(row.row.n_tokens for row in self.clean.rows)
        n_one = n_layers * side.input_ids.numel()
        n_checks = len(self._drawn())
        return SweepCost(n_run=n_clean + n_in_groups + n_checks * n_one, n_full=len(self.variants) * n_one)


class _Outputs:
    """Logits or metrics as they come in, and the logits of variants that will be checked."""

    def __init__(self, n_variants: int, clean: Tensor | None, metric: Metric | None, drawn: Collection[int]) -> None:
        self.metric = metric
        self.drawn = drawn
        self.checked: dict[int, Tensor] = {}
        self.logits = None if clean is None or metric is not None else clean.new_empty(n_variants, *clean.shape)
        self.metrics = None if clean is None or metric is None else clean.new_empty(n_variants, len(clean))

    def keep(self, indices: Sequence[int], found: Float[Tensor, "n_variants batch d_vocab"]) -> None:
        """Keep what a portion gave."""
        for index, logits in zip(indices, found, strict=True):
            if index in self.drawn:
                self.checked[index] = logits
            if self.logits is not None:
                self.logits[index] = logits
            if self.metrics is not None and self.metric is not None:
                self.metrics[index] = _metric_of(self.metric, logits)


def _metric_of(metric: Metric, logits: Float[Tensor, "batch d_vocab"]) -> Float[Tensor, "batch"]:
    found = metric(logits)
    if not isinstance(found, Tensor) or found.shape != logits.shape[:1]:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(
            f"a metric that gives {shape} for logits {list(logits.shape)}",
            expected=f"one number a row: [{len(logits)}]",
            todo="reduce the vocabulary axis and keep the batch axis",
        )
    return found
