"""The English and code that ship with Python: help topics, docstrings and sources of the standard library.

Sources are read as files and parsed, never imported. A module's docstrings appear once in the whole: in half of the
modules (by a hash of the name) they stay where they stand in the source, in the others they are taken out and make a
document of their own. Test suites, bundled wheels and generated tables are left out.
"""

from __future__ import annotations

import ast
import inspect
import os
import pydoc_data.topics
import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mechscope.core import BadDataError, derive_seed, digest_bytes, digest_of
from mechscope.corpora.documents import Document
from mechscope.corpora.python_marks import DocumentedNode, docstring_nodes, prose_marks, source_marks

__all__ = ["LibraryFile", "PythonKind", "library_digest", "library_files", "module_documents", "topic_documents"]

PythonKind = Literal["topic", "docstring", "source"]

LEFT_OUT_FOLDERS = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idle_test",
        "encodings",
        "pydoc_data",
        "_bundled",
        "__phello__",
    }
)
LEFT_OUT_STARTS = ("_sysconfigdata", "config-", "sitecustomize", "usercustomize", "lib-dynload")


@dataclass(frozen=True)
class LibraryFile:
    """One source file of the standard library: dotted module name and path."""

    module: str
    path: Path


def library_files(folder: Path | None = None) -> list[LibraryFile]:
    """The source files, sorted by module name. Raises BadDataError when the library is not there as .py files.

    Args:
        folder: where to look; by default the running Python's own standard library.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if folder is None else folder
    found = [LibraryFile(_module_name(path.relative_to(root)), path) for path in _kept_files(root)]
    if not found:
        raise BadDataError(
            f"{root} holds no .py files",
            expected="the standard library as source files",
            todo="use a Python whose standard library is not packed or stripped",
        )
    return sorted(found, key=lambda file: file.module)


def library_digest(files: Sequence[LibraryFile]) -> str:
    """SHA-256 over the help topics and the bytes of every source file: another Python has another digest."""
    digests = {file.module: digest_bytes(file.path.read_bytes()) for file in files}
    return digest_of({"topics": pydoc_data.topics.topics, "files": digests})


def topic_documents() -> Iterator[Document]:
    """The pages that `help("topics")` lists."""
    for name, text in sorted(pydoc_data.topics.topics.items()):
        facts = {"kind": "topic", "module": "pydoc_data.topics"}
        yield Document(f"topic:{name}", text, group=f"topic:{name}", facts=facts, read_marks=partial(prose_marks, text))


def module_documents(file: LibraryFile, kinds: Sequence[PythonKind]) -> Iterator[Document]:
    """The documents of one module, of the kinds asked for ("docstring", "source"); none for an empty file.

    Raises BadDataError when the file cannot be decoded or is no Python for this version.
    """
    source, tree = _read(file)
    apart = "docstring" in kinds and ("source" not in kinds or _has_docstrings_apart(file.module))
    texts: dict[PythonKind, str] = {}
    if apart:
        texts["docstring"] = _docstrings(file.module, tree)
    if "source" in kinds:
        texts["source"] = _without_docstrings(source, tree) if apart else source
    for kind, text in texts.items():
        if text.strip():
            marks = partial(source_marks if kind == "source" else prose_marks, text)
            facts = {"kind": kind, "module": file.module}
            yield Document(f"{kind}:{file.module}", text, group=file.module, facts=facts, read_marks=marks)


def _module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _kept_files(root: Path) -> Iterator[Path]:
    # Prunes as it goes: site-packages can be a hundred times larger than the library.
    for folder, folders, names in os.walk(root):
        left_out = LEFT_OUT_STARTS if Path(folder) == root else ()
        folders[:] = [name for name in folders if name not in LEFT_OUT_FOLDERS and not name.startswith(left_out)]
        yield from (Path(folder, name) for name in names if name.endswith(".py") and not name.startswith(left_out))


def _has_docstrings_apart(module: str) -> bool:
    return derive_seed(0, "docstrings apart", module) % 2 == 0


def _read(file: LibraryFile) -> tuple[str, ast.Module]:
    try:
        with tokenize.open(file.path) as opened:
            source = opened.read().replace("\f", "")
        return source, ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise BadDataError(
            f"{file.path} is not Python source: {error}",
            expected="source that this Python can parse",
            todo="mend the file, or leave it out",
        ) from error


def _docstrings(module: str, tree: ast.Module) -> str:
    owners = _qualified_names(tree, module)
    entries = []
    for node, _ in docstring_nodes(tree):
        text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
        body = "\n".join(f"    {line}" if line else "" for line in text.splitlines())
        entries.append(f"{owners[node]}{_signature(node)}\n{body}\n")
    return "\n".join(entries)


def _signature(node: DocumentedNode) -> str:
    return f"({ast.unparse(node.args)})" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ""


def _qualified_names(tree: ast.Module, module: str) -> dict[ast.AST, str]:
    names: dict[ast.AST, str] = {tree: module}

    def name_children(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = child.name if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else ""
            names[child] = f"{prefix}.{named}" if named else prefix
            name_children(child, names[child])

    name_children(tree, module)
    return names


def _without_docstrings(source: str, tree: ast.Module) -> str:
    lines = source.splitlines(keepends=True)
    for node, statement in docstring_nodes(tree):
        first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
        indent = lines[first][: statement.col_offset]
        tail = lines[last].encode()[statement.end_col_offset :].strip()
        if indent.strip() or tail:
            continue  # shares its lines with code: stays where it is
        lines[first : last + 1] = [""] * (last + 1 - first)
        if len(node.body) == 1 and not isinstance(node, ast.Module):
            lines[first] = f"{indent}pass\n"
    return "".join(lines).lstrip("\n")
