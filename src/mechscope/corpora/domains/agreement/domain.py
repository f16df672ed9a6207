"""The agreement language as a domain: grammatical changes of a text.

A context is a whole text, `<bos>` to `<eos>`; it is legal when the grammar can write it. Families and binaries speak of
its first clause (as the column `template` does) and, for tense, of every clause until the next time adverb:

    number        of the first subject: singular, plural; determiner and every agreeing verb follow
    tense         past, present, future: the first time adverb and the verbs up to the next one
    distractors   1, 2 or 3 phrases between the first subject and its verb; 0 removes them
    sentiment     negative, neutral, positive: every adjective and adverb of the text
    binaries      `!` (else `.`) at the end of the first sentence; a degree word before the first clause's adjective
    topic_of_text every topical word of the text, swapped for the word at its place in the other topic
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple, Self

from mechscope.core import BadDataError, UsageError, unknown_name
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domain import Context, Family
from mechscope.corpora.domains.agreement import swaps
from mechscope.corpora.domains.agreement.lexicon import (
    CASUAL_DEGREES,
    FORMAL_DEGREES,
    SPECIAL_TOKENS,
    TOPIC_NAMES,
    WORDS,
    Number,
    Sentiment,
    Tense,
)
from mechscope.corpora.domains.agreement.reading import read_words
from mechscope.corpora.domains.agreement.tokens import BOS_ID, EOS_ID, WORD_IDS
from mechscope.corpora.domains.agreement.trees import Text, tense_at, tree_faults, write_words

__all__ = ["AgreementDomain"]

TOPIC, TEMPLATE = "topic_of_text", "template"
NUMBERS: tuple[Number, ...] = ("singular", "plural")
TENSES: tuple[Tense, ...] = ("past", "present", "future")
SENTIMENTS: tuple[Sentiment, ...] = ("negative", "neutral", "positive")
RUNG_NAMES: dict[str, tuple[str, ...]] = {
    "number": NUMBERS,
    "tense": TENSES,
    "distractors": ("1", "2", "3"),
    "sentiment": SENTIMENTS,
}
END = "!"
DEGREES = (*CASUAL_DEGREES, *FORMAL_DEGREES)
CACHED_TEXTS = 1 << 16


class _Change(NamedTuple):
    rungs: Mapping[str, int] = {}
    binaries: Mapping[str, bool] = {}
    groups: Mapping[str, str] = {}


class AgreementDomain:
    """Number, tense, distractors and sentiment as families; see the head of this file.

    Reading a text costs about 80 microseconds and a change as much; both are remembered.

    Example:
        >>> domain = AgreementDomain()
        >>> context = domain.parse("today the cook is happy .")
        >>> domain.render(domain.substitute(context, rungs={"number": 2, "distractors": 1}))
        'today the cooks near the ovens are happy .'
    """

    name = "agreement"
    attribute_group: str | None = None

    def __init__(self) -> None:
        self.families: Mapping[str, Family] = {
            name: Family(name, tuple(range(1, len(names) + 1)), ((),) * len(names), names=names)
            for name, names in RUNG_NAMES.items()
        }
        self.binaries: Mapping[str, int] = {word: WORD_IDS[word] for word in (END, *DEGREES)}
        self.groups: Mapping[str, tuple[str, ...]] = {TOPIC: TOPIC_NAMES, TEMPLATE: _templates()}
        self.settable_groups: tuple[str, ...] = (TOPIC,)
        self.attributes: Mapping[str, Mapping[str, str]] = {}
        self._read = lru_cache(CACHED_TEXTS)(_read)
        self._changed = lru_cache(CACHED_TEXTS)(self._try_change)

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The domain of a corpus of agreement texts. Raises BadDataError for another vocabulary."""
        if corpus.vocabulary != WORDS:
            raise BadDataError(
                f"corpus {corpus.name!r} has a vocabulary of {len(corpus.vocabulary)} tokens",
                expected=f"the {len(WORDS)} words of the agreement language",
                todo="make the corpus anew, or declare its families in a file",
            )
        return cls()

    def rung(self, context: Context, family: str) -> int:
        """The rung of a family; 0 without distractors, or without a word that carries a sentiment."""
        return _rung(self._tree(context), self._family(family).name)

    def has(self, context: Context, binary: str) -> bool:
        """Whether `!` ends the first sentence, or the degree word stands before the first clause's adjective."""
        if binary not in self.binaries:
            raise unknown_name("binary", binary, self.binaries)
        return _has(self._tree(context), binary)

    def group(self, context: Context, column: str) -> str:
        """The topic ("" while no word shows it) or the template of the first clause."""
        if column not in self.groups:
            raise unknown_name("group", column, self.groups)
        tree = self._tree(context)
        return tree.clauses[0].shape if column == TEMPLATE else next(iter(swaps.topics_of(tree)), "")

    def faults(self, context: Context) -> list[str]:
        """Why the grammar does not write the text, in words."""
        return list(self._read(context.tokens)[1])

    def is_legal(self, context: Context) -> bool:
        """Whether the grammar can write the text."""
        return not self._read(context.tokens)[1]

    def substitute(
        self,
        context: Context,
        *,
        rungs: Mapping[str, int] = {},
        binaries: Mapping[str, bool] = {},
        groups: Mapping[str, str] = {},
        tokens_on: Sequence[int] = (),
        tokens_off: Sequence[int] = (),
    ) -> Context:
        """The text with its words swapped in place; see `Domain.substitute`. Only binaries can be token ids."""
        name_of = {index: name for name, index in self.binaries.items()}
        switched = dict(binaries)
        for token in (*tokens_on, *tokens_off):
            if token not in name_of:
                shown = WORDS[token] if 0 <= token < len(WORDS) else f"token {token}"
                raise UsageError(
                    f"{shown!r} cannot be switched: the grammar asks for a word in its place",
                    expected=f"one of {', '.join(self.binaries)}",
                    todo="change a family or group instead",
                )
            if switched.setdefault(name_of[token], token in tokens_on) != (token in tokens_on):
                raise _contradiction(name_of[token])
            if token in tokens_on and token in tokens_off:
                raise _contradiction(name_of[token])
        changes = (tuple(groups.items()), tuple(rungs.items()), tuple(switched.items()))
        changed = self._changed(context.tokens, *changes)
        if isinstance(changed, UsageError):
            raise UsageError(changed.seen, expected=changed.expected, todo=changed.todo)
        return Context(changed, context.inputs, context.row)

    def neighbours(self, context: Context) -> Iterator[tuple[str, Context]]:
        """A family one rung up or down, a binary switched, another topic; legal ones only."""
        tree = self._tree(context)
        steps: list[tuple[str, _Change]] = []
        for family in self.families.values():
            here = _rung(tree, family.name)
            for there in (here - 1, here + 1):
                if there in (0, *family.rungs) and (here or family.name == "distractors"):
                    step = f"{family.name} {family.rung_name(here)} -> {family.rung_name(there)}"
                    steps.append((step, _Change(rungs={family.name: there})))
        for name in self.binaries:
            is_there = _has(tree, name)
            steps.append((f"{name} {'on -> off' if is_there else 'off -> on'}", _Change(binaries={name: not is_there})))
        topic = self.group(context, TOPIC)
        steps += [(f"{TOPIC} {topic} -> {name}", _Change(groups={TOPIC: name}))
                  for name in TOPIC_NAMES if topic not in {"", name}]  # fmt: skip
        for step, change in steps:
            try:
                changed = self.substitute(context, rungs=change.rungs, binaries=change.binaries, groups=change.groups)
            except UsageError:  # the step is illegal here, and only legal ones are asked for
                continue
            yield step, changed

    def render(self, context: Context) -> str:
        """The words of the text, without `<bos>` and `<eos>`."""
        ids = context.tokens[1:] if context.tokens[:1] == (BOS_ID,) else context.tokens
        ids = ids[:-1] if ids[-1:] == (EOS_ID,) else ids
        return " ".join(WORDS[token] if 0 <= token < len(WORDS) else f"<{token}>" for token in ids)

    def parse(self, text: str) -> Context:
        """A text from its words with spaces between them; `<bos>` and `<eos>` are put around it."""
        said = [word for word in text.split() if word not in SPECIAL_TOKENS[1:3]]
        for word in said:
            if word not in WORD_IDS:
                raise unknown_name("word of the agreement language", word, WORDS)
        return Context((BOS_ID, *(WORD_IDS[word] for word in said), EOS_ID))

    def _family(self, name: str) -> Family:
        if name not in self.families:
            raise unknown_name("family", name, self.families)
        return self.families[name]

    def _tree(self, context: Context) -> Text:
        tree, wrong = self._read(context.tokens)
        if tree is None:
            raise _illegal(self.render(context), wrong)
        return tree

    def _try_change(
        self,
        tokens: tuple[int, ...],
        groups: tuple[tuple[str, str], ...],
        rungs: tuple[tuple[str, int], ...],
        binaries: tuple[tuple[str, bool], ...],
    ) -> tuple[int, ...] | UsageError:
        """The new tokens, or why there are none: both are worth remembering."""
        try:
            return self._change(tokens, groups, rungs, binaries)
        except UsageError as error:
            return UsageError(error.seen, expected=error.expected, todo=error.todo)

    def _change(
        self,
        tokens: tuple[int, ...],
        groups: tuple[tuple[str, str], ...],
        rungs: tuple[tuple[str, int], ...],
        binaries: tuple[tuple[str, bool], ...],
    ) -> tuple[int, ...]:
        tree = self._tree(Context(tokens))
        for column, name in groups:
            if column != TOPIC:
                raise unknown_name("group that can be changed", column, self.settable_groups)
            if name not in TOPIC_NAMES:
                raise unknown_name("topic", name, TOPIC_NAMES)
            tree = swaps.with_topic(tree, name)
        for family, rung in rungs:
            self._family(family).require_rung(rung)
            tree = _with_rung(tree, family, rung)
        for binary, is_there in sorted(binaries, key=lambda item: item[1]):  # a degree word goes before another comes
            if binary not in self.binaries:
                raise unknown_name("binary", binary, self.binaries)
            tree = _with_binary(tree, binary, is_there)
        if wrong := [*tree_faults(tree), *swaps.meaning_faults(tree)]:
            raise _illegal(" ".join(write_words(tree)), wrong)
        return (BOS_ID, *(WORD_IDS[word] for word in write_words(tree)), EOS_ID)


