"""What each character of Python source belongs to: code, comment, string or docstring; brackets and indentation.

Read with the `tokenize` and `ast` modules of the running Python; nothing is imported or executed.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

import numpy as np

__all__ = ["REGIONS", "DocumentedNode", "docstring_nodes", "line_marks", "prose_marks", "source_marks"]

REGIONS = ("code", "comment", "string", "docstring", "prose")
INDENT_SPACES = 4

DocumentedNode = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Position = tuple[int, int]


def source_marks(source: str) -> dict[str, np.ndarray]:
    """Marks of Python source: `region`, `bracket_depth`, `indent`, `is_line_start`, each [len(source)].

    Raises tokenize.TokenError or SyntaxError when the source is not valid for this Python.
    """
    starts = _line_starts(source)
    regions = np.full(len(source), "code", dtype="U9")
    depths = np.zeros(len(source), dtype=np.int8)
    docstrings = _docstring_spans(ast.parse(source))
    depth, depth_from, formatted = 0, 0, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        first, last = _offset(starts, token.start), _offset(starts, token.end)
        name = tokenize.tok_name[token.type]
        inside = formatted > 0  # from Python 3.12 on a formatted string is many tokens
        formatted += name.endswith("STRING_START") - name.endswith("STRING_END")
        if name == "COMMENT":
            regions[first:last] = "comment"
        elif name == "STRING" or inside or formatted:
            documented = any(low <= token.start < high for low, high in docstrings.get(token.start[0], ()))
            regions[first:last] = "docstring" if documented else "string"
        elif token.string in {"(", "[", "{"}:
            depths[depth_from:last] = depth
            depth, depth_from = depth + 1, last
        elif token.string in {")", "]", "}"}:
            depths[depth_from:first] = depth
            depth, depth_from = max(depth - 1, 0), first
    return {"region": regions, "bracket_depth": depths, **line_marks(source)}


def prose_marks(text: str) -> dict[str, np.ndarray]:
    """The same marks for text that is not source: region "prose", no brackets counted."""
    region = np.full(len(text), "prose", dtype="U9")
    return {"region": region, "bracket_depth": np.zeros(len(text), np.int8), **line_marks(text)}


def line_marks(text: str) -> dict[str, np.ndarray]:
    """`indent` (steps of four leading spaces, up to 127) and `is_line_start` (first visible character of its line)."""
    indents = np.zeros(len(text), dtype=np.int8)
    is_start = np.zeros(len(text), dtype=bool)
    at = 0
    for line in text.splitlines(keepends=True):
        visible = line.lstrip()
        lead = len(line) - len(visible)
        indents[at : at + len(line)] = min(lead // INDENT_SPACES, 127) if visible else 0
        if visible:
            is_start[at + lead] = True
        at += len(line)
    return {"indent": indents, "is_line_start": is_start}


def docstring_nodes(tree: ast.Module) -> list[tuple[DocumentedNode, ast.Expr]]:
    """Modules, classes and functions with a docstring, each with the statement that holds it, in source order."""
    found = []
    for node in _statements(tree):
        if isinstance(node, DocumentedNode) and node.body and ast.get_docstring(node, clean=False) is not None:
            statement = node.body[0]
            assert isinstance(statement, ast.Expr)
            found.append((node, statement))
    return sorted(found, key=lambda pair: pair[1].lineno)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    # Never goes down into expressions: they hold no docstring and are nine tenths of the tree.
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _statements(child)


def _docstring_spans(tree: ast.Module) -> dict[int, list[tuple[Position, Position]]]:
    # Only white space stands before a docstring, so that ast's byte columns equal character columns at its start.
    spans: dict[int, list[tuple[Position, Position]]] = {}
    for _, statement in docstring_nodes(tree):
        low = (statement.lineno, statement.col_offset)
        high = (statement.end_lineno or statement.lineno, statement.end_col_offset or 0)
        for line in range(low[0], high[0] + 1):
            spans.setdefault(line, []).append((low, high))
    return spans


def _line_starts(source: str) -> list[int]:
    starts = [0]
    for line in io.StringIO(source):
        starts.append(starts[-1] + len(line))
    return starts


def _offset(starts: list[int], position: Position) -> int:
    line, column = position
    return min(starts[min(line - 1, len(starts) - 1)] + column, starts[-1])
