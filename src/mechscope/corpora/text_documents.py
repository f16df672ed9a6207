"""The documents of text files, in any order, without holding their text.

A file is one document, except `.jsonl`, where each line that is not blank is one. Bytes are decoded as UTF-8 and kept
as they are, line ends included; only a byte-order mark at the start is left out.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mechscope.core import BadDataError
from mechscope.corpora.documents import Document

__all__ = ["TextDocuments"]

LINES_SUFFIX = ".jsonl"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TextDocuments:
    """Documents by number: file after file, line after line. Each one is read when it is asked for.

    Args:
        files: what to read.
        text_field: the key that holds the text in a `.jsonl` line.

    Cost: one pass over the `.jsonl` files; 32 bytes of memory a document.
    """

    def __init__(self, files: Sequence[Path], *, text_field: str = "text") -> None:
        self.files = tuple(files)
        self.text_field = text_field
        places = [_places(number, file) for number, file in enumerate(self.files)]
        self._places = np.concatenate(places) if places else np.empty((0, 4), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Document:
        """One document; an empty file gives one with an empty text.

        Raises:
            BadDataError: bytes that are not UTF-8 or a NUL byte (file and offset are named), or a `.jsonl` line that is
                not an object with a string under `text_field` (file and line are named).
        """
        number, line, start, end = self._places[index].tolist()
        file = self.files[number]
        name = file.as_posix()
        with file.open("rb") as stream:
            stream.seek(start)
            data = stream.read(end - start if line else -1)
        text = _decoded(data, file, start)
        if line:
            where = f"{name}:{line}"
            return Document(where, _field(text, self.text_field, where), facts={"file": name})
        return Document(name, text, facts={"file": name})


def _places(number: int, file: Path) -> np.ndarray:
    """Where the documents of a file are, int64 [n 4]: the file's number, line from 1 (0: all of it), start, end."""
    if file.suffix.lower() != LINES_SUFFIX:
        return np.array([[number, 0, 0, 0]], dtype=np.int64)
    places, start = array("q"), 0
    with file.open("rb") as stream:
        for line, data in enumerate(stream, start=1):
            if data.removeprefix(BYTE_ORDER_MARK).strip():
                places.extend((number, line, start, start + len(data)))
            start += len(data)
    found: np.ndarray = np.array(places, dtype=np.int64).reshape(-1, 4)
    return found


def _decoded(data: bytes, file: Path, start: int) -> str:
    if start == 0 and data.startswith(BYTE_ORDER_MARK):
        start, data = len(BYTE_ORDER_MARK), data.removeprefix(BYTE_ORDER_MARK)
    at = data.find(b"\0")
    reason = "a NUL byte"
    if at < 0:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            at, reason = error.start, f"byte 0x{data[error.start]:02x} is not UTF-8"
    raise BadDataError(
        f"{file}, offset {start + at}: {reason}",
        expected="text in UTF-8",
        todo="convert the file (for example with iconv) or leave it out",
    )


def _field(line: str, key: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadDataError(
            f"{where} is not JSON: {error}", expected="one JSON object a line", todo="mend it"
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get(key), str):
        held = f"keys {', '.join(map(str, value)) or '(none)'}" if isinstance(value, dict) else type(value).__name__
        raise BadDataError(
            f"{where} has {held}", expected=f"an object with a string under {key!r}", todo="name the right text_field"
        )
    text: str = value[key]
    return text
