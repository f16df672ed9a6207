import sys
from pathlib import Path

import pytest

from mechscope.core import ConflictError, Registry

MODULE = '"""A thing from elsewhere."""\n\n\nclass Quince:\n    """From another distribution."""\n'
METADATA = "Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\n"


@pytest.fixture
def orchard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution installed by hand that adds one entry to a group of its own."""
    group = f"mechscope.test_{tmp_path.name}"
    (tmp_path / "orchard_things.py").write_text(MODULE)
    info = tmp_path / "orchard-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(f"[{group}]\nquince = orchard_things:Quince\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return group


def test_another_distribution_adds_an_entry(orchard: str) -> None:
    registry = Registry("thing", "mechscope.nothing_here", orchard)
    entry = registry.entries()["quince"]
    assert (entry.module, entry.attribute, entry.line) == ("orchard_things", "Quince", 0)
    assert "orchard" in entry.summary
    assert "orchard_things" not in sys.modules
    assert registry.get("quince").__name__ == "Quince"


def test_a_name_that_both_claim_is_an_error(orchard: str, tmp_path: Path) -> None:
    package = tmp_path / "shelf" / "things"
    package.mkdir(parents=True)
    (tmp_path / "shelf" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "quince.py").write_text("@SHELF.register('quince')\nclass Own:\n    '''Own.'''\n")
    with pytest.raises(ConflictError, match="two entries for thing 'quince'"):
        Registry("thing", "shelf.things", orchard).entries()