def _read(tokens: tuple[int, ...]) -> tuple[Text | None, tuple[str, ...]]:
    """The tree of a text (None where there is none) and its faults."""
    strange = [token for token in tokens if not 0 <= token < len(WORDS)]
    if strange:
        return None, (f"there is no token {strange[0]} among {len(WORDS)} words",)
    if tokens[:1] != (BOS_ID,) or tokens[-1:] != (EOS_ID,):
        return None, (f"it does not begin with {WORDS[BOS_ID]} and end with {WORDS[EOS_ID]}",)
    try:
        tree = read_words([WORDS[token] for token in tokens[1:-1]])
    except BadDataError as error:
        return None, (error.seen,)
    return tree, (*tree_faults(tree), *swaps.meaning_faults(tree))


def _rung(tree: Text, family: str) -> int:
    if family == "number":
        return NUMBERS.index(tree.clauses[0].number) + 1
    if family == "tense":
        return TENSES.index(tense_at(tree.sentences[0].time_adverb, "present")) + 1
    if family == "distractors":
        return len(tree.clauses[0].phrases)
    sentiments = swaps.sentiments_of(tree)
    return SENTIMENTS.index(sentiments[0]) + 1 if sentiments else 0


def _with_rung(tree: Text, family: str, rung: int) -> Text:
    if _rung(tree, family) == rung:
        return tree
    if family == "distractors":
        return swaps.with_distractors(tree, rung)
    if rung == 0:
        raise UsageError(
            f"{family} cannot be absent: every text shows one",
            expected=f"one of {', '.join(RUNG_NAMES[family])}",
            todo="choose a rung above 0",
        )
    if family == "number":
        return swaps.with_number(tree, NUMBERS[rung - 1])
    if family == "tense":
        return swaps.with_tense(tree, TENSES[rung - 1])
    return swaps.with_sentiment(tree, SENTIMENTS[rung - 1])


