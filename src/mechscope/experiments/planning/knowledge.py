"""What the records of a feature say: drivers that were confirmed, suppressors, and what is only associated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mechscope.experiments.changing.cells import FEW
from mechscope.experiments.changing.changes import FAMILY_RUNG
from mechscope.experiments.contexts import ExperimentContext
from mechscope.experiments.observing.confounders import find_family
from mechscope.experiments.planning.associations import Association, associations
from mechscope.experiments.planning.records import Record, Records

__all__ = ["Knowledge", "Mover"]


@dataclass(frozen=True)
class Mover:
    """A family or binary that an intervention showed to move the feature.

    Attributes:
        name, is_binary: of it. delta: of the activation; the largest over the rungs with at least 5 contexts.
        is_confirmed: by a sweep of its own, on a held-out half, not only as one token of many.
        record: what says so.
    """

    name: str
    is_binary: bool
    delta: float
    is_confirmed: bool
    record: Record

    @property
    def strength(self) -> tuple[bool, bool, float]:
        """What is preferred among the records of one mover: confirmed, over the whole slice, large."""
        return self.is_confirmed, self.record.is_whole, abs(self.delta)

    @property
    def words(self) -> str:
        """The number and the record that it rests on."""
        return f"{self.name} moves it by {self.delta:+.3g} ({self.record.kind} {self.record.id})"


@dataclass(frozen=True)
class Knowledge:
    """One feature: its subject, its records, and the first look at its rows, taken when it is needed."""

    context: ExperimentContext
    feature: int
    records: Records

    @cached_property
    def associations(self) -> list[Association]:
        """Families and binaries, the strongest first."""
        return associations(self.context, self.feature)

    @cached_property
    def movers(self) -> list[Mover]:
        """Families and binaries that interventions move the feature by, each once; what sweeps confirmed first, then
        by the size of the change."""
        best: dict[str, Mover] = {}
        for mover in self._moved():
            other = best.get(mover.name)
            if other is None or mover.strength > other.strength:
                best[mover.name] = mover
        return sorted(best.values(), key=lambda one: (not one.is_confirmed, -abs(one.delta)))

    @property
    def drivers(self) -> list[Mover]:
        """Movers that raise the feature and were confirmed by a sweep of their own."""
        return [one for one in self.movers if one.is_confirmed and one.delta > 0]

    @property
    def suppressors(self) -> list[Mover]:
        """Movers that lower it."""
        return [one for one in self.movers if one.delta < 0]

    @property
    def claimed(self) -> list[Record]:
        """Records that claim something, newest first; validations are none."""
        return [one for one in reversed(self.records.done) if one.result.claims and one.kind not in VALIDATIONS]

    def _moved(self) -> Iterator[Mover]:
        for record in self.records.of("family_1d_sweep", causal=True):
            sign = {"rises": 1, "falls": -1}.get(record.text("direction"), 0)
            deltas = [row["mean_delta"] for row in record.rows("rung_deltas") if row["n"] >= FEW]
            size = max((sign * delta for delta in deltas if isinstance(delta, float)), default=0.0)
            if record.result.claims and sign and size > 0:
                yield Mover(record.text("family"), False, sign * size, True, record)
        for record in self.records.of("binary_presence", causal=True):
            for row in record.rows("binary_presence"):
                name, delta = str(row["binary"]), row.get("mean_delta")
                if isinstance(delta, float) and any(claim.startswith(f"{name} ") for claim in record.result.claims):
                    yield Mover(name, True, delta, True, record)
        for record in self.records.of("token_influence", causal=True):
            for row in (*record.rows("enhancers"), *record.rows("suppressors")):
                found, delta = self.of_token(str(row["token"])), row.get("tested_delta")
                if found is not None and isinstance(delta, float):  # of the very cell that has the verdict
                    yield Mover(*found, delta, False, record)

    def name_of(self, axis: object) -> str:
        """The name of a family or binary as a spec may spell it; the text itself where the domain has no such thing."""
        names = {name.lower(): name for name in (*self.context.domain.families, *self.context.domain.binaries)}
        names |= {one.short_name.lower(): one.name for one in self.context.domain.families.values() if one.short_name}
        return names.get(str(axis).strip().lower(), str(axis))

    def of_token(self, token: str) -> tuple[str, bool] | None:
        """The family or binary that a token stands for, and whether it is a binary; None for any other token."""
        if token in self.context.domain.binaries:
            return token, True
        match = FAMILY_RUNG.match(token)
        if match is not None and match["family"] in self.context.domain.families:
            return find_family(self.context.domain, match["family"]).name, False
        return None


VALIDATIONS = ("split_half", "shuffle_null")
