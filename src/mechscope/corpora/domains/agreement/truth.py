"""What is true at each token of an agreement text, written down while the text is made.

Every value holds after its token has been read and follows from the tokens up to it: topic and sentiment are "none"
until a word has shown them, the head's number is "none" until a determiner or the noun itself has. The one exception
is `next_is_verb`, which looks one token ahead and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from mechscope.corpora.domains.agreement.lexicon import Number

__all__ = ["TRUTH_COLUMNS", "Expects", "State", "Truth"]

Expects = Literal[
    "clause",
    "subject",
    "noun",
    "surname",
    "determiner",
    "relative_verb",
    "verb",
    "auxiliary",
    "evaluation",
    "object",
    "end",
]


@dataclass
class State:
    """What is known after the tokens so far. The field names are the names of the corpus' token columns."""

    topic: str = "none"
    sentiment: str = "none"
    tense: str = "none"
    head_number: Number | Literal["none"] = "none"
    last_noun_number: Number | Literal["none"] = "none"
    relative_subject_number: Number | Literal["none"] = "none"
    n_distractors: int = 0
    in_distractor: bool = False
    open_phrase: Literal["none", "prepositional", "relative"] = "none"
    expects: Expects = "clause"
    is_verb: bool = False
    induction: Literal["none", "first", "repeat"] = "none"


TRUTH_COLUMNS: dict[str, str] = {
    "topic": "topic of the text, or 'none' while no topical word has been read",
    "sentiment": "sentiment of the text, or 'none' while no evaluating word has been read",
    "tense": "tense in force: set by the latest time adverb",
    "head_number": "number of the head noun of the current clause, or 'none' while it is not known",
    "last_noun_number": "number of the latest noun or name of the current clause, or 'none'",
    "relative_subject_number": "number that the verb of the open relative clause must agree with, or 'none'",
    "n_distractors": "nouns between the head noun and here, while the clause waits for its verb; else 0",
    "in_distractor": "whether this token belongs to a distractor phrase",
    "open_phrase": "distractor phrase that must go on after this token: 'prepositional', 'relative' or 'none'",
    "expects": "what the grammar lets follow",
    "is_verb": "whether this token is the finite verb of a main clause",
    "induction": "given name read for the 'first' time in this text, or a 'repeat' whose surname is known; else 'none'",
}


@dataclass
class Truth:
    """Words of one text and the state after each: `columns[name][i]` belongs to `words[i]`."""

    words: list[str] = field(default_factory=list)
    state: State = field(default_factory=State)
    columns: dict[str, list[str | int | bool]] = field(
        default_factory=lambda: {column.name: [] for column in fields(State)}
    )

    def say(self, word: str, **changes: object) -> None:
        """Add a word; `changes` are what it changes in the state."""
        state = self.state
        state.is_verb, state.induction = False, "none"
        for name, value in changes.items():
            setattr(state, name, value)
        self.words.append(word)
        for name, values in self.columns.items():
            values.append(getattr(state, name))

    def cut(self, n_words: int, state: State) -> None:
        """Take back every word after the first `n_words`; `state` is what held there."""
        self.state = state
        del self.words[n_words:]
        for values in self.columns.values():
            del values[n_words:]
