"""Specs and results read back from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mechscope.core import NotFoundError, read_mapping
from mechscope.experiments.results import ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.store.atomic import read_json

__all__ = ["read_result", "read_spec"]


def read_spec(path: Path) -> ExperimentSpec:
    """A spec from a JSON or YAML file. Raises NotFoundError, BadDataError or UsageError."""
    return ExperimentSpec.parse(_mapping(path), where=str(path))


def read_result(path: Path) -> ExperimentResult:
    """A result from its file. Raises NotFoundError, BadDataError or UsageError."""
    return ExperimentResult.parse(_mapping(path), where=str(path))


def _mapping(path: Path) -> Any:
    # YAML takes 1e-05 for text, so JSON goes through a JSON parser
    if path.suffix != ".json":
        return read_mapping(path)
    if not path.is_file():
        raise NotFoundError(f"no file at {path}", expected="the JSON file of a spec or a result", todo="check the path")
    return read_json(path)
