"""Rows of tokens with metadata columns, and where they come from."""

from mechscope.corpora.corpus import Column, ColumnRole, Corpus, CorpusKind, Ragged, token_positions
from mechscope.corpora.saved import CorpusSpec, corpus_folder, load_corpus, make_corpus, save_corpus

__all__ = [
    "Column",
    "ColumnRole",
    "Corpus",
    "CorpusKind",
    "CorpusSpec",
    "Ragged",
    "corpus_folder",
    "load_corpus",
    "make_corpus",
    "save_corpus",
    "token_positions",
]
