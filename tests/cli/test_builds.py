"""The founding documents' first step: a set model, two vocabularies, a CSV of tokenised builds."""

import csv
import json
from pathlib import Path

import pytest

from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.services.shipped import shipped_folder
from mechscope.testing.command_line import Call
from mechscope.workspace import Workspace


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    """300 builds as a CSV of token ids and weapon names."""
    corpus = SplatoonSource(n_rows=300, seed=5).build()
    weapons = list(json.loads((shipped_folder("splatoon") / "weapon_vocab.json").read_text()))
    path = tmp_path / "tokenized_data.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ability_ids", "weapon_id"])
        for row in range(corpus.n_rows):
            writer.writerow([corpus.tokens[row].tolist(), weapons[int(corpus.column("weapon_ids")[row])]])
    return path


def test_the_first_step_of_the_guide_runs_as_written(call: Call, builds: Path, tmp_path: Path) -> None:
    Workspace.create(tmp_path / "w")
    folder = shipped_folder("splatoon")
    files = ["--data-csv", builds, "--vocab-path", folder / "vocab.json"]
    files += ["--weapon-vocab-path", folder / "weapon_vocab.json", "--save-dir", tmp_path / "sae_runs" / "my_run"]
    settings = ["--hook-target", "masked_mean", "--expansion-factor", 2, "--l1-coeff", "3e-4", "--epochs", 1]
    model = ["--model-checkpoint", folder / "model.safetensors"]
    more = ["--sae-batch-size", 64, "--workspace", tmp_path / "w", "--json", "--quiet"]
    found = call("sae", "train", *model, *files, *settings, *more)
    assert found.code == 0, found.err + found.out
    assert found.envelope["result"]["site"] == "pooled"
    assert found.envelope["result"]["n_features"] == 128
    assert (tmp_path / "sae_runs" / "my_run" / "sae_weights.safetensors").is_file()


def test_a_csv_without_its_vocabularies_is_refused(call: Call, builds: Path, tmp_path: Path) -> None:
    Workspace.create(tmp_path / "w")
    found = call(
        "sae", "train", "--model", "splatoon", "--site", "pooled", "--data-csv", builds, "--workspace", tmp_path / "w"
    )
    assert found.code == 2
    assert "--vocab-path and --weapon-vocab-path" in found.err
