"""Tokenizers by name, their tokens as text to show, and the special tokens that they put around a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mechscope.core import NotFoundError, digest_bytes
from mechscope.core.hugging_face import PreTrainedTokenizerBase, transformers

__all__ = ["open_tokenizer", "shown_vocabulary", "special_affixes", "tokenizer_digest"]

SHIPPED_FOLDER = Path(__file__).parents[1] / "subjects_data"
SPACE_PIECE = "▁"
PROBE = "a"


def open_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a shipped subject ("pydocs"), of a local folder, or of a hub id.

    A name of a shipped subject wins over a folder of the same name; write "./pydocs" for the folder.
    Raises NotFoundError when none of the three has one.
    """
    shipped = SHIPPED_FOLDER / source
    place = shipped if "/" not in source and (shipped / "tokenizer.json").is_file() else source
    try:
        return transformers.AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        first = str(error).split("\n", 1)[0]
        raise NotFoundError(
            f"no tokenizer at {source!r}: {first}",
            expected="a shipped subject, a folder with tokenizer.json, or a hub id",
            todo="check the name; a hub id needs a network or a filled cache",
        ) from error


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of everything that decides how text becomes ids."""
    return digest_bytes(tokenizer.backend_tokenizer.to_str().encode())


def shown_vocabulary(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Token id -> the text that it stands for, leading space included: joined, the tokens of a row read as the text.

    Byte-level pieces are turned back into characters; bytes that are no character on their own show as `\\xe2`.
    """
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    is_byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    special = set(tokenizer.all_special_tokens)
    return tuple(_shown(str(piece), is_byte_level and piece not in special) for piece in pieces)


def special_affixes(tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """The ids that the tokenizer itself puts before and after a text (BOS, [CLS], [SEP] ...); often none."""
    bare = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    dressed = tokenizer(PROBE)["input_ids"]
    at = next(i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare)
    return np.array(dressed[:at], dtype=np.int32), np.array(dressed[at + len(bare) :], dtype=np.int32)


def _shown(piece: str, is_byte_level: bool) -> str:
    if is_byte_level and all(character in BYTES for character in piece):
        return bytes(BYTES[character] for character in piece).decode("utf-8", errors="backslashreplace")
    return piece.replace(SPACE_PIECE, " ")


def _byte_characters() -> dict[str, int]:
    # Byte-level BPE's table: printable bytes stand for themselves, the others for characters from 256 on, in order.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTES = _byte_characters()
