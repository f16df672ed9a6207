"""The 130 weapon kits: each a class, a sub weapon and a special weapon. Facts of the game, read from package data."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mechscope.core import unknown_name

__all__ = ["Weapon", "weapon_by_name", "weapon_vocabulary", "weapons"]


@dataclass(frozen=True)
class Weapon:
    """One kit. `weapon_id` is the game's id; `weapon_class` is the first word of the table's class heading."""

    weapon_id: int
    name: str
    weapon_class: str
    sub: str
    special: str

    @property
    def token(self) -> str:
        """The key of this weapon in a weapon vocabulary."""
        return f"weapon_id_{self.weapon_id}"


@cache
def weapons() -> tuple[Weapon, ...]:
    """All kits in rising order of game id; the position in this tuple is the weapon's index in the shipped model."""
    text = files(__package__).joinpath("weapons.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    found = [
        Weapon(int(row["weapon_id"]), row["name"], row["class"].split(" (")[0], row["sub"], row["special"])
        for row in rows
    ]
    return tuple(sorted(found, key=lambda weapon: weapon.weapon_id))


def weapon_vocabulary() -> dict[str, int]:
    """`weapon_id_<game id>` -> index."""
    return {weapon.token: index for index, weapon in enumerate(weapons())}


def weapon_by_name(name: str) -> Weapon:
    """A kit by name, `weapon_id_<id>` or game id as text. Raises NotFoundError with the nearest name."""
    for weapon in weapons():
        if name.lower() in {weapon.name.lower(), weapon.token, str(weapon.weapon_id)}:
            return weapon
    raise unknown_name("weapon", name, [weapon.name for weapon in weapons()])
