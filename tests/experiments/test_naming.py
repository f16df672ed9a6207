"""Ids and file names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments import ExperimentFolders, ExperimentSpec, find_kind, new_id


def test_ids_of_one_second_differ() -> None:
    ids = [new_id() for _ in range(5000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{13}", found) for found in ids)
    times = [found[:21] for found in ids]
    assert times == sorted(times)


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


def test_an_alias_is_found_without_importing_the_other_kinds() -> None:
    code = (
        "import sys\nfrom mechscope.experiments import find_kind\n"
        "assert find_kind('coverage').name == 'core_coverage'\n"
        "kinds = {name for name in sys.modules if name.startswith('mechscope.experiments.kinds.')}\n"
        "assert kinds == {'mechscope.experiments.kinds.core_coverage'}, kinds"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_alias_finds_its_kind() -> None:
    kinds = [find_kind(name) for name in EXPERIMENTS.names()]
    aliases = {alias: kind.name for kind in kinds for alias in kind.aliases}
    assert len(aliases) >= 3
    assert {alias: find_kind(alias).name for alias in aliases} == aliases
