"""Registries that find their entries in a folder, without importing them.

A registry owns a package (a folder of one-thing files) and an entry-point group. Names come from reading the
source: a top-level class or function decorated with `@REGISTRY.register("name")` is an entry. Only `get` imports,
and only the one file asked for, so that listing stays light. A second entry under one name is an error.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from mechscope.core.errors import ConflictError, unknown_name

__all__ = ["Entry", "Registry"]

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """Where one registered thing lives. `line` is 1-based; 0 when it comes from an entry point."""

    name: str
    module: str
    attribute: str
    file: str
    line: int
    summary: str


@dataclass
class Registry:
    """Named things of one kind.

    Args:
        kind: what the entries are, in the singular; used in errors and by `mechscope list`.
        package: dotted name of the folder whose files are searched.
        group: entry-point group through which other distributions add entries.
    """

    kind: str
    package: str
    group: str
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)
    _entries: dict[str, Entry] | None = field(default=None, repr=False)

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a class or function under a literal name, and returns it unchanged."""

        def keep(thing: T) -> T:
            known = self._loaded.get(name)
            if known is not None and getattr(known, "__qualname__", None) != getattr(thing, "__qualname__", None):
                raise ConflictError(
                    f"two entries for {self.kind} {name!r}: {known!r} and {thing!r}",
                    expected="one entry a name",
                    todo="rename one of them",
                )
            self._loaded[name] = thing
            return thing

        return keep

    def entries(self) -> dict[str, Entry]:
        """All entries by name, sorted. Reads source files once; imports nothing."""
        if self._entries is None:
            found: dict[str, Entry] = {}
            for entry in [*self._folder_entries(), *self._foreign_entries()]:
                if entry.name in found:
                    raise ConflictError(
                        f"two entries for {self.kind} {entry.name!r}: {found[entry.name].file} and {entry.file}",
                        expected="one entry a name",
                        todo="rename or uninstall one of them",
                    )
                found[entry.name] = entry
            self._entries = dict(sorted(found.items()))
        return self._entries

    def names(self) -> list[str]:
        """All names, sorted."""
        return list(self.entries())

    def get(self, name: str) -> Any:
        """The thing registered under `name`; imports its file. Raises NotFoundError with the nearest name."""
        if name not in self._loaded:
            entry = self.entries().get(name)
            if entry is None:
                raise unknown_name(self.kind, name, self.names())
            thing = getattr(importlib.import_module(entry.module), entry.attribute)
            self._loaded.setdefault(name, thing)
        return self._loaded[name]

    def _folder_entries(self) -> list[Entry]:
        spec = importlib.util.find_spec(self.package.rpartition(".")[0] or self.package)
        if spec is None or not spec.submodule_search_locations:
            return []
        folder = Path(next(iter(spec.submodule_search_locations)))
        if "." in self.package:
            folder = folder / self.package.rpartition(".")[2]
        files = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
        return [entry for path in files for entry in _entries_in(path, f"{self.package}.{path.stem}")]

    def _foreign_entries(self) -> list[Entry]:
        return [_foreign_entry(point) for point in entry_points(group=self.group)]


def _foreign_entry(point: EntryPoint) -> Entry:
    distribution = point.dist.name if point.dist else "an installed distribution"
    return Entry(point.name, point.module, point.attr, distribution, 0, f"added by {distribution}")


def _entries_in(path: Path, module: str) -> list[Entry]:
    entries = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        summary = (ast.get_docstring(node) or "").split("\n", 1)[0]
        for name in filter(None, map(_registered_name, node.decorator_list)):
            entries.append(Entry(name, module, node.name, str(path), node.lineno, summary))
    return entries


def _registered_name(decorator: ast.expr) -> str | None:
    if (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "register"
        and decorator.args
        and isinstance(decorator.args[0], ast.Constant)
        and isinstance(decorator.args[0].value, str)
    ):
        return decorator.args[0].value
    return None
