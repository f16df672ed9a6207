"""Anybody's own text files as a corpus."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mechscope.core import SILENT, Progress, Spec, digest_file, numpy_generator
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.corpora.blocks import BlockSpec, text_corpus
from mechscope.corpora.corpus import Column, Corpus
from mechscope.corpora.text_documents import TextDocuments
from mechscope.corpora.text_files import find_files
from mechscope.corpora.tokenizers import open_tokenizer, tokenizer_digest

__all__ = ["TextSource"]

COLUMNS = {"file": Column(level="row", role="group", description="the file that the document stands in")}


@CORPUS_SOURCES.register("text")
class TextSource(Spec):
    """Text files (.txt .md .rst .py .jsonl), tokenised and cut into blocks that never cross two documents.

    A document is a file, or a line of a .jsonl file; a document is never in two splits, unless there are too few of
    them (`facts.split_unit` says). Documents come in an order drawn from `seed`: a corpus that `n_rows` cuts short
    holds some of everything, and a longer one begins with the shorter one.

    Args:
        paths: files, folders (searched at any depth) and globs.
        tokenizer: a shipped subject, a folder or a hub id; a fast tokenizer.
        block_length: most tokens in a row, special tokens counted.
        n_rows: rows to make; None takes everything.
        blocks_per_document: most rows of one document; None takes all.
        text_field: the key that holds the text in .jsonl lines.
        seed: root of the order, of the split and of the draw of blocks.
    """

    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    tokenizer: str
    block_length: Annotated[int, Field(ge=4)] = 128
    n_rows: Annotated[int, Field(ge=1)] | None = None
    blocks_per_document: Annotated[int, Field(ge=1)] | None = None
    text_field: str = "text"
    seed: int = 0

    def build(self, progress: Progress = SILENT) -> Corpus:
        """The corpus. Memory: its tokens, and 40 bytes for each document found.

        Raises NotFoundError for a path or tokenizer that is not there, and BadDataError for an empty set of files,
        undecodable bytes or files without a single token.
        """
        found = find_files(self.paths)
        if found.n_other_suffix or found.n_hidden:
            progress.say(f"passed over {found.n_other_suffix} files of other kinds and {found.n_hidden} hidden ones")
        blocks = BlockSpec(
            block_length=self.block_length,
            blocks_per_document=self.blocks_per_document,
            n_rows=self.n_rows,
            may_split_documents=True,
            seed=self.seed,
            split_seed=self.seed,
        )
        documents = TextDocuments(found.files, text_field=self.text_field)
        order = numpy_generator(self.seed, "text", "order").permutation(len(documents))
        return text_corpus(
            (documents[int(index)] for index in order),
            open_tokenizer(self.tokenizer),
            blocks,
            name="text",
            columns=COLUMNS,
            facts={
                "source": "text",
                "spec": self.to_json(),
                "spec_digest": self.digest,
                "n_files": len(found.files),
                "n_files_of_other_kinds": found.n_other_suffix,
                "n_hidden_files": found.n_hidden,
                **self.input_digests(),
            },
            n_found=len(documents),
            progress=progress,
        )

    def input_digests(self) -> dict[str, object]:
        """SHA-256 of every file and of the tokenizer: what the corpus depends on beside the options."""
        files = {file.as_posix(): digest_file(file) for file in find_files(self.paths).files}
        return {"files": files, "tokenizer": tokenizer_digest(open_tokenizer(self.tokenizer))}
