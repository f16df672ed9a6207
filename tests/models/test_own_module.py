"""The examples of docs/own_module.md run and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "own_module.md").read_text(encoding="utf-8")
STEPS = re.findall(r"```(python)?\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_examples_print_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "own_module"}
    printed, shown = "", ""
    for language, text in STEPS:
        if language:
            exec(compile(text, "own_module.md", "exec"), names)
            printed += capsys.readouterr().out
        else:
            shown += text
    assert printed == shown
    assert len(shown.splitlines()) >= 9


def test_the_first_map_has_five_lines() -> None:
    (lines,) = re.findall(r"^component_map = ComponentMap\(\n(.*?)^\)", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert len(lines.splitlines()) == 5
