import subprocess
import sys
from pathlib import Path

import pytest

from mechscope.cli.reference import reference
from mechscope.testing.command_line import Call

DOCS = Path(__file__).parents[2] / "docs"


def test_help_and_listing_import_no_torch() -> None:
    code = (
        "import sys\nfrom mechscope.cli.app import app\nfrom typer.testing import CliRunner\n"
        "runner = CliRunner()\n"
        "for call in (['--help'], ['list'], ['list', 'architectures'], ['features', 'overview', '--help']):\n"
        "    result = runner.invoke(app, call)\n    assert result.exit_code == 0, (call, result.output)\n"
        "heavy = {'torch', 'transformers', 'scipy', 'plotly', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_reference_is_fresh() -> None:
    assert (DOCS / "cli.md").read_text() == reference(), "run: python -m mechscope.cli.reference > docs/cli.md"


def test_every_option_has_a_help_text() -> None:
    empty = [line for line in reference().splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not empty


def test_init_makes_a_workspace_once(call: Call, tmp_path: Path) -> None:
    first = call("init", tmp_path / "w", "--json")
    assert first.code == 0
    assert first.envelope["result"]["workspace"] == str((tmp_path / "w").resolve())
    again = call("init", tmp_path / "w")
    assert again.code == 4
    assert "is a workspace already" in again.err
    assert again.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "architecturs"], 3, "did you mean 'architectures'?"),
        (["features", "overview", "0", "--workspace", "{tmp}"], 3, "mechscope init"),
        (["features", "overview"], 2, "Missing argument"),
        (["demo", "--subject", "splaton", "--workspace", "{tmp}/w"], 3, "did you mean 'splatoon'?"),
        (["explore", "--model", "{tmp}/none", "--text", "x.txt", "--workspace", "{tmp}/w"], 3, "none"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_errors_say_what_to_do_and_carry_their_code(
    call: Call, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    found = call(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert found.code == code, found.err
    assert said in found.err
    assert found.out == ""
    assert "Traceback" not in found.err


@pytest.mark.parametrize("arguments", [["list", "architecturs"], ["nonsense"]])
def test_errors_in_json_are_one_envelope(call: Call, arguments: list[str]) -> None:
    found = call(*arguments, "--json")
    assert found.envelope["ok"] is False
    assert found.envelope["exit_code"] == found.code
    assert set(found.envelope["error"]) == {"type", "seen", "expected", "todo"}
