"""Lexical swaps in a tree: another topic, sentiment, number, tense or number of distractors, everything else kept.

Words are swapped by their place in the lexicon (the third verb of one topic for the third of another), so that a swap
there and back gives the same text. One case cannot: six neutral adjectives stand against seven positive ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mechscope.core import UsageError
from mechscope.corpora.domains.agreement import lexicon as words
from mechscope.corpora.domains.agreement.lexicon import Noun, Number, Sentiment, Tense, Topic, Verb
from mechscope.corpora.domains.agreement.trees import Clause, Name, NounPhrase, Phrase, Sentence, Text

__all__ = [
    "meaning_faults",
    "sentiments_of",
    "topics_of",
    "with_distractors",
    "with_first_clause",
    "with_number",
    "with_sentiment",
    "with_tense",
    "with_topic",
]

OTHER_TOPIC = {topic.name: topic for topic in words.TOPICS}
TOPIC_OF_NOUN = {noun: topic for topic in words.TOPICS for noun in (*topic.people, *topic.things)}
TOPIC_OF_VERB = {verb: topic for topic in words.TOPICS for verb in topic.verbs}
TOPIC_OF_ADJECTIVE = {word: topic for topic in words.TOPICS for word in (*topic.positive, *topic.negative)}
SENTIMENT_OF: dict[str, Sentiment] = {
    **{word: sentiment for sentiment, group in words.GENERAL_ADJECTIVES.items() for word in group},
    **{word: sentiment for sentiment, group in words.ADVERBS.items() for word in group},
    **{word: "positive" for topic in words.TOPICS for word in topic.positive},
    **{word: "negative" for topic in words.TOPICS for word in topic.negative},
}


def topics_of(text: Text) -> list[str]:
    """The topics that the words of a text show, in the order of the lexicon; one in a legal text, or none."""
    nouns = [phrase.noun for phrase in _noun_phrases(text)]
    found = {TOPIC_OF_NOUN[noun].name for noun in nouns}
    found |= {TOPIC_OF_VERB[clause.verb].name for clause in text.clauses if clause.verb is not None}
    found |= {TOPIC_OF_ADJECTIVE[word].name for word in _evaluations(text) if word in TOPIC_OF_ADJECTIVE}
    return [name for name in words.TOPIC_NAMES if name in found]


def sentiments_of(text: Text) -> list[Sentiment]:
    """The sentiments that the adjectives and adverbs of a text show; one in a legal text, or none."""
    found = {SENTIMENT_OF[word] for word in _evaluations(text)}
    return [sentiment for sentiment in words.SENTIMENTS if sentiment in found]


def meaning_faults(text: Text) -> list[str]:
    """That a text has two topics or two sentiments, in words; empty when it has not."""
    topics, sentiments = topics_of(text), sentiments_of(text)
    wrong = [f"it has words of the topics {' and '.join(topics)}: one topic a text"] if len(topics) > 1 else []
    if len(sentiments) > 1:
        wrong.append(f"it has {' and '.join(sentiments)} words: one sentiment a text")
    return wrong


def with_topic(text: Text, name: str) -> Text:
    """The text with every word of a topic swapped for that of another topic."""
    new = OTHER_TOPIC[name]

    def noun(old: Noun) -> Noun:
        topic = TOPIC_OF_NOUN[old]
        of = (new.people, topic.people) if old in topic.people else (new.things, topic.things)
        return of[0][of[1].index(old)]

    def verb(old: Verb) -> Verb:
        return new.verbs[TOPIC_OF_VERB[old].verbs.index(old)]

    def evaluation(old: str) -> str:
        topic = TOPIC_OF_ADJECTIVE.get(old)
        return old if topic is None else _adjectives(SENTIMENT_OF[old], new)[_index(old, topic)]

    return _mapped(text, noun=noun, verb=verb, evaluation=evaluation)


def with_sentiment(text: Text, sentiment: Sentiment) -> Text:
    """The text with every adjective and adverb swapped for one of that sentiment; the topic is kept.

    One case cannot: where adjectives alone tell the topic, none is left of it once they are neutral.

    Raises UsageError for a text without any.
    """
    if not _evaluations(text):
        raise UsageError(
            "no adjective and no adverb in the text", expected="a word that can carry a sentiment", todo="take another"
        )

    topic_of_text = _topic(text)

    def evaluation(old: str) -> str:
        if any(old in group for group in words.ADVERBS.values()):
            return words.ADVERBS[sentiment][words.ADVERBS[SENTIMENT_OF[old]].index(old)]
        topic = TOPIC_OF_ADJECTIVE.get(old, topic_of_text)
        options = _adjectives(sentiment, topic)
        return options[_adjectives(SENTIMENT_OF[old], topic).index(old) % len(options)]

    return _mapped(text, evaluation=evaluation)


def with_number(text: Text, number: Number) -> Text:
    """The text with the first subject in that number, determiner and verbs agreeing. Raises UsageError for a name."""
    first = text.clauses[0]
    if isinstance(first.subject, Name):
        raise UsageError(
            f"the first subject is the name {first.subject.given} {first.subject.surname}, and names are singular",
            expected="a text whose first subject is a noun",
            todo="take another",
        )
    old, new = words.DETERMINERS[first.subject.number], words.DETERMINERS[number]
    word = first.subject.determiner
    determiner = new[old.index(word)] if word in old else word
    return with_first_clause(text, replace(first, subject=replace(first.subject, number=number, determiner=determiner)))


def with_tense(text: Text, tense: Tense) -> Text:
    """The text with its first time adverb, and so every verb up to the next one, in that tense."""
    first = text.sentences[0]
    place = next(adverbs.index(first.time_adverb) for adverbs in words.TIME_ADVERBS.values()
                 if first.time_adverb in adverbs)  # fmt: skip
    changed = replace(first, time_adverb=words.TIME_ADVERBS[tense][place])
    return Text((changed, *text.sentences[1:]))


def with_distractors(text: Text, n_distractors: int) -> Text:
    """The text with that many distractors after the first subject: the last ones go, or prepositional ones come.

    What comes is the same for every text of a topic (a thing of the topic, in the number of the head, behind `the`).
    """
    first = text.clauses[0]
    kept = first.phrases[:n_distractors]
    added = tuple(_phrase(_topic(text), first.number, at) for at in range(len(kept), n_distractors))
    return with_first_clause(text, replace(first, phrases=(*kept, *added)))


def with_first_clause(text: Text, clause: Clause) -> Text:
    """The text with another first clause."""
    first = text.sentences[0]
    return Text((replace(first, clauses=(clause, *first.clauses[1:])), *text.sentences[1:]))


def _phrase(topic: Topic, number: Number, at: int) -> Phrase:
    thing = NounPhrase("the", "", topic.things[at], number)
    return Phrase("prepositional", words.PREPOSITIONS[at], thing, None)


def _topic(text: Text) -> Topic:
    # A text of names and general words alone has no topic; any may then follow, and the first stands for all.
    found = topics_of(text)
    return OTHER_TOPIC[found[0]] if found else words.TOPICS[0]


def _adjectives(sentiment: Sentiment, topic: Topic) -> tuple[str, ...]:
    topical = {"positive": topic.positive, "negative": topic.negative, "neutral": ()}
    return (*words.GENERAL_ADJECTIVES[sentiment], *topical[sentiment])


def _index(word: str, topic: Topic) -> int:
    return _adjectives(SENTIMENT_OF[word], topic).index(word)


def _noun_phrases(text: Text) -> list[NounPhrase]:
    found = [noun for c in text.clauses for noun in (c.subject, *(p.noun_phrase for p in c.phrases), c.object)]
    return [noun for noun in found if isinstance(noun, NounPhrase)]


def _evaluations(text: Text) -> list[str]:
    found = [phrase.adjective for phrase in _noun_phrases(text)]
    found += [word for clause in text.clauses for word in (clause.adjective, clause.adverb)]
    return [word for word in found if word]


def _same_noun(noun: Noun) -> Noun:
    return noun


def _same_verb(verb: Verb) -> Verb:
    return verb


def _mapped(
    text: Text,
    *,
    evaluation: Callable[[str], str],
    noun: Callable[[Noun], Noun] = _same_noun,
    verb: Callable[[Verb], Verb] = _same_verb,
) -> Text:
    def word(old: str) -> str:
        return evaluation(old) if old else ""

    def phrase(old: NounPhrase) -> NounPhrase:
        return replace(old, noun=noun(old.noun), adjective=word(old.adjective))

    def clause(old: Clause) -> Clause:
        return replace(
            old,
            subject=old.subject if isinstance(old.subject, Name) else phrase(old.subject),
            phrases=tuple(replace(p, noun_phrase=phrase(p.noun_phrase)) for p in old.phrases),
            verb=None if old.verb is None else verb(old.verb),
            object=phrase(old.object) if isinstance(old.object, NounPhrase) else old.object,
            adjective=word(old.adjective),
            adverb=word(old.adverb),
        )

    def sentence(old: Sentence) -> Sentence:
        return replace(old, clauses=tuple(map(clause, old.clauses)))

    return Text(tuple(map(sentence, text.sentences)))
