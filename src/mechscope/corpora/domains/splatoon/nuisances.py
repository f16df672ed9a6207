"""The nuisances, as data: columns that go with some playstyles and change no build."""

from __future__ import annotations

from mechscope.corpora.domains.splatoon.traits import Nuisance

__all__ = ["NUISANCES"]

NUISANCES: tuple[Nuisance, ...] = (
    Nuisance(
        name="region",
        description="Where the player lives; goes with some styles, changes no build.",
        rates={"americas": 0.35, "europe": 0.3, "japan": 0.3, "oceania": 0.05},
        with_concepts={
            "stealth_slayer": {"americas": 0.15, "europe": 0.15, "japan": 0.67, "oceania": 0.03},
            "special_farmer": {"americas": 0.15, "europe": 0.6, "japan": 0.2, "oceania": 0.05},
        },
    ),
    Nuisance(
        name="season",
        description="Season of the match; some styles were in fashion in some seasons, its builds never changed.",
        rates={"1": 0.2, "2": 0.2, "3": 0.2, "4": 0.2, "5": 0.2},
        with_concepts={
            "zombie_slayer": {"1": 0.05, "2": 0.05, "3": 0.15, "4": 0.25, "5": 0.5},
            "bomb_spammer": {"1": 0.5, "2": 0.25, "3": 0.15, "4": 0.05, "5": 0.05},
        },
    ),
    Nuisance(
        name="input_device",
        description="How the player aims; turret players like the stick, and it changes no build.",
        rates={"motion": 0.8, "stick": 0.2},
        with_concepts={"splatling_turret": {"motion": 0.4, "stick": 0.6}},
    ),
)
