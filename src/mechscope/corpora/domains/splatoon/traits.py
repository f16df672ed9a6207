"""What the build generator plants, as data: playstyles, habits, kit effects and inert nuisances.

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
    "FLEX",
    "HABITS",
    "INK_HUNGRY_CLASSES",
    "LETHAL_SUBS",
    "NUISANCES",
    "PLAYSTYLES",
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


FLEX = Playstyle(name="flex", description="No particular style.", share=1.0, mains={}, extras={}, is_concept=False)

PLAYSTYLES: tuple[Playstyle, ...] = (
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
        name="lurking_trader",
        description="Decoy: trades like the zombie, from weapons that are no front-line weapons.",
        share=1.40,
        not_classes=("Shooters", "Dualies", "Brushes", "Sloshers", "Blasters", "Splatanas"),
        elsewhere=0.0,
        mains={"comeback": 6.2, "object_shredder": 6.2, "quick_respawn": 2.8, "special_saver": 2.8},
        extras={
            "quick_respawn": 3.8,
            "special_saver": 3.8,
            "intensify_action": 3.8,
            "run_speed_up": 3.8,
            "ink_resistance_up": 3.8,
        },
        is_concept=False,
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
        name="ink_dancer",
        description="Decoy: swims like the stealth slayer, with weapons that do not ambush.",
        share=0.83,
        not_classes=("Shooters", "Rollers", "Brushes", "Splatanas", "Blasters"),
        elsewhere=0.0,
        mains={"ninja_squid": 6.2, "drop_roller": 6.2, "swim_speed_up": 2.8, "ink_resistance_up": 2.8},
        extras={
            "swim_speed_up": 3.8,
            "ink_resistance_up": 3.8,
            "quick_super_jump": 3.8,
            "special_power_up": 3.8,
            "ink_saver_main": 3.8,
        },
        is_concept=False,
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
        name="stubborn_brawler",
        description="Decoy: as careful as the anchor, but at the front.",
        share=0.42,
        not_classes=("Chargers", "Splatlings", "Stringers"),
        elsewhere=0.0,
        mains={"respawn_punisher": 6.2, "stealth_jump": 6.2, "ink_saver_main": 2.8, "ink_recovery_up": 2.8},
        extras={
            "ink_saver_main": 3.8,
            "ink_recovery_up": 3.8,
            "sub_resistance_up": 3.8,
            "swim_speed_up": 3.8,
            "quick_super_jump": 3.8,
        },
        is_concept=False,
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
        name="strafing_fighter",
        description="Decoy: strafes like the turret on other classes, but it means to come back.",
        share=0.38,
        not_classes=("Splatlings", "Brellas"),
        elsewhere=0.0,
        mains={"ability_doubler": 6.2, "last_ditch_effort": 6.2, "run_speed_up": 2.8, "ink_resistance_up": 2.8},
        extras={
            "run_speed_up": 3.8,
            "ink_resistance_up": 3.8,
            "ink_saver_main": 3.8,
            "quick_respawn": 3.8,
            "special_saver": 3.8,
        },
        is_concept=False,
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
        name="wall_builder",
        description="Decoy: lives by its sub weapon like the support, with other subs.",
        share=0.61,
        not_subs=SCOUT_SUBS,
        elsewhere=0.0,
        mains={"comeback": 6.2, "ability_doubler": 6.2, "sub_power_up": 2.8, "ink_saver_sub": 2.8},
        extras={
            "sub_power_up": 3.8,
            "ink_saver_sub": 3.8,
            "quick_super_jump": 3.8,
            "special_power_up": 3.8,
            "intensify_action": 3.8,
        },
        is_concept=False,
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
        name="special_hoarder",
        description="Decoy: charges like the farmer, other specials, and survives to use them.",
        share=0.75,
        not_specials=CHARGED_SPECIALS,
        elsewhere=0.0,
        mains={"tenacity": 6.2, "ability_doubler": 6.2, "special_charge_up": 2.8, "special_saver": 2.8},
        extras={
            "special_charge_up": 3.8,
            "special_saver": 3.8,
            "quick_super_jump": 3.8,
            "sub_resistance_up": 3.8,
            "intensify_action": 3.8,
        },
        is_concept=False,
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
        name="trap_layer",
        description="Decoy: spends ink on subs like the bomb spammer, on subs that do not splat.",
        share=0.67,
        not_subs=LETHAL_SUBS,
        elsewhere=0.0,
        mains={"last_ditch_effort": 6.2, "thermal_ink": 6.2, "ink_saver_sub": 2.8, "sub_power_up": 2.8},
        extras={
            "ink_saver_sub": 3.8,
            "sub_power_up": 3.8,
            "ink_recovery_up": 3.8,
            "swim_speed_up": 3.8,
            "sub_resistance_up": 3.8,
        },
        is_concept=False,
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
        name="late_joiner",
        description="Decoy: jumps like the raider, to a safe place, with weapons of the back.",
        share=0.85,
        not_classes=("Dualies", "Rollers", "Shooters", "Brushes", "Sloshers"),
        elsewhere=0.0,
        mains={"opening_gambit": 6.2, "respawn_punisher": 6.2, "quick_super_jump": 2.8, "swim_speed_up": 2.8},
        extras={
            "quick_super_jump": 3.8,
            "swim_speed_up": 3.8,
            "special_saver": 3.8,
            "special_charge_up": 3.8,
            "ink_saver_main": 3.8,
        },
        is_concept=False,
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
        name="showman",
        description="Decoy: powers its special like the breaker, for the show.",
        share=0.70,
        not_classes=("Shooters", "Rollers", "Sloshers", "Splatanas", "Brellas"),
        elsewhere=0.0,
        mains={"tenacity": 6.2, "ninja_squid": 6.2, "special_power_up": 2.8, "special_charge_up": 2.8},
        extras={
            "special_power_up": 3.8,
            "special_charge_up": 3.8,
            "ink_resistance_up": 3.8,
            "run_speed_up": 3.8,
            "ink_recovery_up": 3.8,
        },
        is_concept=False,
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
        name="bodyguard",
        description="Decoy: comes back like the hunter, to stand beside the anchor.",
        share=0.89,
        not_classes=("Shooters", "Brushes", "Dualies", "Blasters", "Stringers"),
        elsewhere=0.0,
        mains={"last_ditch_effort": 6.2, "haunt": 6.2, "quick_respawn": 2.8, "sub_resistance_up": 2.8},
        extras={
            "quick_respawn": 3.8,
            "sub_resistance_up": 3.8,
            "run_speed_up": 3.8,
            "sub_power_up": 3.8,
            "special_charge_up": 3.8,
        },
        is_concept=False,
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
    Playstyle(
        name="trick_shooter",
        description="Decoy: shoots as accurately as the sniper, at short range.",
        share=0.52,
        not_classes=("Blasters", "Stringers", "Chargers", "Splatanas"),
        elsewhere=0.0,
        mains={"thermal_ink": 6.2, "opening_gambit": 6.2, "intensify_action": 2.8, "swim_speed_up": 2.8},
        extras={
            "intensify_action": 3.8,
            "swim_speed_up": 3.8,
            "ink_saver_main": 3.8,
            "ink_saver_sub": 3.8,
            "ink_resistance_up": 3.8,
        },
        is_concept=False,
    ),
)

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
