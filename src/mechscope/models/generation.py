"""Generation with edits and captures: each step of the model's own `generate` runs under a plan of its own.

A step sees the prompt first, [batch prompt], and then one token at a time, [batch 1], with keys and values cached.
Edits are told which part they are in (scope) and act at absolute positions: an edit's positions are found on the whole
sequence so far, and the part that the step at hand computes is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.component_map import Tap
from mechscope.models.eager import needs_eager
from mechscope.models.edits import Edit
from mechscope.models.hooks import hang_hooks
from mechscope.models.inputs import output_logits
from mechscope.models.network import LOGITS, Network
from mechscope.models.own_forward import is_running
from mechscope.models.remarks import quiet
from mechscope.models.running import Plan, Run
from mechscope.models.writing import write_edits

__all__ = ["Generation", "Sampling", "generate"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; the default model.generate() is greedy.

    Args:
        seed: of the draws; the global generator is left as it was.
        temperature: above 0; 1 leaves the model's probabilities as they are.
        top_k: draw among that many likeliest tokens; 0 for all.
        top_p: draw among the likeliest tokens that together reach this probability; 1 for all.
    """

    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


@dataclass(frozen=True, eq=False)
class Generation:
    """What was generated.

    Args:
        batch: prompts and what follows them, [batch prompt + new]; the mask is 0 where a row had ended.
        n_prompt: columns of the prompt.
        values: by site, [batch prompt + new - 1 ...]: the last token is drawn and not run through the model.
    """

    batch: Batch
    n_prompt: int
    values: dict[LayerComponent, Tensor]

    @property
    def new_ids(self) -> Int[Tensor, "batch new"]:
        """The tokens behind the prompts."""
        return self.batch.input_ids[:, self.n_prompt :]


def generate(
    network: Network,
    batch: Batch,
    *,
    max_new_tokens: int,
    edits: Mapping[LayerComponent, Sequence[Edit]],
    sites: Sequence[LayerComponent],
    sampling: Sampling | None,
    stops_at: Sequence[int] | None,
) -> Generation:
    """See `Model.generate`."""
    module = network.module
    _require_generator(network, batch, max_new_tokens, sites, edits)
    batch = batch.to(network.device)
    ends = _ends(module) if stops_at is None else list(stops_at)
    visitor = _Steps(network, batch, sites, edits, max_new_tokens)
    options = {
        "max_new_tokens": max_new_tokens,
        "eos_token_id": ends or None,
        "pad_token_id": ends[0] if ends else 0,  # stands behind the end of a row, where the mask is 0
        "do_sample": sampling is not None,
        "num_beams": 1,  # rows are followed through the steps, so there is one continuation a prompt
        "num_return_sequences": 1,
        "guidance_scale": None,
        "prefill_chunk_size": None,
        "prompt_lookup_num_tokens": None,  # these two guess several tokens a step, and take some back
        "assistant_early_exit": None,
        "return_dict_in_generate": False,
        "use_cache": True,  # some configs (MPT's) say otherwise, and every step would see the whole row again
        **({} if sampling is None else _drawing(sampling)),
    }  # penalties and the like are left as the model's own generation config has them
    with ExitStack() as stack:
        stack.enter_context(network.turn_for(edits))  # to the end: the random state is one for the process
        stack.enter_context(quiet())
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.no_grad())
        if sampling is not None:
            stack.enter_context(torch.random.fork_rng())
            torch.manual_seed(sampling.seed)
        stack.callback(module.register_forward_pre_hook(visitor.begin, with_kwargs=True).remove)
        if LOGITS in edits:
            stack.callback(module.register_forward_hook(visitor.finish).remove)
        hang_hooks(module, visitor, stack)
        ids = module.generate(  # type: ignore[operator]
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, **options, **_plain(batch)
        )
    n_prompt = batch.input_ids.shape[1]
    mask = torch.cat([batch.attention_mask, _until_end(ids[:, n_prompt:], ends)], dim=1)
    return Generation(Batch(ids, mask, batch.extra), n_prompt, visitor.values())


