"""The English and code that ship with Python itself, as a corpus. No concept is planted: real text.

Another Python version has another text: `facts` records the version and a digest, and so does the corpus' key.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from mechscope.core import SILENT, Progress, Spec, numpy_generator
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora.blocks import BlockSpec, text_corpus
from mechscope.corpora.corpus import Column, Corpus
from mechscope.corpora.documents import Document
from mechscope.corpora.python_library import (
    PythonKind,
    library_digest,
    library_files,
    module_documents,
    topic_documents,
)
from mechscope.corpora.tokenizers import open_tokenizer, tokenizer_digest

__all__ = ["PydocsSource"]

COLUMNS = {
    "kind": Column(level="row", role="group", description="topic (help pages), docstring or source"),
    "module": Column(level="row", role="group", description="dotted name of the module"),
    "region": Column(
        level="token", description="code, comment, string, docstring, prose (topics and docstring pages) or special"
    ),
    "bracket_depth": Column(level="token", role="nuisance", description="open brackets around the token, in source"),
    "indent": Column(level="token", role="nuisance", description="steps of four spaces that its line is indented by"),
    "is_line_start": Column(level="token", role="nuisance", description="begins with the first visible sign of a line"),
}


@CORPUS_SOURCES.register("pydocs")
class PydocsSource(Spec):
    """Help topics, docstrings and sources of the standard library of the running Python.

    Documents come in an order drawn from `seed`, so that a longer corpus begins with the shorter one. Split by module,
    drawn from its name alone: the shipped model was trained on the "train" modules, whatever the seed here.

    Args:
        n_rows: rows to make; None takes the whole library (about 3 million tokens).
        block_length: most tokens in a row.
        blocks_per_document: most rows of one document; None takes all; a limit keeps huge modules from
            filling the corpus.
        kinds: which documents: "topic", "docstring", "source".
        tokenizer: a shipped subject, a folder or a hub id.
        seed: root of the order and of the draw of blocks.
    """

    n_rows: Annotated[int, Field(ge=1)] | None = 4096
    block_length: Annotated[int, Field(ge=4)] = 128
    blocks_per_document: Annotated[int, Field(ge=1)] | None = 32
    kinds: Annotated[tuple[PythonKind, ...], Field(min_length=1)] = ("topic", "docstring", "source")
    tokenizer: str = "pydocs"
    seed: int = 0

    def build(self, progress: Progress = SILENT) -> Corpus:
        """The corpus. Costs about 15 s of one core for a million tokens, most of it for the marks.

        Raises BadDataError without .py files to read.
        """
        blocks = BlockSpec(
            block_length=self.block_length,
            blocks_per_document=self.blocks_per_document,
            n_rows=self.n_rows,
            seed=self.seed,
        )
        return text_corpus(
            self.documents(),
            open_tokenizer(self.tokenizer),
            blocks,
            name="pydocs",
            columns=COLUMNS,
            facts={"source": "pydocs", "spec": self.to_json(), "spec_digest": self.digest, **self.input_digests()},
            progress=progress,
        )

    def documents(self) -> Iterator[Document]:
        """The documents of the kinds asked for, in the seed's order, read as they are taken."""
        makers: list[Iterator[Document]] = []
        if "topic" in self.kinds:
            makers += [iter([document]) for document in topic_documents()]
        if {"docstring", "source"} & set(self.kinds):
            makers += [module_documents(file, self.kinds) for file in library_files()]
        for index in numpy_generator(self.seed, "pydocs", "order").permutation(len(makers)):
            yield from makers[index]

    def input_digests(self) -> dict[str, str]:
        """What the text depends on beside the options: Python's version, the library's bytes, the tokenizer."""
        return {
            "python": platform.python_version(),
            "library": library_digest(library_files()),
            "tokenizer": tokenizer_digest(open_tokenizer(self.tokenizer)),
        }
