"""`mechscope model`: whole output; the errors of the check, which differ between machines, are masked."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mechscope.models import ComponentMap
from mechscope.models.families.gpt2 import Gpt2
from mechscope.models.remarks import quiet
from mechscope.testing.command_line import Call
from mechscope.testing.zoo import DECODERS

KINDS = ["resid_pre", "q", "k", "v", "z", "head_out", "attn_out", "mlp_pre", "mlp_post", "mlp_out", "resid_post"]
EXPECTED = Path(__file__).parent / "expected"


@pytest.fixture
def wrong(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose family's map claims that half of what a sublayer puts out is added."""
    right = Gpt2.component_map

    def halved(family: Gpt2, config: Mapping[str, Any]) -> ComponentMap:
        found: ComponentMap = right(family, config).updated(residual_multiplier=0.5)
        return found

    monkeypatch.setattr(Gpt2, "component_map", halved)
    folder = tmp_path_factory.mktemp("models") / "wrong"
    with quiet():
        DECODERS["gpt2"]().save_pretrained(folder)
    return folder


def masked(out: str) -> str:
    """The output with `#` for measured errors and versions; lines end where their text ends."""
    lines = (re.sub(r"│ (\d\.\de[+-]\d\d|0 {6}) ", "│ #       ", line).rstrip() for line in out.splitlines())
    text = "\n".join(lines) + "\n"
    return text.replace(f"torch {torch.__version__} and transformers {transformers.__version__}", "#")


def expected(name: str) -> str:
    return (EXPECTED / f"{name}.txt").read_text(encoding="utf-8")


def test_verify_prints_a_line_a_check_and_kind_of_site(call: Call, model_folder: Path) -> None:
    found = call("model", "verify", model_folder)
    assert (found.code, found.err) == (0, "")
    assert masked(found.out) == expected("model_verify")


def test_verify_says_what_is_refused_and_why(call: Call, wrong: Path) -> None:
    found = call("model", "verify", wrong)
    assert (found.code, found.err) == (0, "")
    assert masked(found.out) == expected("model_verify_refused")


def test_strict_ends_with_the_code_of_bad_data(call: Call, wrong: Path, model_folder: Path) -> None:
    plain, strict = call("model", "verify", wrong), call("model", "verify", wrong, "--strict")
    assert (strict.code, strict.out) == (5, plain.out)
    assert strict.err.splitlines()[0] == "error  12 sites of wrong are refused"
    assert call("model", "verify", model_folder, "--strict").code == 0
    as_json = call("model", "verify", wrong, "--strict", "--json")
    assert (as_json.code, as_json.envelope["ok"], as_json.envelope["result"]["passed"]) == (5, True, False)


def test_verify_in_json_carries_the_lines_and_the_reasons(call: Call, wrong: Path) -> None:
    result = call("model", "verify", wrong, "--json").envelope["result"]
    assert {key: result[key] for key in ("model", "network", "n_layers", "dtype", "device", "n_standing")} == {
        "model": "wrong",
        "network": "GPT2LMHeadModel",
        "n_layers": 3,
        "dtype": "float32",
        "device": "cpu",
        "n_standing": 30,
    }
    kinds = ("attn_out", "head_out", "mlp_out", "resid_mid")
    assert sorted(result["refused"]) == [f"{kind}:{layer}" for kind in kinds for layer in range(3)]
    assert result["rows"] == []
    (line,) = [line for line in result["lines"] if line["check"] == "stream" and line["kind"] == "mlp_out"]
    assert line.pop("error") > 0.1
    assert line == {
        "check": "stream",
        "meaning": "resid_pre + attn_out + mlp_out = resid_post",
        "kind": "mlp_out",
        "sites": "mlp_out:0-2",
        "n_sites": 3,
        "tolerance": 1e-05,
        "passed": False,
        "refused": ["mlp_out:0", "mlp_out:1", "mlp_out:2"],
        "note": "resid_mid + mlp_out = resid_post",
    }


def test_the_error_of_a_line_is_the_worst_of_its_rows(call: Call, model_folder: Path) -> None:
    result = call("model", "verify", model_folder, "--all", "--json").envelope["result"]
    assert len(result["rows"]) == sum(line["n_sites"] for line in result["lines"])
    for line in result["lines"]:
        rows = [r for r in result["rows"] if r["name"] == line["check"] and r["site"].split(":")[0] == line["kind"]]
        errors = [row["error"] for row in rows if row["error"] is not None]
        assert line["error"] == (max(errors) if errors else None)
        assert line["passed"] == all(row["passed"] for row in rows)


def test_it_is_measured_anew_each_time(call: Call, model_folder: Path) -> None:
    assert [call("model", "verify", model_folder, "--json").envelope["result"]["measured_anew"] for _ in "ab"] == [
        True,
        True,
    ]


