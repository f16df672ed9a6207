"""Ids and file names."""

from __future__ import annotations

import re
from pathlib import Path

from mechscope.experiments import ExperimentFolders, ExperimentSpec, new_id


def test_ids_of_one_second_differ() -> None:
    ids = [new_id() for _ in range(5000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{10}", found) for found in ids)


def test_a_spec_without_an_id_gets_its_own() -> None:
    first, second = (ExperimentSpec(type="family_1d_sweep", feature_id=1) for _ in range(2))
    assert first.id != second.id


def test_the_folders_of_a_workspace() -> None:
    folders = ExperimentFolders.of_workspace(Path("w"))
    assert [folders.specs, folders.results, folders.figures] == [
        Path("w/experiments/specs"),
        Path("w/experiments/results"),
        Path("w/experiments/figures"),
    ]
