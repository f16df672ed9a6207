"""The groups of a declared domain: names of row columns, which of them the model is told, and what describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mechscope.core import BadDataError, UsageError, unknown_name
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domain_declaration import DomainDeclaration

__all__ = ["DeclaredGroups", "read_groups"]


@dataclass(frozen=True, eq=False)
class DeclaredGroups:
    """Groups read from a corpus.

    Attributes:
        names: group -> its names, sorted.
        of_row: group -> its name in each row of the corpus.
        inputs: group -> (input column, name -> integer) for the groups that the model is told.
        attribute_group, attributes: as in `Domain`.
        known_inputs: input column -> every integer that the corpus has.
    """

    names: dict[str, tuple[str, ...]]
    of_row: dict[str, np.ndarray]
    inputs: dict[str, tuple[str, dict[str, int]]]
    attribute_group: str | None
    attributes: dict[str, dict[str, str]]
    known_inputs: dict[str, frozenset[int]]

    @cached_property
    def name_of_input(self) -> dict[str, dict[int, str]]:
        """Group -> integer -> name, for the groups that the model is told."""
        return {group: {value: name for name, value in ids.items()} for group, (_, ids) in self.inputs.items()}

    def input_faults(self, inputs: Mapping[str, int]) -> list[str]:
        """What is missing or unknown among the inputs of a context, in words."""
        wrong = [f"it has no {name}, which the model is given" for name in self.known_inputs if name not in inputs]
        return wrong + [
            f"no row has {name} {value}"
            for name, value in inputs.items()
            if value not in self.known_inputs.get(name, ())
        ]


def read_groups(corpus: Corpus, declaration: DomainDeclaration) -> DeclaredGroups:
    """The groups of a declaration. One pass over each column.

    Raises:
        NotFoundError: a column that the corpus does not have at row level.
        UsageError: an input or attribute column that does not go with its group one name at a time.
    """
    asked = declaration.groups
    if asked is None:
        asked = tuple(name for role in ("group", "document") for name in corpus.names_with_role(role, "row"))
    wanted = dict.fromkeys([*asked, *declaration.inputs, *filter(None, [declaration.attribute_group])])
    of_row = {name: _row_column(corpus, name).astype(str) for name in wanted}
    names = {name: tuple(sorted(set(values.tolist()))) for name, values in of_row.items()}
    inputs: dict[str, tuple[str, dict[str, int]]] = {}
    for group, column in declaration.inputs.items():
        if column not in corpus.names_with_role("input", "row"):
            raise unknown_name("input column", column, corpus.names_with_role("input", "row"))
        told = _row_column(corpus, column).tolist()
        _describe(np.array(list(map(str, told))), of_row[group].tolist(), column, group)
        ids = _describe(of_row[group], told, group, column)
        inputs[group] = column, {name: int(str(value)) for name, value in ids.items()}
    if declaration.attributes and declaration.attribute_group is None:
        raise UsageError(
            f"attributes {', '.join(declaration.attributes)} without a group",
            expected="attribute_group: the group that they describe",
            todo="name it",
        )
    described = of_row.get(declaration.attribute_group or "", np.zeros(0))
    attributes = {
        column: {
            name: str(value)
            for name, value in _describe(
                described, _row_column(corpus, column).tolist(), str(declaration.attribute_group), column
            ).items()
        }
        for column in declaration.attributes
    }
    known = {
        name: frozenset(map(int, np.unique(corpus.column(name)))) for name in corpus.names_with_role("input", "row")
    }
    return DeclaredGroups(names, of_row, inputs, declaration.attribute_group, attributes, known)


def _row_column(corpus: Corpus, name: str) -> np.ndarray:
    if name not in corpus.row_columns:
        raise unknown_name("row column", name, corpus.row_columns)
    return corpus.row_columns[name]


def _describe(names: np.ndarray, values: list, group: str, column: str) -> dict[str, object]:
    """Name -> its one value, integers and texts as they are. Raises UsageError when a name has two."""
    found: dict[str, object] = {}
    for name, value in zip(names.tolist(), values, strict=True):
        if found.setdefault(name, value) != value:
            raise UsageError(
                f"{group} {name!r} has the {column} {found[name]!r} and {value!r}",
                expected=f"one {column} for each {group}",
                todo="declare another column",
            )
    if not found:
        raise BadDataError(f"{column} has no rows", expected="a value a row", todo="check the corpus")
    return found
