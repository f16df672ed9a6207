"""Sweeps: many variants of one batch, each with its own edits, in as few forwards as can be.

1. every base row runs once, clean: the stream at block inputs, keys and values, values at the sites
2. variants with the same first edited position of a row form a group: in causal models positions before it are not
   run again, since no edit reaches them; their keys and values are the clean ones
3. a group is one forward of the network itself over a batch that grows: a variant's row joins, as the clean stream,
   at the block of its first edit (`growing`); weights are read once a group, and nothing in front of an edit runs
4. at each site, each row gets its own variant's edits (`row_visits`)
5. the last block runs whole only as far as keys and values; what follows, at the wanted position (`last_block`)
6. what enters the output head is gathered over groups, and the head runs once for all (`gathered_head`)
7. some variants are run again in full, one by one; if they differ, the sweep raises
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.edits import Edit, Positions
from mechscope.models.network import LOGITS, Network
from mechscope.models.points import narrow
from mechscope.models.positions import from_right
from mechscope.models.sweeps.base_rows import base_rows, written_side
from mechscope.models.sweeps.clean_runs import CleanRuns, run_clean
from mechscope.models.sweeps.forwards import Forwards, Group, split_groups
from mechscope.models.sweeps.full_runs import check_variant, draw_variants
from mechscope.models.sweeps.outputs import Metric, Outputs, metric_of
from mechscope.models.sweeps.past import can_reuse_past
from mechscope.models.sweeps.row_visits import Ground
from mechscope.models.sweeps.settings import SweepCost, SweepResult, SweepSettings
from mechscope.models.sweeps.variants import Variant, read_variants

__all__ = ["sweep"]

DEFAULTS = SweepSettings()


@torch.no_grad()
def sweep(
    network: Network,
    batch: Batch,
    variants: Sequence[Sequence[Edit]],
    *,
    reads: Sequence[LayerComponent] = (),
    metric: Metric | None = None,
    at: Positions | None = None,
    settings: SweepSettings = DEFAULTS,
) -> SweepResult:
    """Run every variant on every row, each as if it were the only one.

    A forward starts at the block, and in causal models at the position, of the first edit, and stops at the last
    thing that is wanted. Equal to the full runs up to rounding; this is checked on `settings.n_checks` of them.

    Args:
        network: the model behind its sites.
        batch: the rows, padded on either side.
        variants: sets of edits. An edit's function gets the value of the whole batch; it must treat each row by
            itself and give the same each time. Edits of `logits` and of an encoder are refused.
        reads: sites to keep for every variant; with `logits` among them, or with none, the logits are kept too.
        metric: takes logits [batch d_vocab] to one number a row; then only these numbers are kept.
        at: the one position of each row whose logits are wanted; by default the last.
        settings: limits and checks.

    Memory: clean values at the edited and read sites, the stream at the blocks where variants join and, in causal
    models, keys and values, for all rows; `settings.max_tokens` and `max_logits` bound the rest. Kept are n_variants
    x batch x d_vocab logits, or one number each with a metric; and n_variants x batch x (a row's value) a site read.

    Raises:
        UsageError: no variant, an edit that a sweep cannot make or that does not fit its site, a metric of another
            shape, not one position a row for the logits.
        BadDataError: a variant run again in full gave something else (see `SweepSettings.tolerance`).
    """
    network.require_fit(batch)
    batch = batch.to(network.device)
    reuses_past = settings.reuses_past and can_reuse_past(network, batch)
    rows = base_rows(batch, reuses_past=reuses_past)
    found = read_variants(network, batch, variants, rows, reuses_past=reuses_past)
    inner = [site for site in reads if site != LOGITS]
    wants_logits = metric is not None or len(inner) < len(reads) or not reads
    columns = wanted_columns(batch, at) if wants_logits else None
    edited = [site for variant in found for site in variant.edits]
    sites = list(dict.fromkeys([*edited, *(site.base for site in inner)]))
    layers = sorted({variant.layer for variant in found})
    clean = run_clean(network, batch, rows, layers=layers, sites=sites, reuses_past=reuses_past, columns=columns)
    return _Sweep(network, batch, variants, found, clean, inner, columns, settings).run(metric)


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
    given: Sequence[Sequence[Edit]]
    variants: list[Variant]
    clean: CleanRuns
    reads: list[LayerComponent]
    columns: Tensor | None
    settings: SweepSettings

    def run(self, metric: Metric | None) -> SweepResult:
        """Run the groups, then the check."""
        clean_values = {site: narrow(site, self.clean.frames[site.base]) for site in self.reads}
        n_variants, clean_logits = len(self.variants), self._clean_logits()
        values = {site: value.expand(n_variants, *value.shape).clone() for site, value in clean_values.items()}
        accesses = self.network.ways_to(list(self.clean.frames))
        ground = Ground(self.batch, written_side(self.batch), accesses, self.clean.frames, values)
        forwards = Forwards(self.network, ground, self.clean.rows[0])
        drawn = draw_variants(self.given, self.settings.n_checks, self.settings.seed)
        outputs = Outputs(n_variants, clean_logits, metric, drawn)
        for portion in self._portions(clean_logits):
            found = self._run_portion(portion, forwards, clean_logits)
            if found is not None:
                outputs.keep(sorted(variant.index for variant in portion), found)
        return SweepResult(
            logits=outputs.logits,
            clean_logits=clean_logits,
            metric=outputs.metrics,
            clean_metric=None if metric is None or clean_logits is None else metric_of(metric, clean_logits),
            values=values,
            clean_values=clean_values,
            error=max((self._check(index, outputs, values) for index in drawn), default=None),
            reused_past=all(row.past is not None for row in self.clean.rows),
            cost=self._cost(forwards.n_block_tokens, len(drawn)),
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
        """The logits of a portion by the variants' numbers; clean where a variant changes nothing."""
        groups: list[Group] = []
        for clean in self.clean.rows:
            place = None if self.columns is None else clean.row.place_of(self.columns)
            groups += split_groups(portion, clean, place=place, has_reads=bool(self.reads), settings=self.settings)
        ran, logits = forwards.run(groups)
        if clean_logits is None:
            return None
        if logits is not None and len(ran) == len(portion) * len(clean_logits):
            return logits.view(len(portion), *clean_logits.shape)
        found = clean_logits.expand(len(portion), *clean_logits.shape).clone()
        slots = {index: slot for slot, index in enumerate(sorted(variant.index for variant in portion))}
        if logits is not None:
            found[[slots[index] for index, _ in ran], [row for _, row in ran]] = logits
        return found

    def _clean_logits(self) -> Float[Tensor, "batch d_vocab"] | None:
        kept = [row.logits for row in self.clean.rows if row.logits is not None]
        return torch.stack(kept) if kept else None

    def _check(self, index: int, outputs: Outputs, values: dict[LayerComponent, Tensor]) -> float:
        return check_variant(
            self.network,
            self.batch,
            (index, self.given[index]),
            swept=({site: value[index] for site, value in values.items()}, outputs.checked.get(index)),
            columns=self.columns,
            tolerance=self.settings.tolerance,
        )

    def _cost(self, n_in_groups: int, n_checks: int) -> SweepCost:
        n_one = self.network.n_layers * sum(row.n_positions for row in self.clean.rows)
        return SweepCost(n_run=(1 + n_checks) * n_one + n_in_groups, n_full=len(self.variants) * n_one)
