"""The commands of single experiments, each from a table of its flags: no kind is imported to show their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mechscope.cli.experiment_calls import (
    ExperimentCall,
    read_list,
    read_names,
    read_numbers,
    read_pairs,
    read_token_pairs,
    run_call,
)
from mechscope.cli.options import AsJson, SubjectName, WorkspaceFolder
from mechscope.core import UsageError

__all__ = [
    "COMMANDS",
    "Command",
    "Feature",
    "Figures",
    "Flag",
    "ModeName",
    "OutputDir",
    "SampleSize",
    "Seed",
    "command_function",
]

Feature = Annotated[int, typer.Option("--feature-id", "-f", help="The feature's integer id.", min=0)]
ModeName = Annotated[str | None, typer.Option("--mode", help="interventional or observational; by default the kind's.")]
SampleSize = Annotated[int | None, typer.Option("--sample-size", help="Base contexts, or rows, drawn.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Every random choice derives from it.")]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", help="Where specs/, results/ and figures/ go; by default the workspace.")
]
Figures = Annotated[bool, typer.Option("--figures", help="Draw the figures too.")]


@dataclass(frozen=True)
class Flag:
    """One flag of a command: the variable of the kind that it sets, and how its text is read.

    `kind` is the type that Typer reads; `reads` makes the variable of it (lists and numbers are joined by commas).
    """

    name: str
    help: str
    kind: type = str
    is_required: bool = False
    reads: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Command:
    """A command for one type of experiment."""

    name: str
    experiment: str
    help: str
    flags: tuple[Flag, ...]


STABLE = (
    Flag("stable_tokens", "Tokens that every condition holds, such as comeback,stealth_jump.", reads=read_list),
    Flag("stable_weapon", "The weapon that every condition has."),
)
STABLE_GROUPS = Flag(
    "stable_groups", "Groups or attributes that every condition has, such as class=Shooters,sub=Sprinkler.",
    reads=read_names,
)  # fmt: skip
HIGH = "Share (0.9) or percentile (90, from 50 on) of the active rows, by activation, from which on a "
MIN_EXAMPLES = Flag("min_examples", "Groups of fewer rows are left out, and counted.", int)
COMMANDS = (
    Command(
        "family-sweep",
        "family_1d_sweep",
        "One family over its rungs.",
        (
            Flag("family", "Name or short name of the family.", is_required=True),
            Flag("rungs", "Rungs, such as 3,12,29 (0: absent); by default all.", reads=read_numbers),
            *STABLE,
            STABLE_GROUPS,
        ),
    ),
    Command(
        "heatmap",
        "family_2d_heatmap",
        "Two families, or main-only abilities, in a grid.",
        (
            Flag("family_x", "A family or a binary such as comeback.", is_required=True),
            Flag("family_y", "Another.", is_required=True),
            Flag("rungs_x", "Rungs of the first.", reads=read_numbers),
            Flag("rungs_y", "Rungs of the second.", reads=read_numbers),
            *STABLE,
            STABLE_GROUPS,
        ),
    ),
    Command(
        "weapon-sweep",
        "weapon_sweep",
        "The feature by weapon (or another group).",
        (Flag("top_k", "Groups shown; at least 1.", int), MIN_EXAMPLES, STABLE[0], STABLE_GROUPS),
    ),
    Command(
        "kit-sweep",
        "kit_sweep",
        "The feature by what belongs to the weapon: sub and special.",
        (
            Flag("top_k", "Groups shown.", int),
            MIN_EXAMPLES,
            Flag("analyze_combinations", "Pairs of sub and special too.", bool),
            STABLE[0],
            STABLE_GROUPS,
        ),
    ),
    Command(
        "binary",
        "binary_presence",
        "Main-only abilities present and absent.",
        (Flag("tokens", "Which, joined by commas; by default all.", reads=read_list), *STABLE, STABLE_GROUPS),
    ),
    Command(
        "coverage",
        "core_coverage",
        "Which tokens belong to the core of a feature, and which to its tail.",
        (
            Flag("tokens", "Tokens joined by commas; a+b is a combination.", reads=read_list),
            Flag("threshold", f"{HIGH}row is high.", float),
            *STABLE,
            STABLE_GROUPS,
        ),
    ),
    Command(
        "token-influence",
        "token_influence",
        "Every token removed or added: enhancers and suppressors.",
        (
            Flag("high_percentile", f"{HIGH}row is high.", float),
            Flag("top_k", "How many are listed; at least 1.", int),
            *STABLE,
            STABLE_GROUPS,
        ),
    ),
    Command(
        "interactions",
        "pairwise_interactions",
        "Pairs of tokens: whether two together do more, or less, than the sum of each.",
        (
            Flag(
                "tokens",
                "Every one with every other; binaries, rungs, weapon=NAME. By default chosen.",
                reads=read_list,
            ),
            Flag("pairs", "These pairs alone, such as comeback:haunt,comeback:SCU_12.", reads=read_token_pairs),
            Flag("top_k", "How many tokens are chosen when none are named.", int),
            Flag("scale", "pre_activation (before ReLU or TopK, the default), activation or log."),
            Flag("players", "Tokens in the game behind Shapley and Banzhaf interaction; 0 for none.", int),
            Flag("shapiq_indices", "STII, FSII, FBII, joined by commas; they need shapiq.", reads=read_list),
            *STABLE,
        ),
    ),
    Command(
        "conditional-interactions",
        "conditional_interactions",
        "How a third token or weapon changes the interaction of a pair.",
        (
            Flag("pair", "Two tokens joined by a comma; by default the pair that interacts most.", reads=read_list),
            Flag("modulators", "Tokens or weapon=NAME, joined by commas; by default chosen.", reads=read_list),
            Flag("top_k", "How many modulators are chosen when none are named.", int),
            Flag("scale", "pre_activation (before ReLU or TopK, the default), activation or log."),
            *STABLE,
        ),
    ),
    Command(
        "interference",
        "within_family_interference",
        "Whether the rungs of one family add up, saturate, or take back what lower ones gave.",
        (
            Flag("family", "Name or short name of the family.", is_required=True),
            Flag("rungs", "Rungs, such as 3,12,29 (0: absent); by default all.", reads=read_numbers),
            Flag("pairs", "Pairs of rungs, such as 3:15,6:21; by default every pair.", reads=read_pairs),
            Flag("probe_lower", "Also run contexts off the distribution, labelled as such.", bool),
            *STABLE,
        ),
    ),
    Command(
        "decoder-output",
        "decoder_output",
        "What a feature writes: the outputs with it taken out or put in, beside what the weights say.",
        (
            Flag("methods", "ablate, steer, or both joined by a comma.", reads=read_list),
            Flag("top_k", "Outputs listed on each side.", int),
            Flag("steer_to", "Activation put in, as a multiple (above 0) of the feature's effective maximum.", float),
            Flag("n_random", "Random directions as controls.", int),
        ),
    ),
    Command(
        "itemsets",
        "frequent_itemsets",
        "Sets of tokens that stand together where the feature is active.",
        (
            Flag("min_support", "Share of the active rows, above 0 to 1, that a set must be in.", float),
            Flag("max_size", "Most tokens in a set.", int),
            Flag("top_k", "How many sets are tested on held-out rows.", int),
            Flag("high_percentile", f"{HIGH}row counts; by default all active rows count.", float),
            Flag("rungs", "A rung means at_least or exactly."),
            Flag("groups", "Group columns whose names are items too, such as sub,special.", reads=read_list),
            STABLE[0],
        ),
    ),
    Command(
        "group-contrast",
        "group_contrast",
        "Two sets of rows, by the values of one column, held against each other.",
        (
            Flag("column", "A group, attribute, nuisance, family, binary or concept; by default the weapon."),
            Flag("first", "Names of one side, joined by commas.", reads=read_list),
            Flag("second", "Names of the other side; by default all others.", reads=read_list),
            Flag("confounders", "What the difference is adjusted for, joined by commas.", reads=read_list),
            STABLE[0],
        ),
    ),
    Command(
        "shuffle-null",
        "shuffle_null",
        "Whether a feature goes with its tokens more than its activations do when shuffled.",
        (
            Flag("n_shuffles", "How many shuffles.", int),
            Flag("strata", "Groups within which activations are shuffled, joined by commas.", reads=read_list),
            Flag("min_rows", "Tokens in fewer rows are left out, and counted.", int),
        ),
    ),
    Command(
        "split-half",
        "split_half",
        "How reliable a feature's mean with each token is over random halves of the rows, beside shuffles.",
        (
            Flag("n_splits", "How many random halves.", int),
            Flag("n_shuffles", "How many shuffles.", int),
            Flag("least", "Reliability, 0 to 1, that it must reach besides beating its shuffles.", float),
        ),
    ),
    Command(
        "minimal-cores",
        "minimal_cores",
        "Irreducible sets of tokens that keep the feature up.",
        (
            Flag("threshold", "Share of a context's activation, above 0 to 1, that a core keeps.", float),
            Flag("n_contexts", "Highly active contexts searched; at least 5.", int),
            Flag("high_percentile", f"{HIGH}context is searched.", float),
            Flag("method", "auto, quickxplain or ddmin."),
            Flag("budget", "Evaluations that the search in one context may use; at least 2.", int),
            Flag("top_k", "How many cores are verified on held-out contexts.", int),
            *STABLE,
        ),
    ),
)


def command_function(command: Command) -> Callable[..., None]:
    """The function behind a command, with the signature that its flags make."""

    def call(**given: Any) -> None:
        variables = {
            flag.name: _read(flag, given.pop(flag.name)) for flag in command.flags if given.get(flag.name) is not None
        }
        asked = ExperimentCall(
            command.experiment,
            given["feature_id"],
            given["model"],
            variables,
            given["mode"],
            given["sample_size"],
            given["seed"],
            given["output_dir"],
            given["figures"],
            given["workspace"],
        )
        run_call(asked, as_json=given["as_json"])

    own = [_parameter(flag.name, _annotation(flag), ... if flag.is_required else None) for flag in command.flags]
    shared = [
        _parameter("model", SubjectName, None),
        _parameter("mode", ModeName, None),
        _parameter("sample_size", SampleSize, None),
        _parameter("seed", Seed, 0),
        _parameter("output_dir", OutputDir, None),
        _parameter("figures", Figures, False),
        _parameter("workspace", WorkspaceFolder, Path()),
        _parameter("as_json", AsJson, False),
    ]
    parameters = [_parameter("feature_id", Feature, ...), *own, *shared]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _read(flag: Flag, text: Any) -> Any:
    value = flag.reads(text)
    if value in ([], {}, ""):
        raise UsageError(
            f"--{flag.name.replace('_', '-')} {text!r} names nothing",
            expected="at least one, joined by commas" if value != "" else "a name",
            todo="name some, or leave the flag out",
        )
    return value


def _annotation(flag: Flag) -> Any:
    option = typer.Option(f"--{flag.name.replace('_', '-')}", help=flag.help)
    kind: Any = flag.kind if flag.is_required else flag.kind | None
    return Annotated[kind, option]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    is_missing = default is ...
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if is_missing else default,
        annotation=annotation,
    )
