"""From text to batches, with the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mechscope.core import UsageError
from mechscope.core.hugging_face import PreTrainedTokenizerBase
from mechscope.models.batch import Batch

__all__ = ["tokenize_texts"]


def tokenize_texts(
    tokenizer: PreTrainedTokenizerBase | None,
    texts: Sequence[str],
    *,
    name: str,
    side: Literal["left", "right"],
    pad_id: int | None,
) -> Batch:
    """See `Model.tokenize`."""
    if tokenizer is None:
        raise UsageError(
            f"text for {name}, which came without a tokenizer",
            expected="a model folder with its tokenizer files, or token ids",
            todo="save the tokenizer beside the model (model.notes say when one is there and cannot be read), or make "
            "a batch of ids: Batch.from_rows([[1, 2, 3]])",
        )
    if isinstance(texts, str):  # a sequence too, of texts of one character each
        raise UsageError(
            f"the text {texts!r:.60} by itself", expected="a list of texts", todo="put it into a list: [text]"
        )
    rows = [tokenizer(text)["input_ids"] for text in texts]
    if empty := [index for index, row in enumerate(rows) if not row]:
        raise UsageError(f"text {empty[0]} has no token", expected="text in every row", todo="drop the empty texts")
    pad = tokenizer.pad_token_id if pad_id is None else pad_id
    if pad is None and len({len(row) for row in rows}) > 1:
        raise UsageError(
            f"texts of different lengths, and a tokenizer of {name} without a pad token",
            expected="a pad token, texts of one length, or a choice of what stands in padded places",
            todo="pass pad_id=0: the attention mask hides padded places, and the model's check at open measured that",
        )
    return Batch.from_rows(rows, pad_id=pad or 0, side=side)
