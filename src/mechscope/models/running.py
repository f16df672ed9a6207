"""One forward pass with plain hooks: read at sites, write at sites, stop at the last site needed.

1. group the wanted sites and edits by point (input or output of one module) and hang one hook on each point
2. at a point: for each of its sites in order, read; if it is edited, write the new value; if it is wanted, keep it
3. when nothing is left to read and no output was asked for, leave the forward by a private exception
4. take every hook away again, whatever happened
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent
from mechscope.models.batch import Batch
from mechscope.models.component_map import Tap
from mechscope.models.edits import Edit, apply_edit
from mechscope.models.points import Access

__all__ = ["Outcome", "Plan", "run_forward"]


class _Stop(BaseException):
    """Leaves a forward pass early; no Exception, so that a model's own `except Exception` cannot swallow it."""


@dataclass(frozen=True)
class Plan:
    """What to do in one forward.

    Args:
        accesses: how to reach each site named below (and possibly more).
        reads: sites to keep.
        edits: what to write, by site.
        wants_output: run to the end and keep the module's output.
        copies: clone what is kept, since the network may overwrite it.
        keeps_failures: report a site that cannot be read and go on, instead of raising.
    """

    accesses: Mapping[LayerComponent, Access]
    reads: Sequence[LayerComponent] = ()
    edits: Mapping[LayerComponent, Edit] = field(default_factory=dict)
    wants_output: bool = False
    copies: bool = False
    keeps_failures: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a forward gave. `overwritten` names kept tensors that the network wrote into afterwards.

    `failures` says why a site could not be read; it is filled only when the plan keeps failures.
    """

    values: dict[LayerComponent, Tensor]
    output: Any
    overwritten: list[LayerComponent]
    failures: dict[LayerComponent, str]


def run_forward(module: nn.Module, inputs: Mapping[str, Any], batch: Batch, plan: Plan) -> Outcome:
    """Run `module(**inputs)` under a plan. Gradients are left as the caller set them.

    The input named "" goes in by position. Raises BadDataError when a site's module is never called, or twice.
    """
    run = _Run(plan, batch)
    output = None
    handles = []
    try:
        for point in run.points:
            handles.append(_hang(module.get_submodule(point.module), point, run))
        keywords = {name: value for name, value in inputs.items() if name}
        output = module(inputs[""], **keywords) if "" in inputs else module(**keywords)
    except _Stop as stop:
        if stop.args[0] is not run:
            raise
    finally:
        for handle in handles:
            handle.remove()
    run.require_complete()
    return Outcome(run.values, output, run.overwritten(), run.failures)


class _Run:
    """The state of one forward."""

    def __init__(self, plan: Plan, batch: Batch) -> None:
        self.plan = plan
        self.batch = batch
        self.values: dict[LayerComponent, Tensor] = {}
        self.versions: dict[LayerComponent, int] = {}
        self.seen: dict[Tap, Tensor] = {}
        self.visited: set[Tap] = set()
        self.points: dict[Tap, list[LayerComponent]] = {}
        self.recorded: set[Tap] = set()
        wanted = {*plan.reads, *plan.edits}
        for site in plan.accesses:
            if site in wanted:
                access = plan.accesses[site]
                self.points.setdefault(access.point, []).append(site)
                self.recorded.update(access.needs)
        for point in self.recorded:
            self.points.setdefault(point, [])
        self.reads = frozenset(plan.reads)
        self.n_left = len(self.reads)
        self.failures: dict[LayerComponent, str] = {}

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
        value = access.read(raw, self.seen)
        if edit := self.plan.edits.get(site):
            new = apply_edit(edit, value, self.batch)
            raw = access.write(raw, value, new)
            value = new
        if site in self.reads:
            kept = value.detach()
            self.values[site] = kept.clone() if self.plan.copies else kept
            self.versions[site] = self.values[site]._version
            self.n_left -= 1
        return raw

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
        return [site for site, value in self.values.items() if value._version != self.versions[site]]


def _hang(module: nn.Module, point: Tap, run: _Run) -> Any:
    if point.at == "input":
        return module.register_forward_pre_hook(_input_hook(point, run), with_kwargs=True)
    return module.register_forward_hook(_output_hook(point, run))


def _input_hook(point: Tap, run: _Run) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        del module
        name = "" if args else next((key for key, value in kwargs.items() if isinstance(value, Tensor)), "")
        raw = kwargs[name] if name else args[0] if args else None
        new = run.visit(point, raw)
        run.stop_if_done()
        if new is raw:
            return None
        return (args, {**kwargs, name: new}) if name else ((new, *args[1:]), kwargs)

    return hook


def _output_hook(point: Tap, run: _Run) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        del module, args
        is_tuple = isinstance(output, tuple)
        raw = output[0] if is_tuple and output else output
        new = run.visit(point, raw)
        run.stop_if_done()
        if new is raw:
            return None
        return (new, *output[1:]) if is_tuple else new

    return hook


def _not_a_tensor(point: Tap, found: Any) -> BadDataError:
    return BadDataError(
        f"the {point.at} of module {point.module!r} is {type(found).__name__}",
        expected="a tensor, or a tuple that begins with one",
        todo="point the component map at a module that passes the stream as its first tensor",
    )


def _called_twice(point: Tap) -> BadDataError:
    return BadDataError(
        f"module {point.module!r} is called twice in one forward",
        expected="one call, so that its sites mean one thing",
        todo="point the component map at modules that are not shared between layers",
    )


def _not_called(point: Tap, before: Tap | None = None) -> BadDataError:
    when = f" before {before.module!r} was done" if before else ""
    return BadDataError(
        f"module {point.module!r} was not called in the forward pass{when}",
        expected="a module that every forward runs through, in the order of the map",
        todo="correct the component map, or leave the sites that it serves",
    )


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
