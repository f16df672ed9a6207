"""The main job through the command line on a tiny model: everything a user types after `explore`."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mechscope.testing.command_line import Call


@pytest.mark.parametrize(
    "command",
    [
        ["overview", "1"],
        ["overview", "1", "--max-examples", "2", "--all"],
        ["decoder", "1", "--top-k", "3"],
        ["similar", "1", "--top-k", "2"],
        ["similar", "1", "--method", "phi"],
    ],
)
def test_views_answer_people_and_programs_alike(call: Call, explored: Path, command: list[str]) -> None:
    people = call("features", *command, "--workspace", explored)
    assert people.code == 0, people.err
    assert "feature" in people.out
    program = call("features", *command, "--workspace", explored, "--json")
    assert program.envelope["ok"] is True
    assert program.envelope["command"] == f"features {command[0]}"
    assert program.err == ""


def test_an_overview_counts_zeros_and_says_its_tier(call: Call, explored: Path) -> None:
    result = call("features", "overview", "1", "--workspace", explored, "--json").envelope["result"]
    stats = result["stats"]
    assert result["evidence_tier"] == 0
    assert stats["mean"] == pytest.approx(stats["total"] / stats["n_samples"])
    assert stats["n_nonzero"] < stats["n_samples"]
    assert sum(region["n"] for region in result["regions"]) == stats["n_samples"]


def test_a_second_explore_reuses_everything(call: Call, explored: Path, model_folder: Path, text_file: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in explored.rglob("*") if path.is_file()}
    arguments = ["explore", "--model", model_folder, "--text", text_file, "--workspace", explored]
    found = call(*arguments, "--n-features", 64, "--k", 4, "--n-steps", 60, "--quiet", "--json")
    assert found.envelope["result"]["was_reused"] is True
    after = {path: path.stat().st_mtime_ns for path in explored.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["features", "overview", "64"], 3, "from 0 to 63"),
        (["features", "overview", "1", "--model", "tony"], 3, "did you mean 'tiny'"),
        (["features", "similar", "1", "--method", "jacard"], 3, "did you mean 'jaccard'"),
        (["activations", "collect", "--model", "tiny", "--site", "resid_pots:0"], 3, "did you mean 'resid_post'"),
        (["activations", "collect", "--model", "tiny", "--site", "resid_post:9"], 2, "0..1"),
        (["activations", "collect", "--model", "tiny", "--site", "embed", "--token-policy", "lats"], 3, "'last'"),
        (["sae", "train", "--model", "tiny", "--architecture", "topq"], 3, "did you mean 'topk'"),
    ],
)
def test_a_slip_is_met_with_the_nearest_name(
    call: Call, explored: Path, arguments: list[str], code: int, said: str
) -> None:
    found = call(*arguments, "--workspace", explored)
    assert found.code == code, found.err
    assert said in found.err


def test_collecting_twice_runs_the_model_once(call: Call, explored: Path) -> None:
    arguments = ["activations", "collect", "--model", "tiny", "--site", "mlp_out:1", "--token-policy", "last"]
    first = call(*arguments, "--workspace", explored, "--json", "--quiet").envelope["result"][0]
    second = call(*arguments, "--workspace", explored, "--json", "--quiet").envelope["result"][0]
    assert (first["was_reused"], second["was_reused"]) == (False, True)
    assert first["folder"] == second["folder"]
    assert first["d_in"] == 32


def test_training_takes_the_founding_documents_flags(call: Call, explored: Path, tmp_path: Path) -> None:
    flags = ["--hook-target", "blocks.1.hook_resid_post", "--expansion-factor", 2, "--l1-coeff", "0.05"]
    more = ["--epochs", 1, "--sae-batch-size", 256, "--save-dir", tmp_path / "run"]
    found = call("sae", "train", "--model", "tiny", *flags, *more, "--workspace", explored, "--json", "--quiet")
    assert found.code == 0, found.err
    result = found.envelope["result"]
    assert result["n_features"] == 64
    assert 0 < result["evaluation"]["fvu"] < 1
    assert json.loads((tmp_path / "run" / "cfg.json").read_text())["architecture"] == "standard"


def test_a_yaml_spec_trains_and_an_unknown_key_is_refused(call: Call, explored: Path, tmp_path: Path) -> None:
    spec = tmp_path / "train.yaml"
    spec.write_text("architecture: topk\nn_features: 32\nk: 4\nn_steps: 5\n")
    arguments = ["sae", "train", "--model", "tiny", "--site", "embed", "--workspace", explored, "--spec", spec]
    assert call(*arguments, "--quiet", "--json").envelope["result"]["n_features"] == 32
    spec.write_text("architecture: topk\nk: 4\nn_steps: 5\nexpansoin: 3\n")
    found = call(*arguments, "--quiet")
    assert found.code == 2
    assert "did you mean 'expansion'?" in found.err


def test_a_damaged_dictionary_is_noticed(call: Call, explored: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(explored, root)
    for weights in root.glob("dictionaries/*/sae_weights.safetensors"):
        data = bytearray(weights.read_bytes())
        data[-5] ^= 0xFF
        weights.write_bytes(bytes(data))
    found = call("features", "decoder", "1", "--workspace", root)
    assert found.code == 5
    assert "checksum" in found.err


def test_the_report_needs_no_network_and_names_its_command(explored: Path) -> None:
    (report,) = explored.glob("runs/*/report.html")
    text = report.read_text(encoding="utf-8")
    assert "mechscope explore" in text
    assert "default-src" in text
    assert os.path.getsize(report) < 12_000_000


def test_brackets_and_markup_in_text_are_printed_as_they_stand(call: Call, model_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "odd.txt"
    text.write_text("x[/red] list[int] s[token] the cat sat on a mat. " * 120)
    root = tmp_path / "br[red]x"
    arguments = ["explore", "--model", model_folder, "--text", text, "--workspace", root, "--n-features", 16]
    made = call(*arguments, "--k", 2, "--n-steps", 20, "--quiet")
    assert made.code == 0, made.err
    assert "br[red]x" in made.out.replace("\n", "")
    for feature in range(16):
        found = call("features", "overview", feature, "--workspace", root)
        assert found.code == 0, found.err


def test_one_short_file_shows_features_and_two_rows_are_refused_early(
    call: Call, model_folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "one.txt"
    text.write_text("the cat sat on a mat while two dogs ran past an old red barn. " * 150)
    arguments = ["explore", "--model", model_folder, "--text", text, "--workspace", tmp_path / "w", "--n-features", 32]
    made = call(*arguments, "--n-steps", 30, "--quiet", "--json")
    assert made.code == 0, made.err
    assert len(made.envelope["result"]["shown"]) >= 6
    text.write_text("too short")
    refused = call(*arguments, "--quiet")
    assert refused.code == 5
    assert "held out" in refused.err
    assert not list((tmp_path / "w").glob("dictionaries/*/history.json"))[1:]


def test_reuse_names_the_right_subject_and_notices_damage(
    call: Call, explored: Path, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(explored, root)
    arguments = ["explore", "--model", model_folder, "--text", text_file, "--workspace", root, "--quiet", "--json"]
    arguments += ["--n-features", 64, "--k", 4, "--n-steps", 60]
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text()[::-1])
    first = (root / "mechscope.toml").read_text()
    replaced = [other if argument == text_file else argument for argument in arguments]
    assert call(*replaced).code == 0
    assert (root / "mechscope.toml").read_text() != first
    assert call(*arguments).envelope["result"]["was_reused"] is True
    assert (root / "mechscope.toml").read_text() == first
    (report,) = [path for path in root.glob("runs/*/report.html") if "story.txt" in path.read_text(encoding="utf-8")]
    whole = report.read_bytes()
    report.write_bytes(whole[:1000])
    assert call(*arguments).envelope["result"]["was_reused"] is False
    assert len(report.read_bytes()) > 1_000_000


def test_activations_with_a_subject_need_their_model(call: Call, explored: Path) -> None:
    (folder,) = [path.parent for path in explored.glob("activations/*/manifest.json")][:1]
    found = call("sae", "train", "--activations", folder, "--subject", "mine", "--n-steps", 5, "--workspace", explored)
    assert found.code == 2
    assert "--model" in found.err


def test_a_subject_is_not_built_from_another_site(call: Call, explored: Path) -> None:
    arguments = ["activations", "collect", "--model", "tiny", "--site", "attn_out:0", "--workspace", explored]
    folder = call(*arguments, "--json", "--quiet").envelope["result"][0]["folder"]
    found = call("features", "build", "--model", "tiny", "--activations", folder, "--workspace", explored)
    assert found.code == 2
    assert "site attn_out:0" in found.err
