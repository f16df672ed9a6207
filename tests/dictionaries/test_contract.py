from __future__ import annotations

from pathlib import Path

import pytest

from mechscope.core.kinds import ARCHITECTURES
from mechscope.testing.architectures import check_architecture


@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_architecture_keeps_its_contract(name: str, tmp_path: Path) -> None:
    check_architecture(name, tmp_path)


def test_both_architectures_are_found() -> None:
    assert {"relu", "topk"} <= set(ARCHITECTURES.names())
