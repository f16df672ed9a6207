"""A proposed experiment: its spec, the rule that asks for it, and the numbers that the rule rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mechscope.core import UserError
from mechscope.core.kinds import EXPERIMENTS
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.kind import find_kind
from mechscope.experiments.planning.records import Record
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, Mode

__all__ = ["Proposal", "can_ask", "changed", "new_spec"]


@dataclass(frozen=True)
class Proposal:
    """One next experiment.

    Attributes:
        rule: the name of the rule. reason: why, with the number and the record that it rests on.
        spec: ready to run; its description is the reason.
        rank: the more, the sooner.
    """

    rule: str
    reason: str
    spec: ExperimentSpec
    rank: float


def can_ask(context: ExperimentContext, kind: str, variables: Mapping[str, Any], mode: Mode | None = None) -> bool:
    """Whether a type is registered, takes these variables, and has the mode here (any, when None)."""
    if kind not in EXPERIMENTS.names():
        return False
    modes = [known for known in find_kind(kind).modes if known != CAUSAL or context.has_model]
    try:
        find_kind(kind).variables.parse(dict(variables))
    except UserError:
        return False
    return bool(modes) if mode is None else mode in modes


def new_spec(
    context: ExperimentContext, feature: int, kind: str, variables: Mapping[str, Any], reason: str, **more: Any
) -> ExperimentSpec:
    """A new spec of a type for this subject. `more`: further fields of the spec."""
    return ExperimentSpec.parse(
        {"type": kind, "feature_id": feature, "model_type": context.name, "variables": dict(variables),
         "description": reason, **more},
        where=f"the plan's spec of {kind}",
    )  # fmt: skip


def changed(record: Record, reason: str, **more: Any) -> ExperimentSpec | None:
    """The spec of a record with a new id and these fields changed; None where the spec's file is gone."""
    if record.spec is None:
        return None
    told = record.spec.to_json() | {"description": reason, "model_type": record.result.model_type} | more
    del told["id"]
    return ExperimentSpec.parse(told, where=f"the plan's change of {record.id}")
