"""The tokenizer beside a model, through transformers."""

from __future__ import annotations

from pathlib import Path

from mechscope.core import BadDataError
from mechscope.core.hugging_face import PreTrainedTokenizerBase, transformers
from mechscope.models.loading import can_find_hub
from mechscope.models.loading_faults import first_line
from mechscope.models.remarks import quiet

__all__ = ["load_tokenizer"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model, or None when there is none (transformers would make up an empty one).

    Raises:
        BadDataError: the folder holds a tokenizer's files, and none can be made of them.
    """
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None
    with quiet():
        try:
            offline = not folder.is_dir() and not can_find_hub()
            loader = transformers.AutoTokenizer
            found = loader.from_pretrained(source, trust_remote_code=False, local_files_only=offline)
        except Exception as error:
            # the tokenizers library raises bare Exceptions for files that it cannot read
            if type(error) is not Exception and not isinstance(error, FAULTS):
                raise
            if isinstance(error, OSError | ValueError | LookupError) and not folder.is_dir():
                return None  # what the hub says when a model has no tokenizer
            why = first_line(error)
            raise BadDataError(
                f"the tokenizer in {source} cannot be read: {type(error).__name__}: {why:.300}",
                expected="tokenizer.json and tokenizer_config.json as save_pretrained writes them",
                todo="copy the tokenizer's files again, or install the package named",
            ) from error
    return found if isinstance(found, transformers.PreTrainedTokenizerBase) else None
