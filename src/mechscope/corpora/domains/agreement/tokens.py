"""The word-level tokenizer of the agreement language: one word, one token, split at spaces."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from mechscope.core import BadDataError
from mechscope.corpora.domains.agreement.lexicon import SPECIAL_TOKENS, WORDS

__all__ = ["BOS_ID", "EOS_ID", "PAD_ID", "UNK_ID", "WORD_IDS", "encode_words", "make_tokenizer"]

PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(len(SPECIAL_TOKENS))
WORD_IDS: dict[str, int] = {word: token_id for token_id, word in enumerate(WORDS)}


def encode_words(words: Sequence[str]) -> list[int]:
    """The token ids of words of the language. Raises BadDataError at a word that it does not have."""
    unknown = [word for word in words if word not in WORD_IDS]
    if unknown:
        raise BadDataError(
            f"{unknown[0]!r} is not a word of the agreement language",
            expected="words of mechscope.corpora.domains.agreement.lexicon.WORDS",
            todo="use its words, or encode free text with the tokenizer, which has an unknown token",
        )
    return [WORD_IDS[word] for word in words]


def make_tokenizer() -> Tokenizer:
    """The tokenizer: `<bos>`, then words to ids at spaces; a word outside the language becomes `<unk>`."""
    tokenizer = Tokenizer(WordLevel(vocab=WORD_IDS, unk_token=SPECIAL_TOKENS[UNK_ID]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    bos = SPECIAL_TOKENS[BOS_ID]
    tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, BOS_ID)])
    return tokenizer
