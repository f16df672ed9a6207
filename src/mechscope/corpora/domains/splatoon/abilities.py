"""The abilities of gear: 14 families that stack, and 12 that fill a whole main slot of one fixed gear piece."""

from __future__ import annotations

from mechscope.core import unknown_name

__all__ = [
    "FAMILIES",
    "GEAR_PIECES",
    "MAIN_ONLY",
    "MAIN_ONLY_PIECE",
    "SHORT_NAMES",
    "main_only_of",
    "require_family",
]

SHORT_NAMES: dict[str, str] = {
    "ink_recovery_up": "IRU",
    "ink_resistance_up": "INKR",
    "ink_saver_main": "ISM",
    "ink_saver_sub": "ISS",
    "intensify_action": "IA",
    "quick_respawn": "QR",
    "quick_super_jump": "QSJ",
    "run_speed_up": "RSU",
    "special_charge_up": "SCU",
    "special_power_up": "SPU",
    "special_saver": "SS",
    "sub_power_up": "SubPU",
    "sub_resistance_up": "SRU",
    "swim_speed_up": "SSU",
}

FAMILIES: tuple[str, ...] = tuple(SHORT_NAMES)
"""The 14 stackable families, in the order of their tokens."""

GEAR_PIECES: tuple[str, ...] = ("head", "clothes", "shoes")

MAIN_ONLY_PIECE: dict[str, str] = {
    "comeback": "head",
    "last_ditch_effort": "head",
    "opening_gambit": "head",
    "tenacity": "head",
    "ability_doubler": "clothes",
    "haunt": "clothes",
    "ninja_squid": "clothes",
    "respawn_punisher": "clothes",
    "thermal_ink": "clothes",
    "drop_roller": "shoes",
    "object_shredder": "shoes",
    "stealth_jump": "shoes",
}
"""Main-only ability -> the one gear piece that can carry it."""

MAIN_ONLY: tuple[str, ...] = tuple(MAIN_ONLY_PIECE)


def main_only_of(piece: str) -> tuple[str, ...]:
    """The main-only abilities that a gear piece can carry."""
    return tuple(name for name, where in MAIN_ONLY_PIECE.items() if where == piece)


def require_family(name: str) -> str:
    """A family by its full or short name ("SCU"). Raises NotFoundError with the nearest name."""
    by_short = {short.lower(): family for family, short in SHORT_NAMES.items()}
    found = by_short.get(name.lower(), name)
    if found not in SHORT_NAMES:
        raise unknown_name("ability family", name, [*SHORT_NAMES, *SHORT_NAMES.values()])
    return found
