"""The corpus that the shared options of a command mean."""

from __future__ import annotations

from mechscope.services.targets import CorpusRequest, parse_options

__all__ = ["corpus_request"]


def corpus_request(
    source: str | None,
    options: list[str] | None,
    text: list[str] | None,
    *,
    data_csv: str | None = None,
    vocab_path: str | None = None,
    weapon_vocab_path: str | None = None,
) -> CorpusRequest:
    """`--corpus`, `--corpus-option`, `--text`, `--data-csv` and its vocabularies as one request. Raises UsageError."""
    return CorpusRequest(
        source=source,
        options=parse_options(tuple(options or ())),
        text=tuple(text or ()),
        builds_csv=data_csv,
        vocab=vocab_path,
        weapon_vocab=weapon_vocab_path,
    )
