"""The planted playstyles, as data; `PLAYSTYLES` has each with its decoy behind it."""

from __future__ import annotations

from mechscope.corpora.domains.splatoon.decoys import DECOYS
from mechscope.corpora.domains.splatoon.traits import CHARGED_SPECIALS, LETHAL_SUBS, SCOUT_SUBS, Playstyle

__all__ = ["FLEX", "PLANTED", "PLAYSTYLES"]

FLEX = Playstyle(name="flex", description="No particular style.", share=1.0, mains={}, extras={}, is_concept=False)

PLANTED: tuple[Playstyle, ...] = (
    Playstyle(
        name="zombie_slayer",
        description="Trades splats and is back at once: quick respawn with comeback and stealth jump, at the front.",
        share=0.51,
        classes=("Shooters", "Dualies", "Brushes", "Sloshers", "Blasters", "Splatanas"),
        elsewhere=0.1,
        mains={"comeback": 6.2, "stealth_jump": 6.2, "quick_respawn": 2.8, "special_saver": 2.8},
        extras={
            "quick_respawn": 3.8,
            "special_saver": 3.8,
            "intensify_action": 3.8,
            "swim_speed_up": 3.8,
            "ink_recovery_up": 3.8,
        },
    ),
    Playstyle(
        name="stealth_slayer",
        description="Comes unseen through its own ink: ninja squid and stealth jump paid for with swim speed.",
        share=0.64,
        classes=("Shooters", "Rollers", "Brushes", "Splatanas", "Blasters"),
        elsewhere=0.1,
        mains={"ninja_squid": 6.2, "stealth_jump": 6.2, "swim_speed_up": 2.8, "ink_resistance_up": 2.8},
        extras={
            "swim_speed_up": 3.8,
            "ink_resistance_up": 3.8,
            "quick_super_jump": 3.8,
            "ink_recovery_up": 3.8,
            "sub_resistance_up": 3.8,
        },
    ),
    Playstyle(
        name="backline_anchor",
        description="Holds the back and does not mean to die: respawn punisher, object shredder, ink to shoot on.",
        share=1.88,
        classes=("Chargers", "Splatlings", "Stringers"),
        elsewhere=0.05,
        mains={"respawn_punisher": 6.2, "object_shredder": 6.2, "ink_saver_main": 2.8, "ink_recovery_up": 2.8},
        extras={
            "ink_saver_main": 3.8,
            "ink_recovery_up": 3.8,
            "sub_resistance_up": 3.8,
            "intensify_action": 3.8,
            "sub_power_up": 3.8,
        },
    ),
    Playstyle(
        name="splatling_turret",
        description="Strafes while it fires, on splatlings and brellas alone: run speed and ink resistance.",
        share=5.09,
        classes=("Splatlings", "Brellas"),
        elsewhere=0.0,
        mains={"respawn_punisher": 6.2, "last_ditch_effort": 6.2, "run_speed_up": 2.8, "ink_resistance_up": 2.8},
        extras={
            "run_speed_up": 3.8,
            "ink_resistance_up": 3.8,
            "ink_saver_main": 3.8,
            "sub_resistance_up": 3.8,
            "special_charge_up": 3.8,
        },
    ),
    Playstyle(
        name="beakon_support",
        description="Keeps jump points and scouts up, on scouting sub weapons alone: sub power, comeback.",
        share=0.92,
        subs=SCOUT_SUBS,
        elsewhere=0.0,
        mains={"comeback": 6.2, "thermal_ink": 6.2, "sub_power_up": 2.8, "ink_saver_sub": 2.8},
        extras={
            "sub_power_up": 3.8,
            "ink_saver_sub": 3.8,
            "quick_super_jump": 3.8,
            "ink_recovery_up": 3.8,
            "run_speed_up": 3.8,
        },
    ),
    Playstyle(
        name="special_farmer",
        description="Lives for its special, on weapons whose special is worth charging: charge, saver or tenacity.",
        share=0.74,
        specials=CHARGED_SPECIALS,
        elsewhere=0.0,
        mains={"tenacity": 6.2, "haunt": 6.2, "special_charge_up": 2.8, "special_saver": 2.8},
        extras={
            "special_charge_up": 3.8,
            "special_saver": 3.8,
            "special_power_up": 3.8,
            "ink_saver_sub": 3.8,
            "quick_super_jump": 3.8,
        },
    ),
    Playstyle(
        name="bomb_spammer",
        description="Throws lethal bombs without pause: ink for subs, last-ditch effort, recovery.",
        share=0.83,
        subs=LETHAL_SUBS,
        elsewhere=0.0,
        mains={"last_ditch_effort": 6.2, "drop_roller": 6.2, "ink_saver_sub": 2.8, "sub_power_up": 2.8},
        extras={
            "ink_saver_sub": 3.8,
            "sub_power_up": 3.8,
            "ink_recovery_up": 3.8,
            "ink_saver_main": 3.8,
            "special_power_up": 3.8,
        },
    ),
    Playstyle(
        name="jump_raider",
        description="Super-jumps into the fight and rolls out of the landing: quick jumps, drop roller.",
        share=0.63,
        classes=("Dualies", "Rollers", "Shooters", "Brushes", "Sloshers"),
        elsewhere=0.1,
        mains={
            "opening_gambit": 6.2,
            "drop_roller": 6.2,
            "ninja_squid": 6.2,
            "quick_super_jump": 2.8,
            "swim_speed_up": 2.8,
        },
        extras={
            "quick_super_jump": 3.8,
            "swim_speed_up": 3.8,
            "special_saver": 3.8,
            "run_speed_up": 3.8,
            "sub_power_up": 3.8,
        },
    ),
    Playstyle(
        name="objective_breaker",
        description="Breaks what stands on the objective with a strong special: object shredder, tenacity, power.",
        share=0.72,
        classes=("Shooters", "Rollers", "Sloshers", "Splatanas", "Brellas"),
        elsewhere=0.1,
        mains={"tenacity": 6.2, "object_shredder": 6.2, "special_power_up": 2.8, "special_charge_up": 2.8},
        extras={
            "special_power_up": 3.8,
            "special_charge_up": 3.8,
            "ink_resistance_up": 3.8,
            "sub_power_up": 3.8,
            "quick_respawn": 3.8,
        },
    ),
    Playstyle(
        name="revenge_hunter",
        description="Hunts whoever splatted it: haunt with quick respawn, never a respawn punisher.",
        share=0.61,
        classes=("Shooters", "Brushes", "Dualies", "Blasters", "Stringers"),
        elsewhere=0.1,
        mains={"opening_gambit": 6.2, "haunt": 6.2, "quick_respawn": 2.8, "sub_resistance_up": 2.8},
        extras={
            "quick_respawn": 3.8,
            "sub_resistance_up": 3.8,
            "run_speed_up": 3.8,
            "ink_saver_sub": 3.8,
            "special_power_up": 3.8,
        },
    ),
    Playstyle(
        name="patient_sniper",
        description="Pokes from range and tracks whom it has hit: thermal ink with jump-shot accuracy.",
        share=1.07,
        classes=("Blasters", "Stringers", "Chargers", "Splatanas"),
        elsewhere=0.05,
        mains={"thermal_ink": 6.2, "object_shredder": 6.2, "intensify_action": 2.8, "swim_speed_up": 2.8},
        extras={
            "intensify_action": 3.8,
            "swim_speed_up": 3.8,
            "ink_saver_main": 3.8,
            "special_charge_up": 3.8,
            "special_power_up": 3.8,
        },
    ),
)

PLAYSTYLES: tuple[Playstyle, ...] = tuple(style for pair in zip(PLANTED, DECOYS, strict=True) for style in pair)