class _Steps:
    """Hands each step of a generation to a `Run` of its own, and joins what the steps read."""

    def __init__(
        self,
        network: Network,
        prompt: Batch,
        sites: Sequence[LayerComponent],
        edits: Mapping[LayerComponent, Sequence[Edit]],
        max_new_tokens: int,
    ) -> None:
        self.max_new_tokens = max_new_tokens
        self.prompt = prompt
        self.sites = sites
        self.edits = edits
        self.copies = network.habits.copies
        self.accesses = network.ways_to([*sites, *edits])
        self.ids: list[Tensor] = []
        self.at_logits: list[Edit] = []
        self.run = Run(self._plan({}), prompt)
        self.points: Mapping[Tap, Any] = Run(
            self._plan({site: edits[site] for site in edits if site != LOGITS}), prompt
        ).points
        self.steps: list[dict[LayerComponent, Tensor]] = []

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """A step begins: its tokens are known, and with them where each edit acts."""
        if kwargs is None or not is_running(self):
            return
        ids = args[0] if args else kwargs["input_ids"]
        scopes = {"all", "generated"} if self.ids else {"all", "prompt"}
        self.ids.append(ids)
        step = self._step(ids)
        active = {
            site: bound
            for site, edits in self.edits.items()
            if (bound := [self._bound(edit, ids.shape[1]) for edit in edits if edit.scope in scopes])
        }
        self.at_logits = active.pop(LOGITS, [])
        self.run = Run(self._plan(active), step, keys=self._mask().bool())
        self.steps.append(self.run.values)

    def finish(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """A step ends: its logits, of the last positions that the head ran on, are edited."""
        if not is_running(self) or not self.at_logits:
            return None
        logits = output_logits(output)
        n_last = logits.shape[1]
        step = self.run.batch
        last = replace(step, input_ids=step.input_ids[:, -n_last:], attention_mask=step.attention_mask[:, -n_last:])
        edits = [
            replace(edit, at=_Found(edit.at.mask(step)[:, -n_last:])) if edit.at is not None else edit
            for edit in self.at_logits
        ]
        output.logits = write_edits(edits, logits, last)
        return output

    def visit(self, point: Tap, found: Any) -> Any:
        """See `Run.visit`; a point where this step does nothing is left alone."""
        return self.run.visit(point, found) if point in self.run.points else found

    def stop_if_done(self) -> None:
        """A generation runs to its end."""

    def values(self) -> dict[LayerComponent, Tensor]:
        """What was read, the steps joined along the positions."""
        return {site: torch.cat([step[site] for step in self.steps], dim=1) for site in self.sites}

    def _plan(self, edits: Mapping[LayerComponent, Sequence[Edit]]) -> Plan:
        return Plan(self.accesses, self.sites, edits, wants_output=True, copies=self.copies)

    def _step(self, ids: Tensor) -> Batch:
        if len(self.ids) == 1:
            return replace(self.prompt, input_ids=ids)
        n_before = self.prompt.attention_mask.sum(dim=1) + sum(part.shape[1] for part in self.ids[1:-1])
        return Batch(ids, torch.ones_like(ids), self.prompt.extra, n_before=n_before)

    def _mask(self) -> Int[Tensor, "batch pos"]:
        """The mask of all tokens so far."""
        generated = [torch.ones_like(ids) for ids in self.ids[1:]]
        return torch.cat([self.prompt.attention_mask, *generated], dim=1)

    def _bound(self, edit: Edit, n_new: int) -> Edit:
        """The edit with its positions on the tokens of this step."""
        if edit.at is None:
            return replace(edit, scope="all")
        ids, mask = torch.cat(self.ids, dim=1), self._mask()
        n_to_come = self.max_new_tokens - (len(self.ids) - 1)
        found = edit.at.mask(Batch(ids, mask, self.prompt.extra, n_to_come=n_to_come))
        return replace(edit, scope="all", at=_Found(found[:, -n_new:]))


@dataclass(frozen=True, eq=False)
class _Found:
    """Positions that are known already."""

    found: Tensor

    def mask(self, batch: Batch) -> Bool[Tensor, "batch pos"]:
        """What was found."""
        return self.found


def _require_generator(
    network: Network,
    batch: Batch,
    max_new_tokens: int,
    sites: Sequence[LayerComponent],
    edits: Mapping[LayerComponent, Sequence[Edit]],
) -> None:
    component_map, name = network.component_map, type(network.module).__name__
    if component_map.kind != "causal_lm" or not hasattr(network.module, "generate"):
        raise UsageError(
            f"generation with {name}, a {component_map.kind}",
            expected="a causal language model of transformers",
            todo="use capture or logits for a model that does not generate token by token",
        )
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens={max_new_tokens}", expected="at least 1", todo="ask for a token")
    network.require_fit(batch)
    if bool((batch.attention_mask[:, -1] == 0).any()):
        raise UsageError(
            "right-padded prompts", expected="prompts that end together", todo="Batch.from_rows(rows, side='left')"
        )
    is_wide = component_map.padding_takes_positions
    longest = batch.input_ids.shape[1] if is_wide else int(batch.attention_mask.sum(dim=1).max())
    longest += max_new_tokens
    if component_map.max_positions is not None and longest > component_map.max_positions:
        raise UsageError(
            f"a prompt and {max_new_tokens} new tokens, {longest} together",
            expected=f"at most {component_map.max_positions}, the model's positions",
            todo="generate fewer tokens, or cut the prompt",
        )
    latent = network.component_map.value is not None and network.component_map.value.has_group_axis
    if latent and (found := [str(site) for site in (*sites, *edits) if site.kind == "v"]):
        raise UsageError(
            f"{found[0]} while generating: values are made anew from latents, over the whole past in every step",
            expected="a site that each token passes once",
            todo="generate without it, then capture or edit it on the generated batch",
        )
    if needs_eager(sites) or LOGITS in sites:
        raise UsageError(
            f"a capture of {'patterns' if needs_eager(sites) else 'logits'} during generation",
            expected="sites whose positions come step by step",
            todo="run model.capture on the batch that was generated",
        )


def _ends(module: nn.Module) -> list[int]:
    """The tokens that end a row, as the model's generation config has them."""
    config = getattr(module, "generation_config", None)
    found = getattr(config, "eos_token_id", None)
    return [] if found is None else [found] if isinstance(found, int) else list(found)


def _drawing(sampling: Sampling) -> dict[str, Any]:
    if not sampling.temperature > 0 or sampling.top_k < 0 or not 0 < sampling.top_p <= 1:
        raise UsageError(
            f"{sampling}", expected="temperature above 0, top_k from 0, top_p in (0, 1]", todo="correct the sampling"
        )
    return {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}


def _plain(batch: Batch) -> dict[str, Tensor]:
    if batch.extra:
        raise BadDataError(
            f"extra inputs {sorted(batch.extra)} in a prompt", expected="token ids alone", todo="drop the extra inputs"
        )
    return {}


def _until_end(ids: Int[Tensor, "batch new"], ends: Sequence[int]) -> Int[Tensor, "batch new"]:
    """1 up to and including the first token that ends a row."""
    is_end = torch.isin(ids, torch.tensor(ends, dtype=ids.dtype, device=ids.device)).long()
    return (is_end.cumsum(dim=1) - is_end == 0).long()
