"""The forwards of a sweep: variants put into groups, and one forward of the network for each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mechscope.models.batch import Batch
from mechscope.models.component_map import blocks_of
from mechscope.models.hooks import hang_hooks
from mechscope.models.network import Network
from mechscope.models.own_forward import NextForward
from mechscope.models.sweeps.clean_runs import CleanRow, arguments
from mechscope.models.sweeps.gathered_head import GatheredHead
from mechscope.models.sweeps.growing import GrowingBatch, RowSizes, StopForward, measure_row_sizes
from mechscope.models.sweeps.last_block import LastBlock
from mechscope.models.sweeps.past import Past
from mechscope.models.sweeps.row_visits import Ground, RowVisitor
from mechscope.models.sweeps.settings import SweepSettings
from mechscope.models.sweeps.variants import Variant

__all__ = ["Forwards", "Group", "join_starts", "split_groups"]

MOST_JOINED = 64
SHARE_OF_BLOCKS = 0.5  # of its blocks, a variant runs through half when first edits are spread over the layers


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
    variants: Sequence[Variant], clean: CleanRow, *, place: int | None, has_reads: bool, settings: SweepSettings
) -> Iterator[Group]:
    """The groups of one row, `settings.max_tokens` positions each at most.

    Variants that change nothing of what is wanted are in no group: no position of theirs is in the row, or their
    first is behind the wanted one. `place` is the wanted position of the row.
    """
    by_start: dict[int, list[Variant]] = {}
    for variant in variants:
        if (start := variant.starts[clean.row.index]) is not None:
            start = start if clean.past is not None else 0
            if has_reads or (place is not None and start <= place):
                by_start.setdefault(start, []).append(variant)
    for starts in join_starts({start: len(same) for start, same in by_start.items()}, clean.n_positions, settings):
        start, size = starts[0], max(1, settings.max_tokens // (clean.n_positions - starts[0]))
        joined = sorted((v for one in starts for v in by_start[one]), key=lambda v: (v.layer, v.order))
        for first in range(0, len(joined), size):
            wanted = None if place is None or place < start else place - start
            yield Group(clean, start, wanted, joined[first : first + size])


def join_starts(counts: Mapping[int, int], n_tokens: int, settings: SweepSettings) -> list[list[int]]:
    """Neighbouring starts that run in one forward, from the first of them on.

    A forward costs what reading the weights costs, `forward_tokens` positions, and one for each position of a row.
    Joining starts saves forwards and repeats positions; the cheapest cut of the sorted starts is found exactly,
    among joins of at most `MOST_JOINED` (dynamic programming over the last cut).
    """
    starts = sorted(counts)
    best, cut = [0.0], [0]
    for stop in range(1, len(starts) + 1):
        n_rows, cheapest = 0, (float("inf"), 0)
        for first in range(stop - 1, max(-1, stop - 1 - MOST_JOINED), -1):
            n_rows += counts[starts[first]]
            tokens = settings.forward_tokens + n_rows * (n_tokens - starts[first]) * SHARE_OF_BLOCKS
            cheapest = min(cheapest, (best[first] + tokens, first))
        best.append(cheapest[0])
        cut.append(cheapest[1])
    joined: list[list[int]] = []
    stop = len(starts)
    while stop:
        joined.append(starts[cut[stop] : stop])
        stop = cut[stop]
    return joined[::-1]


class Forwards:
    """Runs groups on a network. `n_block_tokens` counts positions times blocks."""

    def __init__(self, network: Network, ground: Ground, clean: CleanRow) -> None:
        self.network = network
        self.ground = ground
        pooled = network.component_map.pooled
        self.pool = None if pooled is None else network.module.get_submodule(pooled.module)
        self.blocks: list[nn.Module] = blocks_of(network.module, network.component_map)
        self.sizes: RowSizes = measure_row_sizes(lambda n_rows: self._run_copies(clean, n_rows), self.blocks)
        self.last_block = LastBlock(network)
        self.n_block_tokens = 0

    def run(self, groups: Sequence[Group]) -> tuple[list[tuple[int, int]], Float[Tensor, "n_rows d_vocab"] | None]:
        """Run the groups; gives (variant, row) in order for those whose logits are wanted, and these logits."""
        ends = [place for place, group in enumerate(groups) if group.place is not None]
        ran = [(variant.index, groups[end].clean.row.index) for end in ends for variant in groups[end].variants]
        order = sorted(range(len(ran)), key=ran.__getitem__)
        head = GatheredHead(self.network, stops_behind=True, order=order)
        for place, group in enumerate(groups):
            head.is_last = bool(ends) and place == ends[-1]
            self._run_group(group, head)
        return [ran[index] for index in order], head.take() if ran else None

    def _run_group(self, group: Group, head: GatheredHead) -> None:
        clean, start = group.clean, group.start
        entries = {layer: [v.index for v in same] for layer, same in groupby(group.variants, key=lambda v: v.layer)}
        growing = GrowingBatch(entries, {layer: clean.inputs[layer][:, start:] for layer in entries}, self.sizes)
        visitor = RowVisitor(self.ground, clean.row, start, group.variants, growing, runs_on=group.place is not None)
        with ExitStack() as stack:
            stack.enter_context(self.network.turn_for(self.ground.frames))
            own = NextForward()
            growing.hang(self.blocks, self.pool, own, stack)
            hang_hooks(self.network.module, visitor, stack)
            if group.place is not None:
                head.hang(stack, own, group.place)
                if clean.past is not None:
                    self.last_block.hang(stack, own, group.place, visitor.sites)
            try:
                output = self._call(clean, clean.row.batch, start)
                if group.place is not None:
                    head.keep_output(output)
            except StopForward as stopped:
                if stopped not in (head.stop, visitor.stop):
                    raise
        self.n_block_tokens += growing.n_block_tokens

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
        with self.network.turn_for(self.ground.frames):
            self._call(clean, copies, clean.row.n_tokens // 2 if clean.past is not None else 0)
