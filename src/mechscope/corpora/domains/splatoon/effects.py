"""What weapons and their kits do to builds, whatever the playstyle, as log-weights."""

from __future__ import annotations

from functools import cache

import numpy as np

from mechscope.core import numpy_generator
from mechscope.corpora.domains.splatoon.abilities import FAMILIES
from mechscope.corpora.domains.splatoon.habits import HABITS
from mechscope.corpora.domains.splatoon.nuisances import NUISANCES
from mechscope.corpora.domains.splatoon.playstyles import PLAYSTYLES
from mechscope.corpora.domains.splatoon.traits import CHARGED_SPECIALS, LETHAL_SUBS, SCOUT_SUBS
from mechscope.corpora.domains.splatoon.weapons import weapons

__all__ = ["CLASS_EFFECTS", "SPECIAL_EFFECTS", "SUB_EFFECTS", "planted_facts", "weapon_effects", "weapon_popularity"]

WORLD_SEED = 20220909
"""Fixes what is true of the planted world for every corpus: popularity and the weapons' own effects."""

CLASS_EFFECTS: dict[str, dict[str, float]] = {
    "Blasters": {"intensify_action": 1.1, "ink_saver_main": 0.8},
    "Brellas": {"ink_saver_main": 1.0, "special_saver": 0.8},
    "Brushes": {"quick_respawn": 1.0, "swim_speed_up": 1.0},
    "Chargers": {"ink_saver_main": 1.1, "ink_recovery_up": 0.8},
    "Dualies": {"ink_saver_main": 0.9, "run_speed_up": 1.0},
    "Rollers": {"swim_speed_up": 1.2, "ink_resistance_up": 0.8},
    "Shooters": {"run_speed_up": 0.9, "quick_respawn": 1.0},
    "Sloshers": {"ink_recovery_up": 1.1, "intensify_action": 0.8},
    "Splatanas": {"swim_speed_up": 1.0, "ink_saver_main": 1.0},
    "Splatlings": {"run_speed_up": 1.2, "ink_resistance_up": 0.8},
    "Stringers": {"ink_resistance_up": 1.0, "ink_recovery_up": 1.0},
}

SUB_EFFECTS: dict[str, dict[str, float]] = {
    **{name: {"ink_saver_sub": 1.1} for name in LETHAL_SUBS},
    **{name: {"sub_power_up": 1.1} for name in SCOUT_SUBS},
    "Squid Beakon": {"sub_power_up": 1.4},
    "Splash Wall": {"ink_saver_sub": 0.9, "sub_resistance_up": 0.9},
    "Burst Bomb": {"ink_saver_sub": 1.4},
    "Ink Mine": {"quick_super_jump": 1.1},
}

SPECIAL_EFFECTS: dict[str, dict[str, float]] = {
    **{name: {"special_charge_up": 1.1} for name in CHARGED_SPECIALS},
    "Big Bubbler": {"special_power_up": 1.1},
    "Ink Storm": {"special_charge_up": 1.4},
    "Kraken Royale": {"special_saver": 1.2},
    "Reefslider": {"special_power_up": 1.1},
    "Splattercolor Screen": {"special_power_up": 0.9},
    "Tacticooler": {"special_power_up": 1.4},
    "Tenta Missiles": {"special_charge_up": 1.1, "sub_resistance_up": 0.9},
    "Triple Splashdown": {"quick_super_jump": 1.1},
    "Ultra Stamp": {"special_saver": 1.0},
    "Wave Breaker": {"special_power_up": 1.0},
    "Zipcaster": {"special_saver": 1.2},
}

OWN_EFFECT_SCALE = 0.6


@cache
def weapon_popularity() -> np.ndarray:
    """Share of the rows that each of the 130 kits gets: Zipf with exponent 0.6 in a fixed random order."""
    ranks = numpy_generator(WORLD_SEED, "popularity").permutation(len(weapons())) + 1
    weight = ranks**-0.6
    share: np.ndarray = weight / weight.sum()
    return share


def weapon_effects() -> np.ndarray:
    """Log-weights float64 [130, 14] of class, sub, special, and of the weapon itself (two families a weapon)."""
    generator = numpy_generator(WORLD_SEED, "own effects")
    table = np.zeros((len(weapons()), len(FAMILIES)))
    for index, weapon in enumerate(weapons()):
        kit = (CLASS_EFFECTS[weapon.weapon_class], SUB_EFFECTS[weapon.sub], SPECIAL_EFFECTS.get(weapon.special, {}))
        for effects in kit:
            for family, effect in effects.items():
                table[index, FAMILIES.index(family)] += effect
        table[index, generator.choice(len(FAMILIES), 2, replace=False)] += OWN_EFFECT_SCALE
    return table


def planted_facts() -> dict[str, object]:
    """Everything that is planted, as JSON types, for the metadata of a corpus."""
    table = weapon_effects()
    by_weapon = {
        weapon.name: {
            family: round(float(table[index, at]), 6) for at, family in enumerate(FAMILIES) if table[index, at]
        }
        for index, weapon in enumerate(weapons())
    }
    return {
        "world_seed": WORLD_SEED,
        "unit": "log-weight added to the choice of a slot",
        "playstyles": [style.to_json() for style in PLAYSTYLES],
        "habits": [habit.to_json() for habit in HABITS],
        "nuisances": [nuisance.to_json() for nuisance in NUISANCES],
        "class_effects": CLASS_EFFECTS,
        "sub_effects": SUB_EFFECTS,
        "special_effects": SPECIAL_EFFECTS,
        "weapon_effects": by_weapon,
    }
