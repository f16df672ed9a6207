"""The page on lenses runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

PAGE = Path(__file__).parents[3] / "docs" / "lens.md"


def test_the_example_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["found"].kl_to_output.shape == (4, 7)
    torch.testing.assert_close(names["parts"].values.sum(dim=0), names["parts"].uncapped, rtol=1e-4, atol=1e-4)
