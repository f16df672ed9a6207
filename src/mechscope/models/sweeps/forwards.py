"""The forwards of a sweep: variants put into groups, and one forward of the network for each group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from mechscope.models.batch import Batch
from mechscope.models.component_map import blocks_of
from mechscope.models.hooks import hang_hooks
from mechscope.models.network import Network
from mechscope.models.sweeps.clean_runs import CleanRow, arguments
from mechscope.models.sweeps.gathered_head import GatheredHead
from mechscope.models.sweeps.growing import GrowingBatch, RowSizes, StopForward, measure_row_sizes
from mechscope.models.sweeps.past import Past
from mechscope.models.sweeps.row_visits import Ground, RowVisitor
from mechscope.models.sweeps.variants import Variant

__all__ = ["Forwards", "Group", "split_groups"]


@dataclass(frozen=True, eq=False)
class Group:
    """Variants of one row that run in one forward, from position `start` on.

    `place` is the position whose logits are wanted, counted from `start`; None where none are.
    """

    clean: CleanRow
    start: int
    place: int | None
    variants: list[Variant]


def split_groups(
    variants: Sequence[Variant], clean: CleanRow, *, place: int | None, has_reads: bool, max_tokens: int
) -> Iterator[Group]:
    """The groups of one row: variants of one start, at most `max_tokens` positions each.

    Variants that change nothing of what is wanted are in no group: no position of theirs is in the row, or their
    first is behind the wanted one. `place` is the wanted position of the row.
    """
    index, is_cut = clean.row.index, clean.past is not None
    moved = [variant for variant in variants if variant.starts[index] is not None]

    def start_of(variant: Variant) -> int:
        return (variant.starts[index] or 0) if is_cut else 0

    for start, same in groupby(sorted(moved, key=lambda v: (start_of(v), v.layer, v.order)), key=start_of):
        is_behind = place is None or start > place
        if is_behind and not has_reads:
            continue
        group = list(same)
        size = max(1, max_tokens // (clean.row.n_tokens - start))
        for first in range(0, len(group), size):
            yield Group(
                clean, start, None if is_behind or place is None else place - start, group[first : first + size]
            )


class Forwards:
    """Runs groups on a network. `n_block_tokens` counts positions times blocks."""

    def __init__(self, network: Network, ground: Ground, clean: CleanRow) -> None:
        self.network = network
        self.ground = ground
        self.blocks: list[nn.Module] = blocks_of(network.module, network.component_map)
        self.sizes: RowSizes = measure_row_sizes(lambda n_rows: self._run_copies(clean, n_rows), self.blocks)
        self.n_block_tokens = 0

    def run(self, groups: Sequence[Group]) -> Iterator[tuple[int, int, Tensor]]:
        """Run the groups; gives (variant, row, logits [d_vocab]) for those whose logits are wanted."""
        path = self.network.component_map.unembedding
        head = GatheredHead(None if path is None else self.network.module.get_submodule(path))
        ends = [place for place, group in enumerate(groups) if group.place is not None]
        ran: list[tuple[int, int]] = []
        for place, group in enumerate(groups):
            head.is_last = place == ends[-1] if ends else False
            joined = self._run_group(group, head)
            ran += [(index, group.clean.row.index) for index in joined if group.place is not None]
        for (variant, row), logits in zip(ran, head.take(len(ran)) if ran else [], strict=True):
            yield variant, row, logits

    def _run_group(self, group: Group, head: GatheredHead) -> list[int]:
        clean, start = group.clean, group.start
        entries = {layer: [v.index for v in same] for layer, same in groupby(group.variants, key=lambda v: v.layer)}
        growing = GrowingBatch(entries, {layer: clean.inputs[layer][:, start:] for layer in entries}, self.sizes)
        visitor = RowVisitor(self.ground, clean.row, start, group.variants, growing, runs_on=group.place is not None)
        with ExitStack() as stack:
            growing.hang(self.blocks, stack)
            hang_hooks(self.network.module, visitor, stack)
            if group.place is not None:
                head.hang(stack, group.place)
            try:
                head.keep_output(self._call(clean, clean.row.batch, start))
            except StopForward as stopped:
                if stopped not in (head.stop, visitor.stop):
                    raise
        self.n_block_tokens += growing.n_block_tokens
        return growing.joined

    def _call(self, clean: CleanRow, batch: Batch, start: int) -> Any:
        past = Past(clean.past, start) if clean.past is not None and start else None
        given = arguments(self.network, batch, past, start)
        named = {name: value for name, value in given.items() if name}
        return self.network.module(given[""], **named) if "" in given else self.network.module(**named)

    def _run_copies(self, clean: CleanRow, n_rows: int) -> None:
        batch = clean.row.batch
        copies = Batch(
            batch.input_ids.repeat(n_rows, 1),
            batch.attention_mask.repeat(n_rows, 1),
            {name: value.repeat(n_rows, *[1] * (value.ndim - 1)) for name, value in batch.extra.items()},
        )
        self._call(clean, copies, clean.row.n_tokens // 2 if clean.past is not None else 0)