def _has(tree: Text, binary: str) -> bool:
    return tree.sentences[0].end == END if binary == END else tree.clauses[0].degree == binary


def _with_binary(tree: Text, binary: str, is_there: bool) -> Text:
    if _has(tree, binary) == is_there:
        return tree
    if binary == END:
        first = replace(tree.sentences[0], end=END if is_there else ".")
        return Text((first, *tree.sentences[1:]))
    clause = tree.clauses[0]
    if is_there and (clause.verb is not None or clause.degree):
        seen = f"{clause.degree!r} stands there already" if clause.degree else "the first clause has no such adjective"
        raise UsageError(
            f"{binary!r} cannot be added: {seen}",
            expected="a first clause with 'be' and an adjective without a degree word: one degree word an adjective",
            todo="take the other word away in the same step, or choose another text",
        )
    return swaps.with_first_clause(tree, replace(clause, degree=binary if is_there else ""))


def _templates() -> tuple[str, ...]:
    later, first = ("prepositional", "object_relative"), ("prepositional", "object_relative", "subject_relative")
    kinds = ["bare", *("+".join(chosen) for n in (1, 2, 3) for chosen in product(first, *(later,) * (n - 1)))]
    return tuple(f"{kind}/{predicate}" for kind in kinds for predicate in ("copula", "transitive"))


def _contradiction(name: str) -> UsageError:
    return UsageError(
        f"changes that contradict each other: {name} is to be there and not to be there",
        expected="changes that can all hold",
        todo="leave one of them out",
    )


def _illegal(said: str, faults: Sequence[str]) -> UsageError:
    return UsageError(
        f"{said!r} is illegal: {'; '.join(faults)}",
        expected="a text that the grammar can write",
        todo="change something else, or choose another text",
    )
