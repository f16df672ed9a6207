"""The main job killed at random moments ends in the same numbers as one that was left alone."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mechscope.testing.models import tiny_language_model

TEXT = "the red cat sat on a mat. two dogs ran past the barn and nobody said a word. " * 400
N_KILLS = 4


def explore(model: Path, text: Path, root: Path) -> subprocess.Popen[bytes]:
    arguments = ["explore", "--model", model, "--text", text, "--workspace", root, "--quiet", "--json"]
    small = ["--n-features", 64, "--k", 4, "--n-steps", 400, "--n-shown", 2]
    command = [sys.executable, "-m", "mechscope", *map(str, [*arguments, *small])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def numbers(root: Path) -> bytes:
    (path,) = root.glob("runs/*/metrics.json")
    return path.read_bytes()


@pytest.mark.slow
def test_slow_since_each_start_imports_torch_a_killed_explore_ends_in_the_same_numbers(tmp_path: Path) -> None:
    text = tmp_path / "story.txt"
    text.write_text(TEXT)
    model = tiny_language_model(tmp_path / "model", [TEXT])
    whole = explore(model, text, tmp_path / "whole")
    _, error = whole.communicate(timeout=120)
    assert whole.returncode == 0, error.decode()
    draw = random.Random(5)
    n_killed = 0
    for _ in range(N_KILLS):
        process = explore(model, text, tmp_path / "killed")
        try:
            process.communicate(timeout=draw.uniform(2.5, 6.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            n_killed += 1
    last = explore(model, text, tmp_path / "killed")
    _, error = last.communicate(timeout=120)
    assert last.returncode == 0, error.decode()
    assert n_killed > 0
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob(".tmp-*/manifest.json"))
