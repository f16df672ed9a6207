"""A small workspace made through the command line once, and a way to call it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mechscope.cli.app import main
from mechscope.testing.command_line import Call, Called
from mechscope.testing.models import tiny_language_model

TEXT = "the cat sat on a mat while two dogs ran past an old red barn and nobody said a word about it"
WORDS = TEXT.split()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `mechscope ARG...` in this process, as the installed command would."""

    def run(*args: object) -> Called:
        monkeypatch.setattr(sys, "argv", ["mechscope", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Called(int(stopped.value.code or 0), captured.out, captured.err)

    return run


def sentences(n: int) -> str:
    """Text with some structure: words follow each other by a fixed rule with gaps."""
    picked = [WORDS[(7 * i + i // 5) % len(WORDS)] for i in range(n)]
    return " ".join(word + ("." if i % 9 == 8 else "") for i, word in enumerate(picked))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language_model(tmp_path_factory.mktemp("model") / "tiny", [sentences(2000)], family="gpt_neox")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(sentences(4000))
    return path


@pytest.fixture(scope="session")
def explored(model_folder: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one subject called `tiny`."""
    root = tmp_path_factory.mktemp("work") / "space"
    patch = pytest.MonkeyPatch()
    arguments = ["explore", "--model", model_folder, "--text", text_file, "--workspace", root, "--n-features", 64]
    patch.setattr(sys, "argv", ["mechscope", *map(str, [*arguments, "--k", 4, "--n-steps", 60, "--quiet"])])
    with pytest.raises(SystemExit) as stopped:
        main()
    patch.undo()
    assert not stopped.value.code
    return root
