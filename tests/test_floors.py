"""The house stands: a folder imports only from floors below it, and siblings on a shelf do not know each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mechscope

HOUSE = Path(mechscope.__file__).parent
FLOORS = [
    ["core"],
    ["store"],
    ["models", "corpora", "stats", "reports"],
    ["dictionaries", "activations", "probes", "runs"],
    ["training", "features", "circuits", "subjects"],
    ["workspace"],
    ["actions", "experiments", "labels"],
    ["services", "investigate"],
    ["cli", "web", "mcp"],
]
FLOOR_OF = {folder: number for number, floor in enumerate(FLOORS, 1) for folder in floor}
SHELVES = [
    "dictionaries/architectures",
    "corpora/sources",
    "corpora/domains",
    "models/families",
    "activations/policies",
    "features/similarities",
]
FILES = sorted(HOUSE.rglob("*.py"))


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def house_imports(path: Path) -> list[tuple[str, ...]]:
    names = [tuple(name.split(".")) for name in imported_modules(path)]
    return [name[1:] for name in names if name[0] == "mechscope" and len(name) > 1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_only_fall(path: Path) -> None:
    folder = path.relative_to(HOUSE).parts[0]
    if folder not in FLOOR_OF:
        assert folder in {"__init__.py", "__main__.py", "testing"}, f"{folder} stands on no floor"
        return
    for name in house_imports(path):
        target = name[0]
        if target == folder:
            continue
        assert target in FLOOR_OF, f"{path} imports {target}, which stands on no floor"
        assert FLOOR_OF[target] < FLOOR_OF[folder], f"{path} (floor {FLOOR_OF[folder]}) imports {'.'.join(name)}"


@pytest.mark.parametrize("shelf", SHELVES)
def test_siblings_on_a_shelf_do_not_know_each_other(shelf: str) -> None:
    folder = HOUSE / shelf
    siblings = {path.stem if path.is_file() else path.name for path in folder.iterdir()} - {"__init__", "__pycache__"}
    prefix = tuple(shelf.split("/"))
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        for name in house_imports(path):
            if name[: len(prefix)] == prefix and len(name) > len(prefix):
                assert name[len(prefix)] in {own} | (set() if own != "__init__" else siblings), f"{path}: {name}"


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=lambda p: str(p.relative_to(HOUSE)))
def test_faces_only_re_export(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.Assign)
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_docstring or isinstance(node, allowed), f"{path}:{node.lineno} does more than re-export"
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            imported = [a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names]
            assert sorted(names) == sorted(imported), f"{path}: __all__ differs from what is imported"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_import_hides_in_a_function(path: Path) -> None:
    # Commands load their services when they run, so that help and listing stay light.
    if path.relative_to(HOUSE).parts[0] == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(node):
                assert not isinstance(inner, ast.Import | ast.ImportFrom), f"{path}:{inner.lineno}"
