"""A module together with its map: what `Model` runs and what `verification` measures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.models.batch import DECODER_IDS, Batch
from mechscope.models.block_sites import site_accesses
from mechscope.models.component_map import ComponentMap, Tap, blocks_of, find_module
from mechscope.models.eager import attention_for
from mechscope.models.edits import Edit
from mechscope.models.inputs import ForwardSignature, output_logits
from mechscope.models.points import Access, block_path, direct
from mechscope.models.running import Outcome, Plan, run_forward
from mechscope.models.turns import turn
from mechscope.models.writing import write_edits

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
        encoder = component_map.encoder
        self.n_encoder_layers = 0 if encoder is None else len(blocks_of(module, encoder))
        self.n_ids = _count_ids(module, component_map)
        self.device = next(module.parameters()).device
        self.dtype = next(part.dtype for part in module.parameters() if part.dtype.is_floating_point)
        self.habits = Habits(copies=component_map.writes_in_place)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The dotted paths of the modules in the blocks, which may be named as sites."""
        blocks = blocks_of(self.module, self.component_map)
        found = dict.fromkeys(path for block in blocks for path, _ in block.named_modules() if path)
        return tuple(path for path in found if path not in {site.kind for site in self.accesses})

    def access(self, site: LayerComponent) -> Access | None:
        """The way to a whole site, also to one that is named by a path; None when there is none."""
        if (found := self.accesses.get(site)) is not None or site.layer is None or site.kind not in self.paths:
            return found
        stack = self.component_map.encoder if site.stack else self.component_map
        if stack is None or site.layer >= len(blocks_of(self.module, stack)):
            return None
        path = f"{block_path(stack, site.layer)}.{site.kind}"
        has_it = any(name == path for name, _ in self.module.named_modules())
        return direct(Tap(module=path)) if has_it else None

    def run(
        self,
        batch: Batch,
        reads: Sequence[LayerComponent] = (),
        edits: Mapping[LayerComponent, Sequence[Edit]] | None = None,
        *,
        wants_output: bool = False,
        accesses: Mapping[LayerComponent, Access] | None = None,
        keeps_graph: bool = False,
        differentiates: Sequence[LayerComponent] = (),
        keeps_failures: bool = False,
    ) -> tuple[Outcome, Tensor | None]:
        """One forward: what was read, and the logits when they were wanted. The batch may be anywhere."""
        self.require_fit(batch)
        wants_gradients = torch.is_grad_enabled()  # leaving the inference mode would turn them on
        batch = batch.to(self.device)
        self._require_apart(edits or {})
        inner = {site: edit for site, edit in (edits or {}).items() if site != LOGITS}
        touched = [*reads, *inner, *differentiates]
        plan = Plan(
            self.ways_to(touched) if accesses is None else accesses,
            reads,
            inner,
            wants_output=wants_output,
            copies=self.habits.copies,
            keeps_graph=keeps_graph,
            differentiates=differentiates,
            keeps_failures=keeps_failures,
        )
        arguments = self.signature.arguments(batch, with_positions=self.habits.passes_positions)
        with torch.inference_mode(mode=False), torch.set_grad_enabled(wants_gradients), self.turn_for(touched):
            outcome = run_forward(self.module, arguments, batch, plan)
        logits = output_logits(outcome.output) if wants_output else None
        if logits is not None and edits and LOGITS in edits:
            logits = write_edits(edits[LOGITS], logits, batch.decoder if DECODER_IDS in batch.extra else batch)
        return outcome, logits

    @contextmanager
    def turn_for(self, sites: Iterable[LayerComponent]) -> Iterator[None]:
        """This thread's turn to run the module and edit or read these sites: see `mechscope.models.turns`.

        Attention runs eagerly when a pattern is among them, and as the model has it otherwise.
        """
        with turn(), attention_for(self.module, sites):
            yield

    def ways_to(self, sites: Sequence[LayerComponent]) -> dict[LayerComponent, Access]:
        """The accesses of whole sites in the order of the forward pass; those named by a path come last."""
        wanted = {site.base for site in sites}
        known = {site: access for site, access in self.accesses.items() if site in wanted}
        more = {site: access for site in wanted - set(known) if (access := self.access(site)) is not None}
        return known | more

    def _require_apart(self, edits: Mapping[LayerComponent, Sequence[Edit]]) -> None:
        """Refuse a site named by its module's path beside another that is read at the same point. Raises UsageError."""
        points: dict[Tap, LayerComponent] = {}
        for site in edits:
            access = self.access(site)
            if access is None:
                continue
            other = points.setdefault(access.point, site)
            if other != site and not {other, site} <= set(self.accesses):
                raise UsageError(
                    f"two edits write at one place: {other} and {site}",
                    expected="edits of different sites",
                    todo="join the two functions into one edit",
                )

    def require_fit(self, batch: Batch) -> None:
        """Refuse what this network cannot be run on, or in. Raises UsageError or BadDataError."""
        if not isinstance(batch, Batch):
            raise UsageError(
                f"a {type(batch).__name__} where a batch is wanted",
                expected="a Batch of token ids",
                todo="Batch.from_rows([[1, 2, 3]]), or model.tokenize([text])",
            )
        if any(part.training for part in self.module.modules()):
            raise UsageError(
                f"{type(self.module).__name__} is in training mode, where dropout draws anew in every forward",
                expected="the evaluation mode, in which it was opened and checked",
                todo="call .eval() on the module",
            )
        if not self.habits.allows_left_padding and bool((batch.attention_mask[:, 0] == 0).any()):
            raise UsageError(
                f"a left-padded batch for {type(self.module).__name__}",
                expected="right padding: at open, left padding was measured to change this model's values",
                todo="pad on the right, or let forward take position_ids",
            )
        self.signature.check(batch, n_ids=self.n_ids)


def _count_ids(module: nn.Module, component_map: ComponentMap) -> int:
    if component_map.value_inputs and component_map.embedding is None:
        return 1  # the placeholder ids of a batch of values
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
        expected="'embedding' (an nn.Embedding), 'unembedding' (an nn.Linear), or 'value_inputs'",
        todo="name one of them in the component map",
    )
