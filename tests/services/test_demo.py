"""The demos as specs, and the splatoon main job end to end at a tenth of its size."""

from pathlib import Path

import pytest

from mechscope.core import NotFoundError, read_mapping
from mechscope.corpora import CorpusSpec
from mechscope.services.demo import demo_job
from mechscope.services.demo_jobs import DEMO_JOBS
from mechscope.services.feature_views import view_overview
from mechscope.services.main_job import open_materials
from mechscope.services.reported import run_reported_job
from mechscope.services.results import ReportedJob
from mechscope.workspace import Workspace


@pytest.mark.parametrize("subject", sorted(DEMO_JOBS))
def test_another_seed_is_another_job(subject: str) -> None:
    first, second = demo_job(subject), demo_job(subject, seed=1)
    assert first == demo_job(subject)
    assert first.digest != second.digest
    assert (second.train.seed, second.corpus.options["seed"], second.seed) == (1, 1, 1)


def test_an_unknown_subject_offers_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'pydocs'"):
        demo_job("pydoc")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, ReportedJob, ReportedJob]:
    """A small splatoon demo, run twice."""
    workspace = Workspace.create(tmp_path_factory.mktemp("demo") / "w")
    job = demo_job("splatoon")
    job = job.updated(
        corpus=CorpusSpec(source="splatoon", options={"n_rows": 4000}),
        train=job.train.updated(n_steps=200, n_features=128),
        evaluation_rows=100,
    )
    first, second = (
        run_reported_job(
            workspace,
            job,
            open_materials(workspace, job),
            title="small",
            choices=(),
            command="mechscope demo",
            n_shown=3,
        )
        for _ in range(2)
    )
    return workspace, first, second


def test_the_second_run_reuses_the_first(small: tuple[Workspace, ReportedJob, ReportedJob]) -> None:
    _, first, second = small
    assert (first.was_reused, second.was_reused) == (False, True)
    assert first.updated(was_reused=True, wall_seconds=0.0) == second.updated(wall_seconds=0.0)


def test_every_measure_says_how_it_was_obtained(small: tuple[Workspace, ReportedJob, ReportedJob]) -> None:
    _, first, _ = small
    keys = {measure.key for measure in first.measures}
    assert {"fvu", "l0", "dead_share", "cosine", "recovered", "loss_clean", "loss_spliced", "concepts_found"} <= keys
    for measure in first.measures:
        assert measure.how
        assert measure.n is None or measure.n > 0


def test_concepts_stand_beside_three_baselines(small: tuple[Workspace, ReportedJob, ReportedJob]) -> None:
    _, first, _ = small
    assert len(first.concepts) >= 8
    for row in first.concepts:
        best = max(row.best_token, row.pca, row.random_dictionary)
        assert row.counts == (row.auroc > 0.9 and row.auroc > best)
        assert row.low <= row.auroc <= row.high


def test_the_record_is_whole(small: tuple[Workspace, ReportedJob, ReportedJob]) -> None:
    _, first, _ = small
    folder = Path(first.run)
    artifacts = read_mapping(folder / "artifacts.json")
    assert artifacts["n_comparisons"] == 128 * len(first.concepts)
    assert "random dictionary" in artifacts["controls"]
    assert (folder / "tables" / "concepts.parquet").is_file()
    assert read_mapping(folder / "spec.yaml")["job"]["train"]["n_features"] == 128


def test_weapons_and_families_show_in_an_overview(small: tuple[Workspace, ReportedJob, ReportedJob]) -> None:
    workspace, first, _ = small
    found = view_overview(workspace, "splatoon", first.shown[0], max_examples=3, everything=False)
    assert {group.column for group in found.groups} >= {"weapon", "weapon_class"}
    assert {family.share.name for family in found.families} >= {"run_speed_up"}
    assert len(found.regions) == 6
    assert isinstance(found.stats.n_samples, int)
