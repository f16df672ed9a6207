import subprocess
import sys
from pathlib import Path

import pytest

from mechscope.core import ConflictError, NotFoundError, Registry

FILE = '''
"""A shelf."""
from mechscope.core import Registry
SHELF = Registry("thing", "{package}.things", "mechscope.test")
'''
THING = '''
"""One thing."""
from {package} import SHELF

@SHELF.register("{name}")
class {title}:
    """The {name} thing.

    More about it.
    """
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"shelf_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name / "things").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text(FILE.format(package=name))
    (tmp_path / name / "things" / "__init__.py").write_text("")
    for thing in ("apple", "pear"):
        text = THING.format(package=name, name=thing, title=thing.title())
        (tmp_path / name / "things" / f"{thing}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def shelf(package: str) -> Registry:
    __import__(package)
    registry: Registry = sys.modules[package].SHELF
    return registry


def test_entries_are_found_without_importing_them(package: str) -> None:
    entries = shelf(package).entries()
    assert list(entries) == ["apple", "pear"]
    assert entries["apple"].summary == "The apple thing."
    assert entries["apple"].line == 6
    assert entries["apple"].file.endswith("things/apple.py")
    assert f"{package}.things.apple" not in sys.modules


def test_get_imports_only_the_one_asked_for(package: str) -> None:
    assert shelf(package).get("pear").__name__ == "Pear"
    assert f"{package}.things.apple" not in sys.modules


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(package: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        shelf(package).get("aple")
    assert "unknown thing 'aple'" in str(caught.value)
    assert "one of: apple, pear" in str(caught.value)
    assert "did you mean 'apple'?" in str(caught.value)


def test_one_name_twice_is_an_error(package: str, tmp_path: Path) -> None:
    text = THING.format(package=package, name="apple", title="Other")
    (tmp_path / package / "things" / "other.py").write_text(text)
    with pytest.raises(ConflictError, match="two entries for thing 'apple'"):
        shelf(package).entries()


def test_all_house_registries_list_without_torch() -> None:
    code = (
        "import sys\nfrom mechscope.core.kinds import KINDS\n"
        "for registry in KINDS.values(): registry.entries()\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
