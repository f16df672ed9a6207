"""The kinds of trait that the build generator plants, and the weapon groups that several of them speak of.

playstyles.py   the planted styles, each with its decoy behind it
decoys.py       the decoys
habits.py       what a player does on top of a style
nuisances.py    columns that go with some styles and change no build

Every effect is a log-weight that is added to the choice of a main slot (families and main-only abilities) or of the
sub slots (families), so an effect of 2.3 makes a choice ten times as likely against the others. Each ability is
wanted by at least two traits, so that no single token stands for a trait: a trait is a combination, several only
together with the weapon's class or kit. Decoys want nearly the same abilities as a planted concept, in the other
context, and complete the build differently.

The names and signatures follow the archetypes that players speak of; the numbers are ours, and so is their truth.
"""

from __future__ import annotations

from mechscope.core import Spec

__all__ = [
    "CHARGED_SPECIALS",
    "INK_HUNGRY_CLASSES",
    "LETHAL_SUBS",
    "SCOUT_SUBS",
    "Habit",
    "Nuisance",
    "Playstyle",
]

CHARGED_SPECIALS = (
    "Booyah Bomb",
    "Crab Tank",
    "Ink Storm",
    "Inkjet",
    "Killer Wail 5.1",
    "Kraken Royale",
    "Super Chump",
    "Tacticooler",
    "Trizooka",
)
LETHAL_SUBS = ("Autobomb", "Burst Bomb", "Curling Bomb", "Fizzy Bomb", "Splat Bomb", "Suction Bomb", "Torpedo")
SCOUT_SUBS = ("Angle Shooter", "Ink Mine", "Point Sensor", "Sprinkler", "Squid Beakon", "Toxic Mist")
INK_HUNGRY_CLASSES = ("Blasters", "Chargers", "Sloshers", "Splatlings")


class Playstyle(Spec):
    """One way to play; a build has at most one.

    Attributes:
        name: also the name of its concept column.
        description: what it is, in words.
        share: weight of the style where its weapons fit fully (FLEX has 1).
        classes, subs, specials: where it fits; empty means everywhere. Outside, `elsewhere` multiplies the share.
        not_classes, not_subs, not_specials: where it does not fit.
        elsewhere: 0 makes the context part of the concept.
        mains: ability -> log-weight in the main slots.
        extras: family -> log-weight in the sub slots.
        is_concept: False for decoys.
    """

    name: str
    description: str
    share: float
    classes: tuple[str, ...] = ()
    subs: tuple[str, ...] = ()
    specials: tuple[str, ...] = ()
    not_classes: tuple[str, ...] = ()
    not_subs: tuple[str, ...] = ()
    not_specials: tuple[str, ...] = ()
    elsewhere: float = 0.25
    mains: dict[str, float]
    extras: dict[str, float]
    is_concept: bool = True


class Habit(Spec):
    """Something that a player does on top of a playstyle; habits combine freely.

    `rate` holds on the weapons and playstyles named (empty: all), and is 0 elsewhere.
    """

    name: str
    description: str
    rate: float
    styles: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    subs: tuple[str, ...] = ()
    specials: tuple[str, ...] = ()
    mains: dict[str, float]
    extras: dict[str, float]


class Nuisance(Spec):
    """A column that goes with some concepts and changes nothing about a build.

    `rates` gives the chance of each value; rows of a listed concept use the rates of `with_concepts`.
    """

    name: str
    description: str
    rates: dict[str, float]
    with_concepts: dict[str, dict[str, float]]
