"""One forward pass with plain hooks: read at sites, write at sites, stop at the last site needed.

1. group the wanted sites and edits by point (input, output or softmax of one module) and hang one hook on each point
2. at a point: for each of its sites in order, read; if it is edited, write the new value; if it is wanted, keep it
3. when nothing is left to read and no output was asked for, leave the forward by a private exception
4. take every hook away again, whatever happened
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent
from mechscope.models.batch import DECODER_IDS, Batch, reads_encoder
from mechscope.models.component_map import Tap
from mechscope.models.edits import Edit
from mechscope.models.hooks import hang_hooks
from mechscope.models.points import Access, narrow, widen
from mechscope.models.writing import keys_at, write_edits

__all__ = ["Outcome", "Plan", "Run", "run_forward"]


class _Stop(BaseException):
    """Leaves a forward pass early; no Exception, so that a model's own `except Exception` cannot swallow it."""


@dataclass(frozen=True)
class Plan:
    """What to do in one forward.

    Args:
        accesses: how to reach each whole site named below (and possibly more).
        reads: sites to keep; a head or neuron keeps only its part.
        edits: what to write, by whole site.
        wants_output: run to the end and keep the module's output.
        copies: clone what is kept, since the network may overwrite it.
        keeps_graph: keep values as they stand in the graph, for gradients.
        differentiates: sites where a leaf of zeros is added after the edits, so that gradients can be taken there.
        keeps_failures: report a site that cannot be read and go on, instead of raising.
    """

    accesses: Mapping[LayerComponent, Access]
    reads: Sequence[LayerComponent] = ()
    edits: Mapping[LayerComponent, Sequence[Edit]] = field(default_factory=dict)
    wants_output: bool = False
    copies: bool = False
    keeps_graph: bool = False
    differentiates: Sequence[LayerComponent] = ()
    keeps_failures: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a forward gave. `overwritten` names kept tensors that the network wrote into afterwards.

    `failures` says why a site could not be read; it is filled only when the plan keeps failures.
    """

    values: dict[LayerComponent, Tensor]
    leaves: dict[LayerComponent, Tensor]
    output: Any
    overwritten: list[LayerComponent]
    failures: dict[LayerComponent, str]


def run_forward(module: nn.Module, inputs: Mapping[str, Any], batch: Batch, plan: Plan) -> Outcome:
    """Run `module(**inputs)` under a plan. Gradients are left as the caller set them.

    The input named "" goes in by position. Raises BadDataError when a site's module is never called, or twice.
    """
    run = Run(plan, batch)
    output = None
    try:
        with ExitStack() as hooks:
            hang_hooks(module, run, hooks)
            keywords = {name: value for name, value in inputs.items() if name}
            output = module(inputs[""], **keywords) if "" in inputs else module(**keywords)
    except _Stop as stop:
        if stop.args[0] is not run:
            raise
    run.require_complete()
    return Outcome(run.values, run.leaves, output, run.overwritten(), run.failures)


class Run:
    """The state of one forward. `points` says where to hang hooks; each calls `visit` with what it finds there.

    `keys` is the mask of all tokens so far, where the batch holds only the last of them (a step of a generation).
    """

    def __init__(self, plan: Plan, batch: Batch, *, keys: Bool[Tensor, "batch keys"] | None = None) -> None:
        self.plan = plan
        self.batch = batch
        self.keys = keys
        self.decoder_batch = batch.decoder if DECODER_IDS in batch.extra else batch
        self.points: dict[Tap, list[LayerComponent]] = {}
        self.recorded: set[Tap] = set()
        self.parts: dict[LayerComponent, list[LayerComponent]] = {}
        for read in plan.reads:
            self.parts.setdefault(read.base, []).append(read)
        self.leaves: dict[LayerComponent, Tensor] = {}
        self.leaf_parts: dict[LayerComponent, list[LayerComponent]] = {}
        for part in plan.differentiates:
            self.leaf_parts.setdefault(part.base, []).append(part)
        wanted = {*self.parts, *plan.edits, *self.leaf_parts}
        for site in plan.accesses:
            if site in wanted:
                access = plan.accesses[site]
                self.points.setdefault(access.point, []).append(site)
                self.recorded.update(access.needs)
        for point in self.recorded:
            self.points.setdefault(point, [])
        self.values: dict[LayerComponent, Tensor] = {}
        self.versions: dict[LayerComponent, int] = {}
        self.seen: dict[Tap, Tensor] = {}
        self.visited: set[Tap] = set()
        self.failures: dict[LayerComponent, str] = {}
        self.n_left = len(self.parts)

    def visit(self, point: Tap, found: Any) -> Any:
        """The tensor to leave at `point` in place of the one found there."""
        fault = self._fault_at(point, found)
        self.visited.add(point)
        for site in self.points[point]:
            try:
                if fault is not None:
                    raise fault
                found = self._visit_site(site, found)
            except (BadDataError, RuntimeError) as error:
                if not self.plan.keeps_failures:
                    raise
                self.failures[site] = error.seen if isinstance(error, BadDataError) else _first_line(error)
        if point in self.recorded:
            self.seen[point] = found
        return found

    def _fault_at(self, point: Tap, found: Any) -> BadDataError | None:
        if not isinstance(found, Tensor):
            return _not_a_tensor(point, found)
        return _called_twice(point) if point in self.visited else None

    def _visit_site(self, site: LayerComponent, raw: Tensor) -> Tensor:
        access = self.plan.accesses[site]
        if late := [need for need in access.needs if need not in self.seen]:
            raise _not_called(late[0], before=access.point)
        value = new = access.read(raw, self.seen)
        if edits := self.plan.edits.get(site):
            keys = self.keys if self.keys is not None else keys_at(site, self.batch)
            new = write_edits(edits, value, self._batch_at(site), keys=keys, copies=self.plan.copies)
        for part in self.leaf_parts.get(site, ()):
            leaf = self.leaves[part] = torch.zeros_like(narrow(part, new), requires_grad=True)
            new = widen(part, new, narrow(part, new) + leaf)
        if new is not value:
            raw = access.write(raw, value, new)
            value = new
        if parts := self.parts.get(site):
            for part in parts:
                self._keep(part, narrow(part, value))
            self.n_left -= 1
        return raw

    def _batch_at(self, site: LayerComponent) -> Batch:
        """The tokens along a site's positions: a decoder's, but for keys and values that it takes off its encoder."""
        return self.batch if reads_encoder(site) else self.decoder_batch

    def _keep(self, site: LayerComponent, value: Tensor) -> None:
        if not self.plan.keeps_graph:
            value = value.detach()
            # a part (a head, the queries of a fused projection) does not hold the whole in memory
            value = value.clone() if self.plan.copies or _holds_more(value) else value
        self.values[site] = value
        self.versions[site] = _version(value)

    def stop_if_done(self) -> None:
        """Leave the forward when nothing more is wanted of it."""
        if self.n_left == 0 and not self.plan.wants_output:
            raise _Stop(self)

    def require_complete(self) -> None:
        """Raise (or note) when a point was never reached."""
        if self.n_left == 0 and not self.plan.wants_output:
            return
        for point, sites in self.points.items():
            if point in self.visited or not sites:
                continue
            error = _not_called(point)
            if not self.plan.keeps_failures:
                raise error
            self.failures |= {site: error.seen for site in sites if site not in self.failures}

    def overwritten(self) -> list[LayerComponent]:
        """The kept sites whose tensors changed since they were read."""
        return [site for site, value in self.values.items() if _version(value) != self.versions[site]]


def _not_a_tensor(point: Tap, found: Any) -> BadDataError:
    return BadDataError(
        f"the {point.at} of module {point.module!r} is {type(found).__name__}",
        expected="a tensor, or a tuple that begins with one",
        todo="point the component map at a module that passes the stream as its first tensor",
    )


def _called_twice(point: Tap) -> BadDataError:
    what = "a softmax is called twice" if point.at == "softmax" else f"module {point.module!r} is called twice"
    return BadDataError(
        f"{what} in one forward" + (f" inside {point.module!r}" if point.at == "softmax" else ""),
        expected="one call, so that its sites mean one thing",
        todo="point the component map at modules that are not shared between layers",
    )


def _not_called(point: Tap, before: Tap | None = None) -> BadDataError:
    when = f" before {before.module!r} was done" if before else ""
    what = f"no softmax was called inside {point.module!r}"
    return BadDataError(
        what if point.at == "softmax" else f"module {point.module!r} was not called in the forward pass{when}",
        expected="a module that every forward runs through, in the order of the map",
        todo="correct the component map, or leave the sites that it serves",
    )


def _version(value: Tensor) -> int:
    """Counts the writes into a tensor; those of inference mode are not counted."""
    return 0 if value.is_inference() else value._version


def _holds_more(value: Tensor) -> bool:
    """Whether the tensor keeps more memory than its own numbers take."""
    return value.untyped_storage().nbytes() > value.nbytes


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
