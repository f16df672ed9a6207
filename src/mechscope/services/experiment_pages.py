"""The page of an experiment as a file."""

from __future__ import annotations

from pathlib import Path

from mechscope.core import ConflictError
from mechscope.experiments import ExperimentResult, find_kind
from mechscope.experiments.report import experiment_report
from mechscope.store import write_bytes

__all__ = ["write_page"]


def write_page(result: ExperimentResult, path: Path) -> Path:
    """Write a result's page, and return the path. Figures that were not asked for when it ran are drawn now.

    About 5 MB with a figure: the page needs no other file and no network. Raises ConflictError when `path` cannot be
    written.
    """
    if not result.figures and result.tables:
        result = result.updated(figures=dict(find_kind(result.experiment_type).draw(result)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, experiment_report(result).to_html().encode())
    except OSError as error:
        raise ConflictError(
            f"{path} cannot be written ({error.strerror})", expected="a file for the page", todo="choose another path"
        ) from error
    return path
