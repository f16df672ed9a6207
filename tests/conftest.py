"""Every annotation of the package is checked while the tests run: shapes and dtypes of tensors, and all other types."""

from __future__ import annotations

import os

import pytest
from jaxtyping import install_import_hook

install_import_hook("mechscope", "shape_checks.checked")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Checks of models are remembered in a folder of this run, also by the commands that tests start."""
    os.environ["MECHSCOPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
