"""Text files as a corpus: what is read, what is refused and how that is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.core.progress import SilentProgress
from mechscope.corpora import CorpusSpec
from mechscope.corpora.sources.text import TextSource
from mechscope.corpora.text_documents import TextDocuments
from mechscope.corpora.text_files import find_files
from mechscope.testing.corpus_sources import check_corpus_source


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("The first file.\n" * 40)
    (folder / "b.md").write_text("# The second file\n")
    (folder / "deep" / "c.py").write_text("def third():\n    return 3\n")
    lines = [{"text": f"line {i}", "other": 1} for i in range(3)]
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.txt").write_text("not read")
    (folder / "empty.txt").write_text("")
    return folder


def source(*paths: Path | str, **options: object) -> TextSource:
    return TextSource.parse({"paths": [str(path) for path in paths], "tokenizer": "pydocs", **options})


def read_all(file: Path) -> list[str]:
    documents = TextDocuments([file])
    return [documents[i].text for i in range(len(documents))]


class Said(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_the_contract_of_a_source_holds(library: Path, tmp_path: Path) -> None:
    for number in range(250):  # the split is drawn by the files' paths, so few files may leave one split empty
        (library / f"more{number}.txt").write_text(f"File {number}.\n" * 4)
    options = {"paths": [str(library)], "tokenizer": "pydocs"}
    assert check_corpus_source("text", options, tmp_path / "scratch").facts["split_unit"] == "document"


def test_one_long_file_is_split_by_runs_of_blocks_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("All the text that there is.\n" * 600)
    corpus = source(tmp_path / "long.txt", block_length=32).build()
    assert str(corpus.facts["split_unit"]).startswith("run of")
    assert set(corpus.column("split")) == {"train", "valid", "test"}


def test_a_folder_gives_its_text_files_and_counts_what_it_passes_over(library: Path) -> None:
    corpus = source(library, block_length=32).build()
    names = {name.removeprefix(f"{library.as_posix()}/") for name in corpus.column("document")}
    assert names == {"a.txt", "b.md", "deep/c.py", "d.jsonl:1", "d.jsonl:2", "d.jsonl:3"}
    counts = {key: corpus.facts[key] for key in ("n_files", "n_files_of_other_kinds", "n_hidden_files")}
    assert counts == {"n_files": 5, "n_files_of_other_kinds": 1, "n_hidden_files": 1}
    assert corpus.facts["n_documents_without_tokens"] == 1
    row = int((corpus.column("file") == (library / "b.md").as_posix()).argmax())
    assert "".join(corpus.vocabulary[i] for i in corpus.tokens[row][1:]) == "# The second file\n"


def test_a_corpus_cut_short_draws_its_documents_and_says_how_many(tmp_path: Path) -> None:
    names = [f"{letter}{number}.txt" for letter in "abcdefgh" for number in range(8)]
    for name in names:
        (tmp_path / name).write_text(f"This is the file {name}.\n")
    lines = [json.dumps({"text": f"line {number}"}) for number in range(15)]
    (tmp_path / "z.jsonl").write_text("\n".join(lines))
    said = Said()
    short = source(tmp_path, n_rows=20).build(said)
    read = [str(name).removeprefix(f"{tmp_path.as_posix()}/") for name in short.column("document")]
    assert read != sorted(read)
    assert len({name[0] for name in read}) >= 6, "the files that come first in the alphabet must not fill it"
    assert any(name.startswith("z.jsonl:") for name in read)
    assert (short.facts["n_documents_read"], short.facts["n_documents_found"]) == (20, 79)
    assert [line for line in said.lines if line.startswith("read 20 of 79 documents: n_rows=20 was reached")]

    whole = source(tmp_path).build(said := Said())
    assert (whole.facts["n_documents_read"], whole.facts["n_documents_found"]) == (79, 79)
    assert said.lines == []
    assert list(whole.column("document")[:20]) == list(short.column("document"))
    assert list(whole.tokens.ids[: len(short.tokens.ids)]) == list(short.tokens.ids)
    assert source(tmp_path, n_rows=20).build().digest == short.digest
    other = source(tmp_path, n_rows=20, seed=1).build()
    assert set(other.column("document")) != set(short.column("document"))


def test_one_document_read_in_part_is_said(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("All the text that there is.\n" * 600)
    corpus = source(tmp_path, n_rows=10).build(said := Said())
    assert corpus.facts["n_documents_read"] == corpus.facts["n_documents_found"] == 1
    assert [line for line in said.lines if line.startswith("read 1 of 1 documents, the last in part: n_rows=10 was")]


def test_globs_named_files_and_doubles(library: Path) -> None:
    found = find_files([f"{library}/*.txt", str(library / "a.txt"), str(library / "picture.png")])
    assert [file.name for file in found.files] == ["a.txt", "empty.txt", "picture.png"]
    assert [file.name for file in find_files([f"{library}/**/*.py"]).files] == ["c.py"]


def test_the_key_changes_with_the_files(library: Path) -> None:
    spec = CorpusSpec(source="text", options={"paths": [str(library)], "tokenizer": "pydocs"})
    before = spec.key
    (library / "b.md").write_text("# Changed\n")
    assert spec.key != before


def test_missing_paths_offer_the_nearest_name(library: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no file or folder .*b\.mdd(.|\n)*did you mean .*b\.md\?"):
        source(library / "b.mdd").build()
    with pytest.raises(NotFoundError, match="glob"):
        source(f"{library}/*.rst").build()
    with pytest.raises(NotFoundError, match="no tokenizer"):
        source(library, tokenizer="./nowhere").build()


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(BadDataError, match="1 files of other kinds"):
        source(tmp_path).build()
    with pytest.raises(UsageError, match="paths"):
        source()
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadDataError, match="0 rows"):
        source(tmp_path).build()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"good \xff bad", r"bad.txt, offset 5: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbfgood \xff bad", r"bad.txt, offset 8: byte 0xff"),
        (b"zero \0", r"bad.txt, offset 5: a NUL byte"),
        (b"cut \xe2\x82", r"bad.txt, offset 4"),
    ],
)
def test_undecodable_bytes_name_file_and_offset(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "bad.txt").write_bytes(data)
    with pytest.raises(BadDataError, match=message):
        source(tmp_path / "bad.txt").build()


def test_a_byte_order_mark_is_left_out_and_line_ends_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "three"}\r\n \r\n{"text": "four"}')
    documents = TextDocuments([tmp_path / "a.txt", tmp_path / "b.jsonl"])
    assert [documents[i].text for i in range(len(documents))] == ["one\r\ntwo", "three", "four"]
    assert documents[2].name.endswith("b.jsonl:3")


def test_bad_lines_name_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "fine"}\n{"body": "no text"}\n')
    with pytest.raises(BadDataError, match=r"rows.jsonl:2 has keys body"):
        read_all(file)
    file.write_text('{"text": ')
    with pytest.raises(BadDataError, match=r"rows.jsonl:1 is not JSON"):
        read_all(file)
