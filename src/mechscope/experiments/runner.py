"""Runs one experiment: checks the spec, times the kind, keeps what it had when it fails, gives out what was asked."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from mechscope.core import NotFoundError, Spec, UsageError, UserError
from mechscope.experiments.changing.constraints import is_at_floor, require_constraints
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.findings import Findings, plain
from mechscope.experiments.kind import ExperimentKind, find_kind
from mechscope.experiments.results import Diagnostics, ExperimentResult
from mechscope.experiments.specs import ExperimentSpec
from mechscope.experiments.types import CAUSAL, OBSERVED, Mode
from mechscope.experiments.words import in_words_of
from mechscope.reports import Figure
from mechscope.runs import describe_environment

__all__ = ["ExperimentRunner", "check_spec", "get_runner_for_type"]

LONGEST_MESSAGE = 300
CORRELATIONAL = (
    "CORRELATIONAL: rows were regrouped and nothing was changed; a difference between groups of rows is not an effect"
)


@dataclass(frozen=True)
class ExperimentRunner:
    """Runs experiments of one kind."""

    kind: ExperimentKind

    def check(self, spec: ExperimentSpec, context: ExperimentContext | None = None) -> tuple[ExperimentSpec, Spec]:
        """The spec with its mode decided, and its variables as the kind's types.

        Raises:
            UsageError: a spec of another kind, unknown variables or wrong values (the nearest name is offered), a mode
                that the kind or the subject does not have, a spec of another subject.
            NotFoundError: an unknown constraint; with a context also a feature that the subject does not have.
        """
        if find_kind(spec.type).name != self.kind.name:
            raise UsageError(
                f"a spec of type {spec.type!r}", expected=f"type {self.kind.name!r}", todo="take the runner of its type"
            )
        variables = self.kind.variables.parse(spec.variables, where=f"the variables of {self.kind.name}")
        require_constraints(spec.constraints)
        if context is not None:
            _require_subject(spec, context)
        return spec.updated(mode=self._mode(spec, context)), variables

    def run(
        self, spec: ExperimentSpec, context: ExperimentContext, *, spec_path: str | None = None
    ) -> ExperimentResult:
        """Run it. Never raises for what lies in the spec, the data or the kind: the result then has `success` false.

        Args:
            spec: what to measure.
            context: the subject to measure it on.
            spec_path: name of the file that the spec came from; by default the name that it would have.
        """
        started = time.perf_counter()
        findings, error, checked, n_before = Findings(), None, spec, context.n_forwards
        try:
            checked, variables = self.check(spec, context)
            variables = _named_once(variables, findings)
            self.kind.run(checked, variables, context, findings)
        except Exception as raised:  # one failing experiment of a batch is a result with success false
            error = _describe(raised)
        result = _result(self.kind, checked, context, findings, error=error, n_before=n_before)
        result = result.updated(
            spec_path=spec_path or spec.file_name, provenance={**result.provenance, "spec_digest": spec.digest}
        )
        drawn: dict[str, Figure] = {}
        if checked.outputs.figures and (result.success or result.tables):
            try:
                drawn = dict(self.kind.draw(result))
            except Exception as raised:  # the numbers are there; a figure that cannot be drawn does not take them away
                missing = f"no figure: {_describe(raised)}"
                told = result.diagnostics.updated(warnings=(*result.diagnostics.warnings, missing))
                result = result.updated(diagnostics=told)
        return _only_asked(result, checked, drawn).updated(duration_seconds=time.perf_counter() - started)

    def _mode(self, spec: ExperimentSpec, context: ExperimentContext | None) -> Mode:
        has_model = context is None or context.has_model
        possible = [mode for mode in self.kind.modes if mode == OBSERVED or has_model]
        if spec.mode is None and possible:
            return possible[0]
        if spec.mode in possible:
            return spec.mode
        if spec.mode in self.kind.modes or spec.mode is None:
            raise UsageError(
                f"{self.kind.name} needs the model of the subject", expected="a subject with its model", todo="name one"
            )
        raise UsageError(
            f"mode {spec.mode!r} for {self.kind.name}",
            expected=" or ".join(self.kind.modes),
            todo="leave the mode away, or choose one of these",
        )


def get_runner_for_type(type: str) -> ExperimentRunner:  # noqa: A002  (the founding document's own word)
    """The runner of a type (`ExperimentType` or its string, aliases and dashes allowed). Raises NotFoundError."""
    return ExperimentRunner(find_kind(type))


def check_spec(spec: ExperimentSpec, context: ExperimentContext | None = None) -> ExperimentSpec:
    """Check a spec without running it, as `--dry-run` does; returns it with its mode. Raises as `ExperimentRunner`."""
    return get_runner_for_type(spec.type).check(spec, context)[0]


def _named_once(variables: Spec, findings: Findings) -> Spec:
    """The variables without what a list names again; each is a warning. A list of fixed length stays as it is."""
    for name, value in variables:
        if not isinstance(value, tuple):
            continue
        again = list(dict.fromkeys(item for at, item in enumerate(value) if item in value[:at]))
        if not again:
            continue
        try:
            variables = variables.updated(
                **{name: tuple(item for at, item in enumerate(value) if item not in value[:at])}
            )
        except UserError:
            continue
        findings.warn(f"{name} has {', '.join(map(str, again))} more than once: taken once")
    return variables


def _require_subject(spec: ExperimentSpec, context: ExperimentContext) -> None:
    if spec.model_type is not None and spec.model_type != context.name:
        raise UsageError(
            f"a spec for the subject {spec.model_type!r}",
            expected=f"one for {context.name!r}, the subject that was opened",
            todo="open that subject, or correct model_type",
        )
    n_features = context.inputs.store.n_features
    if spec.feature_id >= n_features:
        raise NotFoundError(
            f"feature {spec.feature_id} is not in subject {context.name!r}",
            expected=f"an id from 0 to {n_features - 1}",
            todo="choose one of these",
        )


def _describe(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    said = next(iter(str(error).splitlines()), "")[:LONGEST_MESSAGE]
    return f"{type(error).__name__}: {said} ({Path(at.filename).name}:{at.lineno}, {at.name})"


def _result(
    kind: ExperimentKind,
    spec: ExperimentSpec,
    context: ExperimentContext,
    findings: Findings,
    *,
    error: str | None,
    n_before: int,
) -> ExperimentResult:
    evidence = CAUSAL if spec.mode == CAUSAL else OBSERVED
    if evidence == OBSERVED and spec.mode is not None and (error is None or findings.is_measured):
        findings.warnings.insert(0, CORRELATIONAL)
    return ExperimentResult(
        spec_id=spec.id,
        feature_id=spec.feature_id,
        experiment_type=kind.name,
        model_type=context.name,
        mode=spec.mode,
        evidence=evidence if spec.mode is not None else None,
        aggregates=findings.aggregates(),
        tables=findings.tables,
        diagnostics=findings.diagnostics(n_forwards=context.n_forwards - n_before),
        claims=() if error or is_at_floor(findings) else tuple(findings.claims),
        findings=tuple(findings.findings),
        alternatives=in_words_of(context.domain, kind.alternatives) if evidence == OBSERVED and error is None else (),
        success=error is None,
        error_message=error,
        description=spec.description,
        parent_hypothesis=spec.parent_hypothesis,
        provenance=_provenance(spec, context),
    )


def _provenance(spec: ExperimentSpec, context: ExperimentContext) -> dict[str, JsonValue]:
    key = context.inputs.store.key
    made = {name: key[name] for name in ("corpus", "dictionary", "model", "site")}
    environment = describe_environment().to_json()
    return {"seed": spec.seed, "subject": plain(made), "environment": plain(environment)}


def _only_asked(result: ExperimentResult, spec: ExperimentSpec, figures: dict[str, Figure]) -> ExperimentResult:
    """The result without what the outputs switch off; warnings and violations always stay."""
    asked, told = spec.outputs, result.diagnostics
    kept = Diagnostics(warnings=told.warnings, constraint_violations=told.constraint_violations)
    changes: dict[str, object] = {"figures": figures}
    if not asked.aggregates:
        changes["aggregates"] = {}
    if not asked.tables:
        changes["tables"] = {}
    if not asked.diagnostics:
        changes["diagnostics"] = kept
    return result.updated(**changes)
