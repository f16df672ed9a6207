"""A module together with its map: what `Model` runs and what `verification` measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.component_map import ComponentMap, blocks_of, find_module
from mechscope.models.edits import Edit, apply_edit
from mechscope.models.inputs import ForwardSignature, output_logits
from mechscope.models.points import Access, site_accesses
from mechscope.models.running import Outcome, Plan, run_forward

__all__ = ["LOGITS", "Habits", "Network"]

LOGITS = LayerComponent(kind="logits")


@dataclass(frozen=True)
class Habits:
    """What was measured of a network's ways.

    Args:
        copies: it writes into tensors that a capture may hold, so captures are cloned.
        passes_positions: positions counted from 0 along the real tokens are what its forward would use by itself.
        allows_left_padding: left padding does not move its values.
    """

    copies: bool = False
    passes_positions: bool = True
    allows_left_padding: bool = True


class Network:
    """A module, its component map, and the way to each site.

    `habits` is set from what verification measured.

    Raises:
        NotFoundError: a path of the map that is not in the module.
        UsageError: a map that contradicts itself, or one that does not say how many token ids there are.
    """

    def __init__(self, module: nn.Module, component_map: ComponentMap) -> None:
        self.module = module
        self.component_map = component_map
        self.signature = ForwardSignature(module, component_map)
        self.accesses, self.refused = site_accesses(module, component_map)
        self.n_layers = len(blocks_of(module, component_map))
        self.n_ids = _count_ids(module, component_map)
        self.device = next(module.parameters()).device
        self.habits = Habits(copies=component_map.writes_in_place)

    def run(
        self,
        batch: Batch,
        reads: Sequence[LayerComponent] = (),
        edits: Mapping[LayerComponent, Edit] | None = None,
        *,
        wants_output: bool = False,
        accesses: Mapping[LayerComponent, Access] | None = None,
        keeps_failures: bool = False,
    ) -> tuple[Outcome, Tensor | None]:
        """One forward: what was read, and the logits when they were wanted. The batch may be anywhere."""
        if not self.habits.allows_left_padding and bool((batch.attention_mask[:, 0] == 0).any()):
            raise UsageError(
                f"a left-padded batch for {type(self.module).__name__}",
                expected="right padding: at open, left padding was measured to change this model's values",
                todo="pad on the right, or let forward take position_ids",
            )
        self.signature.check(batch, n_ids=self.n_ids)
        batch = batch.to(self.device)
        inner = {site: edit for site, edit in (edits or {}).items() if site != LOGITS}
        plan = Plan(
            self.accesses if accesses is None else accesses,
            reads,
            inner,
            wants_output=wants_output,
            copies=self.habits.copies,
            keeps_failures=keeps_failures,
        )
        arguments = self.signature.arguments(batch, with_positions=self.habits.passes_positions)
        outcome = run_forward(self.module, arguments, batch, plan)
        logits = output_logits(outcome.output) if wants_output else None
        if logits is not None and edits and LOGITS in edits:
            logits = apply_edit(edits[LOGITS], logits, batch)
        return outcome, logits


def _count_ids(module: nn.Module, component_map: ComponentMap) -> int:
    if component_map.embedding is not None:
        embedding = find_module(module, component_map.embedding, what="embedding")
        if isinstance(n_ids := getattr(embedding, "num_embeddings", None), int):
            return n_ids
    elif component_map.unembedding is not None:
        unembedding = find_module(module, component_map.unembedding, what="unembedding")
        if isinstance(n_ids := getattr(unembedding, "out_features", None), int):
            return n_ids
    raise UsageError(
        "a component map from which the number of token ids cannot be read",
        expected="'embedding' (an nn.Embedding) or 'unembedding' (an nn.Linear)",
        todo="name one of them in the component map",
    )
