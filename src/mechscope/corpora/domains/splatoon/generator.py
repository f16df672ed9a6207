"""Draws legal builds with planted traits.

    weapon    ~ popularity
    playstyle ~ its share on that weapon (or flex)
    habits    ~ their rates, given weapon and playstyle
    taste     ~ normal(0, TASTE_SCALE), one value a family and build
    mains: each gear piece draws from the families and its own main-only abilities,
           with log-weights base + weapon + kit + playstyle + habits + taste
    subs:  nine draws from the families, with log-weights likewise
    nuisances ~ their rates given the traits; nothing above depends on them
    removed   : some of the 12 slots are emptied; what is left is what the model is shown

All of it is vectorised over rows; memory is about 1 kB a row while it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import numpy_generator
from mechscope.corpora.domains.splatoon.abilities import FAMILIES, GEAR_PIECES, MAIN_ONLY, main_only_of
from mechscope.corpora.domains.splatoon.effects import weapon_effects, weapon_popularity
from mechscope.corpora.domains.splatoon.habits import HABITS
from mechscope.corpora.domains.splatoon.nuisances import NUISANCES
from mechscope.corpora.domains.splatoon.playstyles import FLEX, PLAYSTYLES
from mechscope.corpora.domains.splatoon.points import MAIN_POINTS, N_MAINS, N_SUBS, SUB_POINTS
from mechscope.corpora.domains.splatoon.traits import Habit, Nuisance, Playstyle
from mechscope.corpora.domains.splatoon.weapons import Weapon, weapons

__all__ = ["Builds", "draw_builds", "empty_slots", "style_shares"]

STYLES: tuple[Playstyle, ...] = (FLEX, *PLAYSTYLES)
CHOICES: tuple[str, ...] = (*FAMILIES, *MAIN_ONLY)
MAIN_ONLY_BASE = -0.5
TASTE_SCALE = 0.3


@dataclass(frozen=True)
class Builds:
    """Builds in arrays. `mains` holds indices into CHOICES, by gear piece; -1 is an empty slot.

    Attributes:
        weapon: int64 [n_rows], index into `weapons()`.
        style: int64 [n_rows], index into STYLES.
        habits: bool [n_rows, n_habits].
        mains: int64 [n_rows, 3].
        subs: int64 [n_rows, 9], indices into FAMILIES; -1 is an empty slot.
        nuisances: name -> values as text [n_rows].
    """

    weapon: np.ndarray
    style: np.ndarray
    habits: np.ndarray
    mains: np.ndarray
    subs: np.ndarray
    nuisances: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.weapon)

    def concepts(self) -> dict[str, np.ndarray]:
        """Concept name -> bool [n_rows]: the playstyles that are no decoys, and the habits."""
        found = {s.name: self.style == index for index, s in enumerate(STYLES) if s.is_concept}
        return found | {habit.name: self.habits[:, index] for index, habit in enumerate(HABITS)}

    def points(self) -> np.ndarray:
        """Ability points of each family, int64 [n_rows, 14]."""
        families = range(len(FAMILIES))
        mains = np.stack([(self.mains == family).sum(1) for family in families], axis=1)
        subs = np.stack([(self.subs == family).sum(1) for family in families], axis=1)
        total: np.ndarray = MAIN_POINTS * mains + SUB_POINTS * subs
        return total

    def main_only(self) -> np.ndarray:
        """Which main-only abilities are there, bool [n_rows, 12]."""
        start = len(FAMILIES)
        return np.stack([(self.mains == start + index).any(1) for index in range(len(MAIN_ONLY))], axis=1)


def draw_builds(n_rows: int, *, seed: int) -> Builds:
    """`n_rows` complete legal builds, deterministic from the seed."""
    weapon = numpy_generator(seed, "weapon").choice(len(weapons()), n_rows, p=weapon_popularity())
    style = _draw(style_shares()[weapon], numpy_generator(seed, "style"))
    habits = _habit_rates()[style, weapon] > numpy_generator(seed, "habits").random((n_rows, len(HABITS)))
    main_weights, sub_weights = _log_weights(weapon, style, habits, numpy_generator(seed, "taste"))
    traits = {s.name: style == index for index, s in enumerate(STYLES)}
    return Builds(
        weapon=weapon.astype(np.int64),
        style=style,
        habits=habits,
        mains=_draw_mains(main_weights, numpy_generator(seed, "mains")),
        subs=_draw_subs(sub_weights, numpy_generator(seed, "subs")),
        nuisances={n.name: _draw_nuisance(n, traits, n_rows, seed) for n in NUISANCES},
    )


def empty_slots(builds: Builds, n_empty: np.ndarray, generator: np.random.Generator) -> Builds:
    """The builds with `n_empty[row]` of their 12 slots emptied, chosen evenly."""
    order = generator.random((len(builds), N_MAINS + N_SUBS)).argsort(axis=1).argsort(axis=1)
    is_emptied = order < n_empty[:, None]
    return Builds(
        weapon=builds.weapon,
        style=builds.style,
        habits=builds.habits,
        mains=np.where(is_emptied[:, :N_MAINS], -1, builds.mains),
        subs=np.where(is_emptied[:, N_MAINS:], -1, builds.subs),
        nuisances=builds.nuisances,
    )


def style_shares() -> np.ndarray:
    """Chance of each playstyle on each weapon, float64 [130, n_styles]; rows sum to 1."""
    share = np.array([[style.share * _fit(style, weapon) for style in STYLES] for weapon in weapons()])
    rates: np.ndarray = share / share.sum(axis=1, keepdims=True)
    return rates


def _fit(style: Playstyle, weapon: Weapon) -> float:
    is_fit = (
        _is_among(weapon, style)
        and weapon.weapon_class not in style.not_classes
        and weapon.special not in style.not_specials
        and weapon.sub not in style.not_subs
    )
    return 1.0 if is_fit else style.elsewhere


def _is_among(weapon: Weapon, trait: Playstyle | Habit) -> bool:
    pairs = ((weapon.weapon_class, trait.classes), (weapon.sub, trait.subs), (weapon.special, trait.specials))
    return all(not allowed or value in allowed for value, allowed in pairs)


def _habit_rates() -> np.ndarray:
    """Float64 [n_styles, 130, n_habits]."""
    rates = np.zeros((len(STYLES), len(weapons()), len(HABITS)))
    for h, habit in enumerate(HABITS):
        on_style = np.array([not habit.styles or style.name in habit.styles for style in STYLES])
        on_weapon = np.array([_is_among(weapon, habit) for weapon in weapons()])
        rates[:, :, h] = habit.rate * on_style[:, None] * on_weapon[None, :]
    return rates


def _log_weights(
    weapon: np.ndarray, style: np.ndarray, habits: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    n_families = len(FAMILIES)
    shared = weapon_effects()[weapon] + TASTE_SCALE * generator.standard_normal((len(weapon), n_families))
    traits: list[Playstyle | Habit] = [*STYLES, *HABITS]
    main_table, sub_table = _table([t.mains for t in traits]), _table([t.extras for t in traits])
    main_weights, sub_weights = main_table[style], sub_table[style]
    for h in range(len(HABITS)):
        main_weights = np.maximum(main_weights, habits[:, h, None] * main_table[len(STYLES) + h])
        sub_weights = np.maximum(sub_weights, habits[:, h, None] * sub_table[len(STYLES) + h])
    main_weights[:, :n_families] += shared
    main_weights[:, n_families:] += MAIN_ONLY_BASE
    return main_weights, sub_weights[:, :n_families] + shared


def _table(rows: list[dict[str, float]]) -> np.ndarray:
    table = np.zeros((len(rows), len(CHOICES)))
    for row, effects in enumerate(rows):
        for name, effect in effects.items():
            table[row, CHOICES.index(name)] = effect
    return table


def _draw_mains(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    drawn = np.empty((len(weights), N_MAINS), np.int64)
    for at, piece in enumerate(GEAR_PIECES):
        allowed = [CHOICES.index(name) for name in (*FAMILIES, *main_only_of(piece))]
        drawn[:, at] = np.array(allowed)[_draw(_softmax(weights[:, allowed]), generator)]
    return drawn


def _draw_subs(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Nine subs a build by systematic sampling: a family of share p gets 9 p subs, rounded up or down at random.

    Players spread their subs on purpose; nine independent draws would be far more uneven than any real build.
    """
    n_rows, n_families = weights.shape
    order = generator.random((n_rows, n_families)).argsort(axis=1)
    upto = np.cumsum(np.take_along_axis(N_SUBS * _softmax(weights), order, axis=1), axis=1)
    upto[:, -1] = N_SUBS
    steps = np.floor(upto + generator.random((n_rows, 1)))
    counts = np.diff(steps, axis=1, prepend=0).astype(np.int64)
    drawn: np.ndarray = np.repeat(order.ravel(), counts.ravel()).reshape(n_rows, N_SUBS)
    return drawn


def _draw_nuisance(nuisance: Nuisance, traits: dict[str, np.ndarray], n_rows: int, seed: int) -> np.ndarray:
    values = list(nuisance.rates)
    rates = np.tile(list(nuisance.rates.values()), (n_rows, 1))
    for concept, changed in nuisance.with_concepts.items():
        rates[traits[concept]] = [changed[value] for value in values]
    drawn: np.ndarray = np.array(values)[_draw(rates, numpy_generator(seed, "nuisance", nuisance.name))]
    return drawn


def _draw(rates: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    cumulative = np.cumsum(rates, axis=1)
    at = generator.random((len(rates), 1)) * cumulative[:, -1:]
    drawn: np.ndarray = (at >= cumulative).sum(axis=1)
    return drawn


def _softmax(weights: np.ndarray) -> np.ndarray:
    shifted = np.exp(weights - weights.max(axis=1, keepdims=True))
    rates: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return rates
