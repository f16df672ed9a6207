"""The words of the agreement language: what each one means, and which nouns are held out of which constructions.

Every topical word belongs to one topic only, so that the first of them fixes the topic of a text. A noun form
carries its number, a verb form its tense and number. No word has two readings, except that the plural of a present
verb is also its bare form after `will`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ADVERBS",
    "ALL_NOUNS",
    "CASUAL_DEGREES",
    "CONNECTIVES",
    "DETERMINERS",
    "FORMAL_DEGREES",
    "GENERAL_ADJECTIVES",
    "GIVEN_NAMES",
    "PREPOSITIONS",
    "RELATIVE_VERBS",
    "SENTIMENTS",
    "SPECIAL_TOKENS",
    "SURNAMES",
    "TENSES",
    "TIME_ADVERBS",
    "TOPICS",
    "TOPIC_NAMES",
    "WORDS",
    "HeldOut",
    "Noun",
    "Number",
    "RelativeVerb",
    "Sentiment",
    "Tense",
    "Topic",
    "Verb",
]

Number = Literal["singular", "plural"]
Tense = Literal["present", "past", "future"]
Sentiment = Literal["positive", "negative", "neutral"]
HeldOut = Literal["no", "bare", "relative"]

TENSES: tuple[Tense, ...] = ("present", "past", "future")
SENTIMENTS: tuple[Sentiment, ...] = ("positive", "negative", "neutral")


@dataclass(frozen=True)
class Noun:
    """One noun.

    Attributes:
        held_out: "no" (every construction), "bare" (head of a main clause only without distractors) or "relative"
            (never head of a main clause: only an object, a distractor, the subject of a relative clause).
    """

    singular: str
    plural: str
    held_out: HeldOut = "no"

    def form(self, number: Number) -> str:
        """The word for one or for several."""
        return self.singular if number == "singular" else self.plural


@dataclass(frozen=True)
class Verb:
    """A verb of a main clause: `base` (plural present, and after `will`), `third` (singular present), `ing`."""

    base: str
    third: str
    ing: str

    def present(self, number: Number) -> str:
        """The present form that agrees with a subject."""
        return self.third if number == "singular" else self.base


@dataclass(frozen=True)
class RelativeVerb:
    """A verb of relative clauses, the same in every topic; its past has one form for both numbers."""

    base: str
    third: str
    past: str

    def form(self, tense: Tense, number: Number) -> str:
        """The form in a relative clause: past in a past sentence, else present that agrees with its subject."""
        if tense == "past":
            return self.past
        return self.third if number == "singular" else self.base


@dataclass(frozen=True)
class Topic:
    """One topic: its people (subjects), its things (objects, distractors), its verbs and evaluating adjectives."""

    name: str
    people: tuple[Noun, ...]
    things: tuple[Noun, ...]
    verbs: tuple[Verb, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


def _nouns(text: str, held_out: HeldOut = "no") -> tuple[Noun, ...]:
    pairs = [word.split("/") if "/" in word else [word, f"{word}s"] for word in text.split()]
    return tuple(Noun(singular, plural, held_out) for singular, plural in pairs)


def _people(text: str, *, bare: str, relative: str) -> tuple[Noun, ...]:
    return (*_nouns(text), *_nouns(bare, "bare"), *_nouns(relative, "relative"))


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(*word.split("/")) for word in text.split())


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOPICS: tuple[Topic, ...] = (
    Topic(
        "kitchen",
        _people("cook baker waiter butcher brewer grocer diner taster", bare="maid miller", relative="guest steward"),
        _nouns("oven plate spoon bowl kettle pan"),
        _verbs("wash/washes/washing stir/stirs/stirring carry/carries/carrying clean/cleans/cleaning"),
        _words("tasty fresh crisp"),
        _words("rotten burnt greasy"),
    ),
    Topic(
        "sea",
        _people(
            "sailor captain diver fisher pilot rower swimmer pirate", bare="surfer admiral", relative="mariner whaler"
        ),
        _nouns("boat net anchor wave oar rope"),
        _verbs("pull/pulls/pulling steer/steers/steering mend/mends/mending watch/watches/watching"),
        _words("calm breezy sparkling"),
        _words("stormy wrecked freezing"),
    ),
    Topic(
        "school",
        _people(
            "teacher pupil tutor student scholar janitor coach/coaches clerk",
            bare="dean monitor",
            relative="rector novice",
        ),
        _nouns("book desk pen map lesson chart"),
        _verbs("read/reads/reading study/studies/studying mark/marks/marking copy/copies/copying"),
        _words("clever bright eager"),
        _words("lazy dull noisy"),
    ),
    Topic(
        "music",
        _people(
            "singer drummer pianist fiddler composer dancer piper bugler",
            bare="cellist tenor",
            relative="harpist lutist",
        ),
        _nouns("song drum violin flute melody/melodies bell"),
        _verbs("play/plays/playing practise/practises/practising hum/hums/humming record/records/recording"),
        _words("lively tuneful graceful"),
        _words("shrill gloomy clumsy"),
    ),
    Topic(
        "garden",
        _people(
            "gardener farmer keeper planter digger picker neighbour visitor",
            bare="florist ranger",
            relative="beekeeper mower",
        ),
        _nouns("rose tree hedge spade fence bush/bushes"),
        _verbs("plant/plants/planting water/waters/watering trim/trims/trimming prune/prunes/pruning"),
        _words("sunny leafy fragrant"),
        _words("muddy withered weedy"),
    ),
)
TOPIC_NAMES = tuple(topic.name for topic in TOPICS)
ALL_NOUNS = tuple(noun for topic in TOPICS for noun in (*topic.people, *topic.things))

GENERAL_ADJECTIVES: dict[Sentiment, tuple[str, ...]] = {
    "positive": _words("good happy pleasant splendid"),
    "negative": _words("bad sad awful dreadful"),
    "neutral": _words("old young tall quiet usual plain"),
}
ADVERBS: dict[Sentiment, tuple[str, ...]] = {
    "positive": _words("happily gladly gently well"),
    "negative": _words("angrily badly sadly poorly"),
    "neutral": _words("often slowly together again"),
}
TIME_ADVERBS: dict[Tense, tuple[str, ...]] = {
    "present": _words("today now nowadays"),
    "past": _words("yesterday earlier formerly"),
    "future": _words("tomorrow soon later"),
}
RELATIVE_VERBS = tuple(
    RelativeVerb(*word.split("/"))
    for word in _words("like/likes/liked see/sees/saw help/helps/helped know/knows/knew follow/follows/followed")
)
DETERMINERS: dict[Number, tuple[str, ...]] = {"singular": _words("a every this"), "plural": _words("these two many")}
CASUAL_DEGREES = _words("so really")
FORMAL_DEGREES = _words("rather quite")
PREPOSITIONS = _words("near beside behind with above from")
CONNECTIVES = _words("and because while")
GIVEN_NAMES = tuple(
    head + tail for head in _words("zor bel kav mip tul fen dro wix") for tail in _words("a o in el us")
)
SURNAMES = tuple(
    head + tail for head in _words("grun plak shev tord mung quil brax flim") for tail in _words("ard ett ock iss und")
)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
_FUNCTION_WORDS = _words("the that who is are was were will be . ! ,")


def _all_words() -> tuple[str, ...]:
    """Every word once, special tokens first: the place in this tuple is the token id."""
    words: list[str] = [*SPECIAL_TOKENS, *_FUNCTION_WORDS, *PREPOSITIONS, *CONNECTIVES]
    words += [*CASUAL_DEGREES, *FORMAL_DEGREES]
    for by_kind in (DETERMINERS, TIME_ADVERBS, GENERAL_ADJECTIVES, ADVERBS):
        words += [word for group in by_kind.values() for word in group]
    words += [form for verb in RELATIVE_VERBS for form in (verb.base, verb.third, verb.past)]
    for topic in TOPICS:
        words += [form for noun in (*topic.people, *topic.things) for form in (noun.singular, noun.plural)]
        words += [form for verb in topic.verbs for form in (verb.base, verb.third, verb.ing)]
        words += [*topic.positive, *topic.negative]
    return (*words, *GIVEN_NAMES, *SURNAMES)


WORDS: tuple[str, ...] = _all_words()
