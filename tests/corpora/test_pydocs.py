"""The text that ships with Python as a corpus: what is in it, what each token is marked as, what is left out."""

from __future__ import annotations

import ast
import platform
from pathlib import Path

import numpy as np
import pytest

from mechscope.core import BadDataError
from mechscope.corpora import Corpus
from mechscope.corpora.python_library import LibraryFile, library_digest, library_files, module_documents
from mechscope.corpora.python_marks import source_marks
from mechscope.corpora.sources.pydocs import PydocsSource
from mechscope.testing.corpus_sources import check_corpus_source

SOURCE = '''# a note
def f(x, y=[1]):
    """Say it.

    Twice."""
    return g(x, "text")  # end
'''
ALONE = '''class Empty:
    """Nothing else."""
'''


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return PydocsSource(n_rows=80, blocks_per_document=4).build()


def spelled(marks: dict[str, np.ndarray], source: str, name: str, value: object) -> str:
    return "".join(c for c, mark in zip(source, marks[name].tolist(), strict=True) if mark == value)


def write(folder: Path, text: str) -> LibraryFile:
    (folder / "written.py").write_text(text, encoding="utf-8")
    return LibraryFile("written", folder / "written.py")


def test_the_contract_of_a_source_holds(tmp_path: Path) -> None:
    check_corpus_source("pydocs", {"n_rows": 12, "blocks_per_document": 4}, tmp_path)


def test_the_facts_name_the_python_version_and_the_text(corpus: Corpus) -> None:
    assert corpus.facts["python"] == platform.python_version()
    assert corpus.facts["library"] == library_digest(library_files())
    assert corpus.n_rows == 80
    assert corpus.tokens.lengths.max() == 128
    assert set(corpus.column("kind")) == {"topic", "docstring", "source"}


def test_no_concept_is_planted_and_modules_stay_in_one_split(corpus: Corpus) -> None:
    assert corpus.names_with_role("concept") == []
    pairs = {(m, s) for m, s in zip(corpus.column("module"), corpus.column("split"), strict=True) if "pydoc" not in m}
    assert len(pairs) == len({module for module, _ in pairs})


def test_regions_of_a_corpus_fit_its_tokens(corpus: Corpus) -> None:
    text = np.array(corpus.vocabulary, dtype=object)[corpus.tokens.ids]
    region = corpus.column("region")
    assert (region == "special").sum() == corpus.n_rows
    assert np.mean(region[text == " return"] == "code") > 0.8
    assert np.mean(region[text == " the"] != "code") > 0.95
    source_rows = np.repeat(corpus.column("kind") == "source", corpus.tokens.lengths)
    assert set(region[~source_rows]) == {"prose", "special"}
    assert "prose" not in set(region[source_rows])


def test_seeds_change_the_choice_and_a_longer_corpus_begins_with_the_shorter(corpus: Corpus) -> None:
    short = PydocsSource(n_rows=20, blocks_per_document=4).build()
    assert np.array_equal(short.tokens.ids, corpus.tokens.ids[: short.n_tokens])
    assert PydocsSource(n_rows=20, blocks_per_document=4, seed=1).build().digest != short.digest


def test_kinds_narrow_the_documents() -> None:
    topics = PydocsSource(n_rows=10, kinds=("topic",)).build()
    assert set(topics.column("kind")) == {"topic"}
    assert set(topics.column("module")) == {"pydoc_data.topics"}


def test_marks_of_source() -> None:
    marks = source_marks(SOURCE)
    assert spelled(marks, SOURCE, "region", "comment") == "# a note# end"
    assert spelled(marks, SOURCE, "region", "string") == '"text"'
    assert spelled(marks, SOURCE, "region", "docstring") == '"""Say it.\n\n    Twice."""'
    assert spelled(marks, SOURCE, "bracket_depth", 1) == "x, y=[]" + 'x, "text"'
    assert spelled(marks, SOURCE, "bracket_depth", 2) == "1"
    assert spelled(marks, SOURCE, "is_line_start", True) == "#d" + '"' + "Tr"
    assert spelled(marks, SOURCE, "indent", 0).splitlines()[1] == "def f(x, y=[1]):"


def test_a_formatted_string_is_one_string_in_every_version() -> None:
    source = 'x = f"a {y} b" + z\n'
    assert spelled(source_marks(source), source, "region", "string") == 'f"a {y} b"'


def test_docstrings_appear_once_in_place_or_apart(tmp_path: Path) -> None:
    file = write(tmp_path, SOURCE + ALONE)
    apart = list(module_documents(file, ("docstring",)))
    assert [d.name for d in apart] == ["docstring:written"]
    assert apart[0].text.startswith("written.f(x, y=[1])\n    Say it.\n\n    Twice.\n")
    assert [d.text for d in module_documents(file, ("source",))] == [SOURCE + ALONE]
    both = list(module_documents(file, ("docstring", "source")))
    assert sum(document.text.count("Say it.") for document in both) == 1


def test_sources_without_their_docstrings_still_parse() -> None:
    files = library_files()[::20]
    halves = [list(module_documents(file, ("docstring", "source"))) for file in files]
    apart = [documents for documents in halves if any(d.facts["kind"] == "docstring" for d in documents)]
    assert 0.2 < len(apart) / len(halves) < 0.8
    for documents in apart:
        for document in documents:
            if document.facts["kind"] == "source":
                tree = ast.parse(document.text)
                assert ast.get_docstring(tree) is None


def test_test_suites_and_tables_are_left_out() -> None:
    modules = {file.module for file in library_files()}
    assert {"json.decoder", "textwrap", "email"} <= modules
    assert not any("test" in module.split(".") or module.startswith("encodings") for module in modules)


def test_a_library_without_sources_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"holds no \.py files"):
        library_files(tmp_path)
    with pytest.raises(BadDataError, match=r"written\.py is not Python source"):
        list(module_documents(write(tmp_path, "def ("), ("source",)))
