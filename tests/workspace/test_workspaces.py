import multiprocessing
from pathlib import Path

import pytest

from mechscope.core import BadDataError, ConflictError, NotFoundError, UsageError
from mechscope.workspace import WORKSPACE_FILE, SubjectEntry, Workspace

ENTRY = SubjectEntry(model="splatoon", site="pooled", corpus="corpora/abc")


def test_subjects_come_back_and_comments_stay(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    path = tmp_path / WORKSPACE_FILE
    path.write_text(path.read_text() + "# my own remark\n")
    workspace.set_subject("ultra", ENTRY)
    workspace.set_subject("full", ENTRY.updated(site="resid_post:2"))
    workspace.set_subject("ultra", ENTRY.updated(store="stores/def"))
    again = Workspace.open(tmp_path)
    assert list(again.subjects()) == ["ultra", "full"]
    assert again.subject("ultra").store == "stores/def"
    assert "# my own remark" in path.read_text()


def test_a_domain_declared_by_hand_stays_when_a_subject_is_made_again(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    workspace.set_subject("ultra", ENTRY.updated(domain="numbers.yaml"))
    workspace.set_subject("ultra", ENTRY.updated(store="stores/def"))
    assert workspace.subject("ultra").domain == "numbers.yaml"
    workspace.set_subject("ultra", ENTRY.updated(domain="moods.yaml"))
    assert workspace.subject("ultra") == ENTRY.updated(domain="moods.yaml")


def test_a_workspace_is_found_from_below(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert Workspace.open(tmp_path / "a" / "b").root == tmp_path.resolve()


def test_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="mechscope init"):
        Workspace.open(tmp_path)


def test_a_second_init_is_refused(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    with pytest.raises(ConflictError, match="is a workspace already"):
        Workspace.create(tmp_path)
    assert Workspace.open_or_create(tmp_path).root == tmp_path.resolve()


def test_an_unknown_subject_offers_the_nearest(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    workspace.set_subject("ultra", ENTRY)
    with pytest.raises(NotFoundError, match="did you mean 'ultra'"):
        workspace.subject("ulta")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("format = 1\n[subjects.x\n", BadDataError),
        ("format = 7\n", BadDataError),
        ("format = 1\n[subjects.x]\nmodel = 'm'\nsite = 's'\nstor = 'y'\n", UsageError),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / WORKSPACE_FILE).write_text(text)
    with pytest.raises(error, match=WORKSPACE_FILE):
        Workspace.open(tmp_path).subjects()


def _add(root: Path, first: int) -> None:
    for number in range(first, first + 20):
        Workspace.open(root).set_subject(f"s{number}", ENTRY)


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(tmp_path, first)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(Workspace.open(tmp_path).subjects()) == 40


def test_paths_inside_are_relative(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    assert workspace.relative(workspace.stores / "x") == "stores/x"
    assert workspace.resolve("stores/x") == workspace.stores / "x"
    assert Path(workspace.relative(tmp_path.parent / "elsewhere")).is_absolute()
