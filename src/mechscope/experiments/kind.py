"""The interface of an experiment kind: one file in `kinds/`, one class."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from mechscope.core import Spec, unknown_name
from mechscope.core.kinds import EXPERIMENTS
from mechscope.core.registry import Entry
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import Mode, type_name
from mechscope.reports import Figure

__all__ = ["ExperimentKind", "find_kind", "kind_names"]


class ExperimentKind(ABC):
    """Interface of a kind. Registered with `@EXPERIMENTS.register("its_type")`; made without arguments.

    Attributes:
        name: the type, as it is registered. aliases: other names that a spec may use.
        title: what it does, in a few words, for people.
        variables: the spec of its own settings; a key of `ExperimentSpec.variables` that is not in it is refused.
        modes: what it can do, its own first choice first.
        alternatives: for observational results, what else would give the same numbers.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    variables: ClassVar[type[Spec]]
    modes: ClassVar[tuple[Mode, ...]]
    alternatives: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, spec: ExperimentSpec, variables: Any, context: ExperimentContext, findings: Findings) -> None:
        """Measure, writing into `findings` as numbers come (so that they are kept when something fails later).

        Args:
            spec: checked, with its mode decided (never None).
            variables: an instance of `self.variables`.
            context: the subject.
            findings: empty at first.

        Raises anything: the runner makes a failed result of it.
        """

    def draw(self, result: ExperimentResult) -> Mapping[str, Figure]:
        """Figures by name, drawn from the frozen result alone. Only called when figures were asked for."""
        del result
        return {}


def kind_names() -> list[str]:
    """The registered types, sorted. Imports none of them."""
    return EXPERIMENTS.names()


def find_kind(name: str) -> ExperimentKind:
    """The kind of a type, also by alias or with dashes. Raises NotFoundError with the nearest name."""
    wanted = type_name(name)
    if wanted in EXPERIMENTS.names():
        return _made(wanted)
    aliases = {type_name(alias): entry.name for entry in EXPERIMENTS.entries().values() for alias in _aliases(entry)}
    if wanted not in aliases:
        raise unknown_name("experiment type", name, [*EXPERIMENTS.names(), *aliases])
    return _made(aliases[wanted])


def _made(name: str) -> ExperimentKind:
    kind: ExperimentKind = EXPERIMENTS.get(name)()
    return kind


@cache
def _aliases(entry: Entry) -> tuple[str, ...]:
    """The aliases of a kind, read from its source; only one of another distribution is imported for them."""
    if not entry.line:
        return _made(entry.name).aliases
    for node in ast.parse(Path(entry.file).read_text(encoding="utf-8")).body:
        for part in node.body if isinstance(node, ast.ClassDef) and node.name == entry.attribute else []:
            names = [target.id for target in getattr(part, "targets", []) if isinstance(target, ast.Name)]
            if isinstance(part, ast.Assign) and names == ["aliases"]:
                return tuple(ast.literal_eval(part.value))
    return ()
