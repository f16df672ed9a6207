"""What sweeps over groups share: the rows of each group, and the base contexts with the group substituted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mechscope.core import UsageError
from mechscope.experiments.changing.base_contexts import Bases, draw_bases
from mechscope.experiments.changing.changes import Change, Held, parse_held
from mechscope.experiments.changing.constraints import Constraints
from mechscope.experiments.changing.responses import measure
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings
from mechscope.experiments.observing.levels import rows_holding_constant
from mechscope.experiments.observing.slicing import Slice, slice_rows
from mechscope.experiments.specs import ExperimentSpec

__all__ = ["GROUP_ALTERNATIVES", "group_column", "groups_to_hold", "held_rows", "held_words", "large_groups",
           "substituted_deltas"]  # fmt: skip

GROUP_BASES = 40
GROUP_ALTERNATIVES = (
    "the weapon (or other group) itself is what the feature follows",
    "its players tend to take certain abilities, and those are what the feature follows",
    "its kit (sub, special, or another attribute that it shares with others) is what the feature follows",
)


def group_column(context: ExperimentContext, asked: str | None) -> str:
    """The group column asked for, by default the one that the domain describes. Raises UsageError without any."""
    domain = context.domain
    found = asked or domain.attribute_group or next(iter(domain.settable_groups or tuple(domain.groups)), None)
    if found is None:
        raise UsageError("this subject has no groups", expected="a group column", todo="name one as `group`")
    context.group_values(found)
    return found


def held_rows(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    *,
    tokens: Sequence[str],
    groups: Mapping[str, str] | None = None,
) -> tuple[Slice, Held]:
    """The rows of the slice that have what is held constant, and what that is."""
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=tokens, groups=groups or {})
    found = slice_rows(spec, context, findings)
    if held.words:
        found = rows_holding_constant(found, context, held)
        findings.rows[f"after holding {held.words}"] = len(found)
    return found, held


def groups_to_hold(column: str, groups: Mapping[str, str], weapon: str | None) -> dict[str, str]:
    """`stable_groups` with the stable weapon in it. Raises UsageError when that is what the sweep varies."""
    held = {**groups, **({} if weapon is None else {"weapon": weapon})}
    if column in held:
        raise UsageError(
            f"a sweep over {column} that holds {column} {held[column]} constant",
            expected="something else to hold",
            todo=f"leave {column} out of stable_groups, or sweep over another group",
        )
    return held


def held_words(context: ExperimentContext, tokens: Sequence[str], groups: Mapping[str, str]) -> str:
    """What is held constant, in words."""
    return parse_held(context.domain, context.corpus.vocabulary, tokens=tokens, groups=groups).words


def large_groups(
    context: ExperimentContext, column: str, min_examples: int, groups: Mapping[str, str] | None = None
) -> list[str]:
    """The groups of the domain with at least `min_examples` rows in the corpus, and with the attributes in `groups`.

    Raises UsageError below two, NotFoundError for an attribute's unknown name.
    """
    names, index = context.group_codes(column)
    counts = np.bincount(index, minlength=len(names)).tolist()
    known = set(context.domain.groups.get(column, ()))
    wanted = {
        attribute: context.known_group(attribute, name)
        for attribute, name in (groups or {}).items()
        if column == context.domain.attribute_group and attribute in context.domain.attributes
    }
    kept = [
        name
        for name, n in zip(names.tolist(), counts, strict=True)
        if n >= min_examples
        and name in known
        and all(context.domain.attributes[attribute].get(name) == value for attribute, value in wanted.items())
    ]
    if len(kept) < 2:
        among = "".join(f" of {attribute} {value}" for attribute, value in wanted.items())
        raise UsageError(
            f"{len(kept)} {column}{among} with {min_examples} rows",
            expected="two or more",
            todo="lower min_examples" + (", or hold less constant" if wanted else ""),
        )
    return kept


def substituted_deltas(
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    *,
    column: str,
    names: Sequence[str],
    tokens: Sequence[str],
    groups: Mapping[str, str] | None = None,
) -> tuple[np.ndarray, Bases]:
    """The same base contexts under every group: activation less the base's own mean over the groups, [n_bases, groups].

    A base context counts where every group could be substituted. Cost: a forward a base context and group.

    Raises:
        UsageError: a column that the domain cannot set.
    """
    if column not in context.domain.settable_groups:
        raise UsageError(
            f"{column} cannot be substituted in a context",
            expected=" or ".join(context.domain.settable_groups) or "a domain with settable groups",
            todo='use the mode "observational"',
        )
    held = parse_held(context.domain, context.corpus.vocabulary, tokens=tokens, groups=groups or {})
    bases = draw_bases(spec, context, findings, held=held, n_bases=GROUP_BASES)
    constraints = Constraints(spec.constraints, context, findings)
    changes = [Change(name, groups={column: name}) for name in names]
    responses = measure(context, spec.feature_id, bases, changes, constraints)
    constraints.floor(responses.values, touches_group=True)
    values = responses.values
    findings.n_contexts_tested = int((~np.isnan(values).any(axis=1)).sum())
    findings.drop("base context that some group could not take", len(bases) - findings.n_contexts_tested)
    return values - values.mean(axis=1, keepdims=True), bases
