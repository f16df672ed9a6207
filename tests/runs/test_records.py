from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mechscope.core import BadDataError, Spec
from mechscope.runs import Run


class DemoSpec(Spec):
    n_steps: int = 3


def finished(root: Path, spec: DemoSpec) -> Run:
    run = Run.start(root, kind="demo", spec=spec, inputs={"corpus": "ab" * 32})
    run.log("a step")
    run.table("rungs", {"rung": [3, 6], "mean": [0.1, 0.2]})
    run.report("<!doctype html>")
    run.finish(
        {"auroc": {"value": 0.9, "n": 100}},
        activations={"resid_post:3": {"folder": "activations/x", "n_samples": 10}},
        outputs={"dictionary": "cd" * 32},
        seeds={"root": 0},
        controls=["random dictionary"],
        n_comparisons=12,
    )
    return run


def test_a_run_is_reused_for_the_same_spec_and_inputs(tmp_path: Path) -> None:
    first = finished(tmp_path, DemoSpec())
    again = Run.start(tmp_path, kind="demo", spec=DemoSpec(n_steps=3), inputs={"corpus": "ab" * 32})
    assert again.folder == first.folder
    assert again.is_finished
    assert again.metrics() == {"auroc": {"value": 0.9, "n": 100}}


@pytest.mark.parametrize(("steps", "corpus"), [(4, "ab"), (3, "cd")])
def test_another_spec_or_input_is_another_run(tmp_path: Path, steps: int, corpus: str) -> None:
    finished(tmp_path, DemoSpec())
    other = Run.start(tmp_path, kind="demo", spec=DemoSpec(n_steps=steps), inputs={"corpus": corpus * 32})
    assert not other.is_finished
    with pytest.raises(BadDataError, match="is missing"):
        other.metrics()


def test_the_record_is_whole_and_metrics_are_byte_equal(tmp_path: Path) -> None:
    one, two = finished(tmp_path / "a", DemoSpec()), finished(tmp_path / "b", DemoSpec())
    names = {path.relative_to(one.folder).as_posix() for path in one.folder.rglob("*") if path.is_file()}
    assert names == {
        "spec.yaml",
        "artifacts.json",
        "metrics.json",
        "activations_index.json",
        "tables/rungs.parquet",
        "report.html",
        "log.jsonl",
    }
    assert (one.folder / "metrics.json").read_bytes() == (two.folder / "metrics.json").read_bytes()
    assert pq.read_table(one.folder / "tables" / "rungs.parquet").num_rows == 2
    text = (one.folder / "artifacts.json").read_text()
    assert '"n_comparisons": 12' in text
    assert '"torch": "2.' in text
