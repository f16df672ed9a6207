"""What happens at the points of one forward of a growing batch: each row gets its variant's edits, and is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from mechscope.core import BadDataError, LayerComponent
from mechscope.models.batch import Batch, reads_encoder
from mechscope.models.component_map import Tap
from mechscope.models.points import Access, Seen, narrow
from mechscope.models.sweeps.base_rows import BaseRow
from mechscope.models.sweeps.growing import GrowingBatch, StopForward
from mechscope.models.sweeps.variants import Variant
from mechscope.models.writing import keys_at, write_edits

__all__ = ["Ground", "RowVisitor"]


@dataclass(frozen=True, eq=False)
class Ground:
    """What all forwards of a sweep share.

    Args:
        whole: the whole batch, on the network's device.
        batch: the same as the stack with the logits sees it.
        accesses: the ways to the sites that are edited or read, in the order of the forward pass.
        frames: clean values [batch ...] of these sites; edits see the row's values in place of the clean ones.
        reads: where to keep what is read, by site: [n_variants batch ...], filled with clean values before.
    """

    whole: Batch
    batch: Batch
    accesses: Mapping[LayerComponent, Access]
    frames: Mapping[LayerComponent, Tensor]
    reads: Mapping[LayerComponent, Tensor]


class RowVisitor:
    """Called at each point (see `mechscope.models.hooks`) while the variants of one base row run.

    With `runs_on` the forward goes to its end, else only to the last site that is read.
    """

    def __init__(
        self,
        ground: Ground,
        row: BaseRow,
        start: int,
        variants: Sequence[Variant],
        growing: GrowingBatch,
        *,
        runs_on: bool,
    ) -> None:
        self.ground = ground
        self.row = row
        self.start = start
        self.variants = {variant.index: variant for variant in variants}
        self.growing = growing
        self.edited = {site for variant in variants for site in variant.edits}
        self.parts: dict[LayerComponent, list[LayerComponent]] = {}
        for read in ground.reads:
            self.parts.setdefault(read.base, []).append(read)
        self.points: dict[Tap, list[LayerComponent]] = {}
        self.recorded: set[Tap] = set()
        for site, access in ground.accesses.items():
            if site in self.edited or site in self.parts:
                self.points.setdefault(access.point, []).append(site)
                self.recorded.update(access.needs)
        for point in self.recorded:
            self.points.setdefault(point, [])
        self.seen: Seen = {}
        self.n_left = len(self.parts)
        self.runs_on = runs_on
        self.stop = StopForward()

    @property
    def sites(self) -> set[LayerComponent]:
        """Whole sites that are edited or read."""
        return self.edited | self.parts.keys()

    def visit(self, point: Tap, found: Any) -> Any:
        """The tensor to leave at `point`, with the edits of those rows that have one there."""
        if not isinstance(found, Tensor) or found.shape[0] % self.growing.n_rows:
            raise BadDataError(
                f"the {point.at} of module {point.module!r} does not hold {self.growing.n_rows} rows",
                expected="a tensor whose first axis is the rows, or the rows joined with another axis",
                todo="run the edits one by one with model.logits",
            )
        for site in self.points[point]:
            written: list[tuple[int, Tensor]] = []
            if site in self.edited:
                found = self._edit(site, found, written)
            if site in self.parts:
                self._keep(site, found, written)
        if point in self.recorded:
            self.seen[point] = found
        return found

    def stop_if_done(self) -> None:
        """Leave the forward behind the last site that is read."""
        if self.n_left == 0 and not self.runs_on:
            raise self.stop

    def _edit(self, site: LayerComponent, found: Tensor, written: list[tuple[int, Tensor]]) -> Tensor:
        """What to leave at the point; `written` gets the new values with the first row of each."""
        access, is_copied = self.ground.accesses[site], False
        for first, last in self._stretches(site):
            raw, seen = self._rows(found, first, last), self._seen_rows(first, last)
            value = access.read(raw, seen)
            new = value.clone()
            for place in range(last - first):
                self._write(site, self.variants[self.growing.joined[first + place]], value[place], new[place])
            raw = access.write(raw, value, new)
            written.append((first, new))
            if last - first == self.growing.n_rows:
                return raw
            if not is_copied:
                found, is_copied = found.clone(), True
            self._rows(found, first, last).copy_(raw)
        return found

    def _write(self, site: LayerComponent, variant: Variant, value: Tensor, target: Tensor) -> None:
        frame = self.ground.frames[site].clone()
        self.row.put(site, frame, value, self.start)
        whole = self.ground.whole
        batch = whole if reads_encoder(site) else self.ground.batch
        edited = write_edits(variant.edits[site], frame, batch, keys=keys_at(site, whole))
        target.copy_(self.row.take(site, edited, value, self.start))

    def _keep(self, site: LayerComponent, found: Tensor, written: list[tuple[int, Tensor]]) -> None:
        self.n_left -= 1
        if not self.growing.joined:
            return
        value = self.ground.accesses[site].read(found, self.seen)
        if written:
            value = value.clone()
            for first, new in written:  # as it was written: of a derived site the point holds only the sum
                value[first : first + len(new)] = new
        for part in self.parts[site]:
            kept = self.ground.reads[part]
            for index, of_row in zip(self.growing.joined, narrow(part, value), strict=True):
                self.row.put(part, kept[index], of_row, self.start)

    def _stretches(self, site: LayerComponent) -> Iterator[tuple[int, int]]:
        """The rows that are edited at a site, as ranges of neighbours."""
        joined = self.growing.joined
        rows = [place for place, index in enumerate(joined) if site in self.variants[index].edits]
        for _, group in groupby(enumerate(rows), key=lambda pair: pair[1] - pair[0]):
            places = [place for _, place in group]
            yield places[0], places[-1] + 1

    def _rows(self, tensor: Tensor, first: int, last: int) -> Tensor:
        size = tensor.shape[0] // self.growing.n_rows
        return tensor[first * size : last * size]

    def _seen_rows(self, first: int, last: int) -> Seen:
        return {point: self._rows(tensor, first, last) for point, tensor in self.seen.items()}
