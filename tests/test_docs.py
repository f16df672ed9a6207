"""The README runs, and names nothing that is not there."""

import re
from pathlib import Path
from typing import Any

import pytest

from mechscope.cli.reference import reference

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"root": tmp_path}
    for code in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(code, "README.md", "exec"), names)
    assert re.fullmatch(r"\{\} \d+\n", capsys.readouterr().out)
    assert names["text"].shape == (2, 8)
    assert names["heads"].shape[:2] == (12, 2)
    assert not names["moved"].equal(names["model"].logits(names["batch"]))


def test_every_option_in_the_readme_exists() -> None:
    shell = "\n".join(re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)) + README
    known = reference()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", shell))
    assert not {option for option in named if f"`{option}`" not in known}


def test_every_link_leads_somewhere() -> None:
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_shipped_weights_stay_small() -> None:
    folder = REPOSITORY / "src" / "mechscope" / "subjects_data"
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert total < 8_000_000