def test_a_layer_shows_its_own_rows(call: Call, model_folder: Path) -> None:
    found = masked(call("model", "verify", model_folder, "--layer", 1).out)
    rows = [line.split("│")[1:-1] for line in found.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [cell[1] for cell in cells if cell[0] == "null"] == [*(f"{kind}:1" for kind in KINDS), "pattern:1"]
    assert ["heads", "z:1", "#", "1e-05", "passed"] in cells
    assert all(cell[1].endswith(":1") for cell in cells)


def test_another_dtype_has_another_tolerance(call: Call, model_folder: Path) -> None:
    result = call("model", "verify", model_folder, "--dtype", "bfloat16", "--json").envelope["result"]
    assert result["dtype"] == "bfloat16"
    assert {line["tolerance"] for line in result["lines"] if line["check"] == "heads"} == {0.04}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dtype", "foat16"], 3, "did you mean 'float16'?"),
        (["--device", "warp"], 2, "expected  cpu, cuda"),
        (["--device", "meta"], 2, "device 'meta': Tensor.item() cannot be called on meta tensors"),
        (["--layer", "2"], 2, "a layer in 0..1"),
    ],
)
def test_options_that_do_not_exist_are_named(
    call: Call, model_folder: Path, arguments: list[str], code: int, said: str
) -> None:
    found = call("model", "verify", model_folder, *arguments)
    assert (found.code, found.out) == (code, "")
    assert said in found.err


@pytest.mark.parametrize("command", ["verify", "sites"])
def test_a_folder_that_is_no_model_is_refused(call: Call, tmp_path: Path, command: str) -> None:
    found = call("model", command, tmp_path)
    assert (found.code, found.out) == (5, "")
    assert "has no config.json" in found.err
    assert call("model", command, "agrement", "--json").envelope["exit_code"] == 3


def test_sites_lists_them_with_shapes(call: Call, model_folder: Path) -> None:
    found = call("model", "sites", model_folder)
    assert (found.code, found.err) == (0, "")
    assert masked(found.out) == expected("model_sites")


def test_sites_that_cannot_be_used_are_listed_with_the_reason(call: Call, wrong: Path) -> None:
    result = call("model", "sites", wrong, "--json").envelope["result"]
    told = [(row["sites"], row["how"], row["reason"].partition(":")[0]) for row in result["unreached"]]
    stream, half = "stream (resid_pre + attn_out = resid_mid)", "stream (resid_mid + mlp_out = resid_post)"
    assert told == [
        ("resid_mid:0-2", "refused", "middle"),
        ("attn_out:0-2", "refused", stream),
        ("head_out:0-2", "refused", stream),
        ("mlp_out:0-2", "refused", half),
    ]
    assert not {"resid_mid", "attn_out", "head_out", "mlp_out"} & {group["kind"] for group in result["groups"]}


def test_a_selector_shows_what_it_names(call: Call, model_folder: Path) -> None:
    found = call("model", "sites", model_folder, "--select", "z:0:2.h1,attention.dense:-1,pattern")
    assert found.code == 0
    lines = [line.rstrip() for line in found.out.splitlines()]
    assert lines[-1] == "5 sites of tiny"
    assert [[cell.strip() for cell in line.split("│")[1:3]] for line in lines if line.startswith("│")] == [
        ["z:0.h1", "[batch pos 8]"],
        ["z:1.h1", "[batch pos 8]"],
        ["attention.dense:1", "[batch pos 32]"],
        ["pattern:0", "[batch 4 pos pos]"],
        ["pattern:1", "[batch 4 pos pos]"],
    ]
    wrong = call("model", "sites", model_folder, "--select", "resid_past:1")
    assert (wrong.code, wrong.out) == (3, "")
    assert "did you mean 'resid_post'?" in wrong.err


def test_a_set_model_has_one_output_a_row(call: Call) -> None:
    result = call("model", "sites", "splatoon", "--json").envelope["result"]
    shapes = {group["sites"]: group["shape"] for group in result["groups"]}
    assert (shapes["pooled"], shapes["logits"]) == (["batch", 64], ["batch", 140])
    (absent,) = result["unreached"]
    assert absent["sites"] == "k, v, pattern"
    assert "inducing points" in absent["reason"]


def test_help_of_the_group_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mechscope.cli.app import app\nfrom typer.testing import CliRunner\n"
        "for call in (['model'], ['model', 'verify'], ['model', 'sites']):\n"
        "    assert CliRunner().invoke(app, [*call, '--help']).exit_code == 0, call\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_that_moved_is_found_by_its_new_name(call: Call, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "another")
    assert call("model", "sites", tmp_path / "another", "--json").envelope["result"]["model"] == "another"
