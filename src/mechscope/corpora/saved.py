"""A corpus on disk: one folder, published whole.

key.json             the source's name and spec (what it was made from)
manifest.json        checksums; facts: rows, tokens, digest, kind, columns
corpus.json          name, kind, vocabulary, pad id, column descriptions, how it was made
tokens.safetensors   ids int32 [n_tokens], indptr int64 [n_rows + 1], and the targets likewise
rows.parquet         one line a row      tokens.parquet   one line a token
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mechscope import __version__
from mechscope.core import BadDataError, Progress, Spec
from mechscope.core.kinds import CORPUS_SOURCES
from mechscope.core.progress import SILENT
from mechscope.corpora.corpus import Column, Corpus, Ragged
from mechscope.store import (
    artifact_folder,
    atomic_path,
    file_entry,
    is_complete,
    publish,
    read_json,
    verify,
    write_json,
)

__all__ = ["CorpusSpec", "corpus_folder", "load_corpus", "make_corpus", "save_corpus"]

KIND = "corpus"
FORMAT = 1
FILES = ("corpus.json", "tokens.safetensors", "rows.parquet", "tokens.parquet")


class CorpusSpec(Spec):
    """Which source, with which options. The options are checked by the source's own spec."""

    source: str
    options: dict[str, Any] = {}

    def resolved(self) -> Spec:
        """The source's spec with every default written out. Raises NotFoundError or UsageError."""
        source: type[Spec] = CORPUS_SOURCES.get(self.source)
        return source.parse(self.options, where=f"the options of corpus source {self.source!r}")

    @property
    def key(self) -> dict[str, Any]:
        """What the corpus is made from, defaults included. A source may add digests of the files it reads."""
        resolved = self.resolved()
        inputs = resolved.input_digests() if hasattr(resolved, "input_digests") else {}
        # Another version may draw or cut otherwise; what follows is named by the corpus' own bytes, and stays.
        made_by = {"mechscope": __version__, "format": FORMAT}
        return {"source": self.source, "options": resolved.to_json(), "inputs": inputs, **made_by}


def make_corpus(spec: CorpusSpec, root: Path, *, progress: Progress = SILENT) -> tuple[Corpus, Path]:
    """The corpus of `spec`, built and saved under `root`, or read when it is there already."""
    key = spec.key
    folder = artifact_folder(root, key)
    if is_complete(folder):
        progress.say(f"corpus reused: {folder}")
        return load_corpus(folder), folder
    corpus: Corpus = spec.resolved().build(progress)  # type: ignore[attr-defined]
    save_corpus(corpus, folder, key=key)
    return corpus, folder


def corpus_folder(spec: CorpusSpec, root: Path) -> Path:
    """Where the corpus of `spec` lies, or would lie, under `root`."""
    return artifact_folder(root, spec.key)


def save_corpus(corpus: Corpus, folder: Path, *, key: dict[str, Any]) -> None:
    """Write `corpus` to `folder`; the manifest comes last. Cost: one pass, memory of one column at a time."""
    write_json(
        folder / "corpus.json",
        {
            "name": corpus.name,
            "kind": corpus.kind,
            "pad_id": corpus.pad_id,
            "vocabulary": list(corpus.vocabulary),
            "columns": {name: column.to_json() for name, column in corpus.columns.items()},
            "facts": corpus.facts,
        },
    )
    arrays = {"ids": corpus.tokens.ids, "indptr": corpus.tokens.indptr}
    if corpus.targets is not None:
        arrays |= {"target_ids": corpus.targets.ids, "target_indptr": corpus.targets.indptr}
    with atomic_path(folder / "tokens.safetensors") as path:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    _write_table(folder / "rows.parquet", corpus.row_columns, corpus.n_rows)
    _write_table(folder / "tokens.parquet", corpus.token_columns, corpus.n_tokens)
    facts = {"n_rows": corpus.n_rows, "n_tokens": corpus.n_tokens, "digest": corpus.digest, "name": corpus.name}
    publish(folder, kind=KIND, key=key, files={name: file_entry(folder / name) for name in FILES}, facts=facts)


def load_corpus(folder: Path) -> Corpus:
    """The corpus in `folder`, with every checksum verified.

    Raises:
        BadDataError: unfinished or damaged folder.
    """
    verify(folder, kind=KIND)
    head = read_json(folder / "corpus.json")
    columns = {name: Column.parse(value, where=str(folder)) for name, value in head["columns"].items()}
    try:
        arrays = load_file(folder / "tokens.safetensors")
    except SafetensorError as error:
        raise BadDataError(
            f"{folder / 'tokens.safetensors'}: {error}", expected="a safetensors file", todo="build the corpus again"
        ) from error
    targets = Ragged(arrays["target_ids"], arrays["target_indptr"]) if "target_ids" in arrays else None
    return Corpus(
        name=head["name"],
        kind=head["kind"],
        tokens=Ragged(arrays["ids"], arrays["indptr"]),
        vocabulary=tuple(head["vocabulary"]),
        row_columns=_read_table(folder / "rows.parquet"),
        token_columns=_read_table(folder / "tokens.parquet"),
        columns=columns,
        targets=targets,
        pad_id=head["pad_id"],
        facts=head["facts"],
    )


def _write_table(path: Path, columns: dict[str, np.ndarray], n_lines: int) -> None:
    # A table needs one column at least; the index also makes the file readable on its own.
    index = {"index": np.arange(n_lines, dtype=np.int64)}
    arrays = {name: pa.array(_plain(values)) for name, values in {**index, **columns}.items()}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd")


def _read_table(path: Path) -> dict[str, np.ndarray]:
    with pq.ParquetFile(path) as file:  # `read_table` would import all of pyarrow's data sets
        table = file.read()
    return {name: _array(table.column(name)) for name in table.column_names if name != "index"}


def _plain(values: np.ndarray) -> Any:
    return [str(value) for value in values.tolist()] if values.dtype.kind in "OU" else values


def _array(column: Any) -> np.ndarray:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    array: np.ndarray = column.combine_chunks().to_numpy(zero_copy_only=False)
    return array
