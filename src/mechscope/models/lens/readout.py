"""The end of a network as a lens uses it: from the residual stream to the logits.

    normed = final_norm(x)               skipped where there is none
    pooled = mean over the row's tokens  in models that pool so; or the first position's
    raw    = scale * (W_U pooled + b_U)
    logits = cap * tanh(raw / cap)       raw itself without a soft cap

The model's own modules are run, so a lens on the last stream gives the model's logits up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import UsageError
from mechscope.models.final_maps import FinalMap, read_final_map
from mechscope.models.lens.places import Places, Pooling
from mechscope.models.model import Model
from mechscope.models.projections import as_input_of, input_width

__all__ = ["Readout", "readout_of"]


@dataclass(frozen=True, eq=False)
class Readout:
    """The last steps of a model.

    Attributes:
        final: the module between the last stream and the unembedding; None where there is none.
        parts: the same as a linear map at a given scale.
        unembedding: the linear map to the outputs.
        scale: the logit scale, 1.0 where there is none.
        cap: the soft cap.
        pooling: how rows become one reading, among those that may fit; empty where each position is its own.
    """

    final: nn.Module | None
    parts: FinalMap | None
    unembedding: nn.Module
    scale: float
    cap: float | None
    pooling: tuple[Pooling, ...]

    def uncapped(self, stream: Float[Tensor, "m d_model"], places: Places) -> Float[Tensor, "n d_vocab"]:
        """The scaled logits before the soft cap. Gradients flow, where they are on."""
        normed = stream if self.final is None else self.final(stream)
        logits: Tensor = self.unembedding(as_input_of(self.unembedding, places.pool(normed)))
        return logits if self.scale == 1.0 else logits * self.scale

    def capped(self, logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n d_vocab"]:
        """What the soft cap makes of scaled logits; themselves where there is none."""
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def logits(self, stream: Float[Tensor, "m d_model"], places: Places) -> Float[Tensor, "n d_vocab"]:
        """The logits that the model would give if this were its last stream."""
        return self.capped(self.uncapped(stream, places))

    def describe(self, places: Places) -> str:
        """The steps in words."""
        pooled = {"mean": ["mean over the row"], "first": ["the first position"], None: []}[places.pooling]
        steps = ["final norm"] * (self.final is not None) + pooled + ["unembedding"]
        steps += [f"logit scale {self.scale:g}"] * (self.scale != 1.0)
        return ", ".join(steps + ([f"soft cap {self.cap:g}"] if self.cap is not None else []))


def readout_of(model: Model) -> Readout:
    """The end of a model.

    Raises:
        UsageError: no unembedding, or one of another width than the stream; a head that is not (norm or linear map)
            + linear map (BERT's); or one that was measured, when the model was opened, not to give its logits.
    """
    found = model.component_map
    if found.unembedding is None:
        raise _refused(model, "its component map names no unembedding", "name the linear map to the outputs in the map")
    broken = [check for check in model.verification.checks if check.name == "output" and not check.passed]
    if broken:
        seen = f"final norm and unembedding do not give its logits (relative error {broken[0].error})"
        raise _refused(model, seen, "correct 'final_norm', 'unembedding', 'logit_scale' or 'logit_cap' in the map")
    if found.head_transform:
        raise _refused(model, "its head is not linear: more than a norm lies before the unembedding", BY_EDIT)
    final = None if found.final_norm is None else model.module.get_submodule(found.final_norm)
    like = torch.zeros(model.d_model, dtype=model.dtype, device=model.device)
    parts = None if final is None else read_final_map(final, like=like)
    if final is not None and parts is None:
        raise _refused(model, f"its head is not linear: {found.final_norm!r} is no LayerNorm or RMSNorm", BY_EDIT)
    unembedding = model.module.get_submodule(found.unembedding)
    width = input_width(unembedding)
    if final is None and width not in {None, model.d_model}:
        seen = f"its unembedding {found.unembedding!r} reads {width} numbers where the stream's last axis is"
        raise _refused(model, f"{seen} {model.d_model}", "correct 'unembedding' in the map, or " + BY_EDIT)
    return Readout(
        final=final,
        parts=parts,
        unembedding=unembedding,
        scale=1.0 if found.logit_scale is None else found.logit_scale,
        cap=found.logit_cap,
        pooling=() if found.pooled is None else ("mean", "first"),
    )


BY_EDIT = "measure the effect of an edit instead"


def _refused(model: Model, why: str, todo: str) -> UsageError:
    return UsageError(
        f"no lens on {model.name}: {why}",
        expected="a head of final norm, linear unembedding, scale and soft cap",
        todo=todo,
    )
