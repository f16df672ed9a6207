"""Red flags of the labelling guide: tail markers, dominating groups, signatures that miss the core, a high ReLU floor.

Tail = flanderization zone (above 90 % of the effective maximum), core = 25 to 75 %. Thresholds are the guide's own.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mechscope.core import Spec, unknown_name
from mechscope.features.activity import Activity
from mechscope.features.inputs import FeatureInputs
from mechscope.features.shares import Share
from mechscope.stats.intervals import wilson

__all__ = ["BinaryToken", "CoreCoverage", "Flag", "binary_tokens", "core_coverage", "raise_flags"]

TAIL_LIFT_MIN, TAIL_CORE_MAX = 5.0, 0.20
GROUP_TOP, GROUP_TOP_MIN, GROUP_CORE_MAX = 100, 0.40, 0.15
HEADLINE_MIN, NOTE_MIN = 0.50, 0.30
FLOOR_SHARE_MAX = 0.50
FEW = 20

Guidance = Literal["may headline", "notes only", "tail marker", "no core samples"]


class BinaryToken(Spec):
    """A token that is on or off: its share in the tail, the core and among all samples, each with its n."""

    token: str
    n_tail: int
    n_tail_with: int
    tail_share: float | None
    n_core: int
    n_core_with: int
    core_share: float | None
    base_share: float
    tail_lift: float | None
    core_lift: float | None
    is_tail_marker: bool


class CoreCoverage(Spec):
    """Share of the core samples that hold every token of a signature, with its Wilson interval and the guidance."""

    signature: tuple[str, ...]
    n_core: int
    n_with: int
    share: float | None
    low: float
    high: float
    guidance: Guidance


class Flag(Spec):
    """A warning in words, with the numbers in it."""

    kind: Literal["tail marker", "dominating group", "low core coverage", "relu floor", "few samples", "never active"]
    about: str
    text: str


def binary_tokens(inputs: FeatureInputs, activity: Activity) -> tuple[BinaryToken, ...]:
    """Every on-or-off token that the active samples hold, by falling tail lift."""
    tail, core = activity.in_region("flanderization zone"), activity.in_region("core")
    in_tail, in_core = inputs.tokens.counts(tail), inputs.tokens.counts(core)
    id_of = {token: at for at, token in enumerate(inputs.corpus.vocabulary)}
    found = []
    for token in inputs.binary_tokens:
        at = id_of[token]
        base = float(inputs.n_samples_with[at]) / inputs.store.n_samples
        if not base:
            continue
        tail_share = float(in_tail[at]) / len(tail) if len(tail) else None
        core_share = float(in_core[at]) / len(core) if len(core) else None
        lift = None if tail_share is None else tail_share / base
        is_marker = lift is not None and lift > TAIL_LIFT_MIN and core_share is not None and core_share < TAIL_CORE_MAX
        found.append(
            BinaryToken(
                token=token,
                n_tail=len(tail),
                n_tail_with=int(in_tail[at]),
                tail_share=tail_share,
                n_core=len(core),
                n_core_with=int(in_core[at]),
                core_share=core_share,
                base_share=base,
                tail_lift=lift,
                core_lift=None if core_share is None else core_share / base,
                is_tail_marker=is_marker,
            )
        )
    return tuple(sorted(found, key=lambda binary: -(binary.tail_lift or 0.0)))


def core_coverage(inputs: FeatureInputs, activity: Activity, signature: tuple[str, ...]) -> CoreCoverage:
    """How much of the core a proposed signature covers: above 50 % it may headline a label, 30 to 50 % it belongs
    into the notes, below 30 % it marks the tail. Raises NotFoundError for an unknown token.
    """
    id_of = {token: at for at, token in enumerate(inputs.corpus.vocabulary)}
    for token in signature:
        if token not in id_of:
            raise unknown_name("token", token, inputs.corpus.vocabulary)
    core = activity.in_region("core")
    held = np.ones(len(core), bool)
    for token in signature:
        held &= inputs.tokens.holds(core, np.array([id_of[token]]))
    n_with = int(held.sum())
    share = n_with / len(core) if len(core) else None
    low, high = wilson(n_with, len(core))
    return CoreCoverage(
        signature=signature,
        n_core=len(core),
        n_with=n_with,
        share=share,
        low=float(low),
        high=float(high),
        guidance=_guidance(share),
    )


def raise_flags(
    inputs: FeatureInputs, activity: Activity, binaries: tuple[BinaryToken, ...], coverage: CoreCoverage | None
) -> tuple[Flag, ...]:
    """Every warning that applies."""
    if not activity.n_active:
        text = f"it is zero on all {inputs.store.n_samples:,} samples: nothing else can be said of it"
        return (Flag(kind="never active", about="feature", text=text),)
    flags = [_tail_marker(binary) for binary in binaries if binary.is_tail_marker]
    flags += [flag for column in inputs.groups for flag in _dominating(inputs, activity, column)]
    if coverage is not None and coverage.guidance == "tail marker":
        what = " + ".join(coverage.signature)
        share = f"{coverage.n_with} of {coverage.n_core} core samples ({coverage.share:.0%})"
        text = f"the leading signature {what} is in {share}: it marks the tail"
        flags.append(Flag(kind="low core coverage", about=what, text=text))
    flags += [*_floor(inputs, activity), *_few(activity)]
    return tuple(flags)


def _guidance(share: float | None) -> Guidance:
    if share is None:
        return "no core samples"
    return "may headline" if share > HEADLINE_MIN else "notes only" if share >= NOTE_MIN else "tail marker"


def _tail_marker(binary: BinaryToken) -> Flag:
    text = (
        f"{binary.token} is {binary.tail_lift:.1f} times as common in the tail ({binary.n_tail_with} of "
        f"{binary.n_tail}) as everywhere, but in only {binary.core_share:.0%} of the core ({binary.n_core_with} of "
        f"{binary.n_core})"
    )
    return Flag(kind="tail marker", about=binary.token, text=text)


def _dominating(inputs: FeatureInputs, activity: Activity, column: str) -> list[Flag]:
    names, index = inputs.groups[column]
    top, core = activity.top(GROUP_TOP), activity.in_region("core")
    if not len(core):
        return []
    in_top = np.bincount(index[top], minlength=len(names))
    in_core = np.bincount(index[core], minlength=len(names))
    flags = []
    for at in np.flatnonzero((in_top / len(top) > GROUP_TOP_MIN) & (in_core / len(core) < GROUP_CORE_MAX)).tolist():
        text = (
            f"{column} {names[at]} is in {in_top[at]} of the top {len(top)} samples but in only {in_core[at]} of the "
            f"{len(core)} core samples: the extreme may be an exaggerated version of the concept"
        )
        flags.append(Flag(kind="dominating group", about=f"{column}: {names[at]}", text=text))
    return flags


def _floor(inputs: FeatureInputs, activity: Activity) -> list[Flag]:
    n_zero = inputs.store.n_samples - activity.n_active
    share = n_zero / inputs.store.n_samples
    if share <= FLOOR_SHARE_MAX:
        return []
    text = (
        f"{n_zero:,} of {inputs.store.n_samples:,} samples ({share:.1%}) are at zero and the mean over all is "
        f"{activity.stats.mean:.3g}: most samples cannot fall any lower, so that suppression is not visible there"
    )
    return [Flag(kind="relu floor", about="feature", text=text)]


def _few(activity: Activity) -> list[Flag]:
    sizes = {name: len(activity.in_region(name)) for name in ("core", "flanderization zone")}
    return [
        Flag(kind="few samples", about=name, text=f"the {name} holds {n} samples: its shares are coarse")
        for name, n in sizes.items()
        if n < FEW
    ]


def headline(tokens: tuple[Share, ...]) -> tuple[str, ...]:
    """The signature to check when nobody proposed one: the leading token."""
    return (tokens[0].name,) if tokens else ()
