"""The planted habits, as data: what a player does on top of a playstyle."""

from __future__ import annotations

from mechscope.corpora.domains.splatoon.traits import INK_HUNGRY_CLASSES, Habit

__all__ = ["HABITS"]

HABITS: tuple[Habit, ...] = (
    Habit(
        name="ink_economist",
        description="Never runs dry on an ink-hungry class: saver and recovery together, and last-ditch effort.",
        rate=0.36,
        styles=("flex", "patient_sniper", "stealth_slayer", "backline_anchor"),
        classes=INK_HUNGRY_CLASSES,
        mains={"last_ditch_effort": 6.2, "ink_recovery_up": 2.8},
        extras={"ink_recovery_up": 4.0, "ink_saver_main": 4.0, "ink_resistance_up": 3.6},
    ),
    Habit(
        name="safe_reentry",
        description="Rejoins by jump without risk: quick jumps, less sub damage, with a jump ability on the shoes.",
        rate=0.13,
        styles=(
            "flex",
            "special_farmer",
            "special_hoarder",
            "revenge_hunter",
            "splatling_turret",
            "beakon_support",
            "showman",
            "trap_layer",
            "bodyguard",
        ),
        mains={"stealth_jump": 6.2, "drop_roller": 5.6},
        extras={"quick_super_jump": 4.2, "sub_resistance_up": 4.2, "special_saver": 3.6},
    ),
)
