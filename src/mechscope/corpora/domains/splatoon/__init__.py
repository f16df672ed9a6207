"""Gear builds of Splatoon 3: vocabulary, ability points, legality, weapons, and a generator with planted traits."""

from mechscope.corpora.domains.splatoon.abilities import FAMILIES, GEAR_PIECES, MAIN_ONLY, MAIN_ONLY_PIECE, SHORT_NAMES
from mechscope.corpora.domains.splatoon.builds import Build, faults, is_legal, require_legal
from mechscope.corpora.domains.splatoon.generator import Builds, draw_builds, empty_slots
from mechscope.corpora.domains.splatoon.points import BUDGET, POSSIBLE_POINTS, THRESHOLDS, Slots, slots_of
from mechscope.corpora.domains.splatoon.vocabulary import (
    NULL_ID,
    PAD_ID,
    TOKEN_FAMILIES,
    VOCABULARY,
    decode_rungs,
    encode,
    is_legal_tokens,
)
from mechscope.corpora.domains.splatoon.weapons import Weapon, weapon_by_name, weapon_vocabulary, weapons

__all__ = [
    "BUDGET",
    "FAMILIES",
    "GEAR_PIECES",
    "MAIN_ONLY",
    "MAIN_ONLY_PIECE",
    "NULL_ID",
    "PAD_ID",
    "POSSIBLE_POINTS",
    "SHORT_NAMES",
    "THRESHOLDS",
    "TOKEN_FAMILIES",
    "VOCABULARY",
    "Build",
    "Builds",
    "Slots",
    "Weapon",
    "decode_rungs",
    "draw_builds",
    "empty_slots",
    "encode",
    "faults",
    "is_legal",
    "is_legal_tokens",
    "require_legal",
    "slots_of",
    "weapon_by_name",
    "weapon_vocabulary",
    "weapons",
]
