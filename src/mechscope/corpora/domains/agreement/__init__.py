"""The agreement language: an English-like grammar whose every token has a known truth."""

from mechscope.corpora.domains.agreement.concepts import CONCEPTS, Concept, concept_columns
from mechscope.corpora.domains.agreement.grammar import MAX_TOKENS, Dice, Plan, Subject, write_subject, write_text
from mechscope.corpora.domains.agreement.lexicon import WORDS, Noun
from mechscope.corpora.domains.agreement.probing import (
    PROBING_TASKS,
    ProbingSamples,
    ProbingTask,
    probing_samples,
)
from mechscope.corpora.domains.agreement.tasks import (
    AgreementItem,
    AgreementTaskSpec,
    MinimalPair,
    agreement_items,
    minimal_pairs,
)
from mechscope.corpora.domains.agreement.tokens import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    WORD_IDS,
    encode_words,
    make_tokenizer,
)
from mechscope.corpora.domains.agreement.truth import TRUTH_COLUMNS, Truth

__all__ = [
    "BOS_ID",
    "CONCEPTS",
    "EOS_ID",
    "MAX_TOKENS",
    "PAD_ID",
    "PROBING_TASKS",
    "TRUTH_COLUMNS",
    "UNK_ID",
    "WORDS",
    "WORD_IDS",
    "AgreementItem",
    "AgreementTaskSpec",
    "Concept",
    "Dice",
    "MinimalPair",
    "Noun",
    "Plan",
    "ProbingSamples",
    "ProbingTask",
    "Subject",
    "Truth",
    "agreement_items",
    "concept_columns",
    "encode_words",
    "make_tokenizer",
    "minimal_pairs",
    "probing_samples",
    "write_subject",
    "write_text",
]
