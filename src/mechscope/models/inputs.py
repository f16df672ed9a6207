"""From a batch to the arguments that a module's `forward` takes, and from its output to logits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, UsageError
from mechscope.models.batch import DECODER_IDS, DECODER_MASK, Batch
from mechscope.models.component_map import ComponentMap

__all__ = ["ForwardSignature", "output_logits"]

NOT_PASSED = frozenset({"labels"})
TOKENS = "make the batch with them: Batch(input_ids, attention_mask)"
CACHES = "drop it; model.generate keeps keys and values by itself"
NOT_TAKEN = {  # what a batch must not decide, and what to do instead
    "input_ids": TOKENS,
    "attention_mask": TOKENS,
    "inputs_embeds": "give token ids, and edit the site 'embed'",
    "past_key_values": CACHES,
    "use_cache": CACHES,
    "output_attentions": "capture the site 'pattern': attention runs eagerly for that run only",
    "output_hidden_states": "capture the sites 'resid_pre' and 'resid_post'",
    "return_dict": "drop it",
}


class ForwardSignature:
    """What a module's `forward` takes, read from its signature once, and from its map.

    A model of tokens gets ids, mask and positions as far as `forward` names them; an encoder-decoder gets its
    encoder's, and the decoder's from the batch's extra inputs; a model of values gets these and neither ids nor mask.

    Raises:
        UsageError: a forward that names no input, inputs of the map that it does not take, or an impossible shape.
    """

    def __init__(self, module: nn.Module, component_map: ComponentMap) -> None:
        self.type_name = type(module).__name__
        self.names = _input_names(module)
        self.max_positions = component_map.max_positions
        self.max_columns = self.max_positions if component_map.padding_takes_positions else None
        self.extra_ids = component_map.extra_ids
        self.value_inputs = component_map.value_inputs
        self.has_encoder = component_map.encoder is not None
        self.max_encoder_positions = component_map.encoder.max_positions if component_map.encoder else None
        pad_id = getattr(getattr(module, "config", None), "pad_token_id", None)
        self.pad_id: int | None = pad_id if isinstance(pad_id, int) and pad_id >= 0 else None
        for name, shape in self.value_inputs.items():
            if not all(size > 0 for size in shape):
                raise UsageError(
                    f"value_inputs {name!r} of shape {shape} in the component map",
                    expected="the sizes of one row without the batch axis, each at least 1",
                    todo="correct 'value_inputs' in the map",
                )
        self.wanted = (*self.extra_ids, *self.value_inputs, *((DECODER_IDS,) if self.has_encoder else ()))
        if lacking := [name for name in self.wanted if name not in self.names]:
            raise UsageError(
                f"the forward of {self.type_name} takes no {lacking[0]!r}",
                expected=f"a forward that names {', '.join(self.wanted)}",
                todo="correct 'extra_ids' or 'value_inputs' in the map, or wrap the module so that it takes them",
            )

    @property
    def takes_mask(self) -> bool:
        """Whether padding can be told to the module."""
        return "attention_mask" in self.names and not self.value_inputs

    @property
    def takes_positions(self) -> bool:
        """Whether each token's position can be told to the module; an encoder-decoder counts by itself."""
        return "position_ids" in self.names and not self.value_inputs and not self.has_encoder

    def arguments(self, batch: Batch, *, with_positions: bool = True) -> dict[str, Any]:
        """The arguments for `forward`; the key "" stands for the first positional one.

        Without our positions, a module that takes some counts by itself: RoBERTa counts the ids that are not its pad
        id. So that id is put into padded places, whatever stood there.
        """
        found: dict[str, Any] = {}
        if not self.value_inputs:
            ids = batch.input_ids
            if self.takes_mask and self.takes_positions and not with_positions and self.pad_id is not None:
                ids = ids.masked_fill(batch.attention_mask == 0, self.pad_id)
            found["input_ids" if "input_ids" in self.names else ""] = ids
        if self.takes_mask:
            found["attention_mask"] = batch.attention_mask
        if with_positions and self.takes_positions:
            found["position_ids"] = batch.position_ids
        if "use_cache" in self.names:
            found["use_cache"] = False
        return found | {name: value for name, value in batch.extra.items() if name not in NOT_PASSED}

    def check(self, batch: Batch, *, n_ids: int) -> None:
        """Hold a batch against the module.

        Raises:
            UsageError: padding for a module that takes no mask, a row longer than the model's positions (for some with
                its padding), an extra input that is missing or that `forward` does not take, an encoder-decoder's
                batch without tokens for the decoder, values of another shape or dtype than the map's.
            BadDataError: an id outside its vocabulary (`n_ids` entries for tokens).
        """
        self._require_names(batch)
        if not self.takes_mask and not bool((batch.attention_mask == 1).all()):
            raise UsageError(
                f"a padded batch for {self.type_name}, whose forward takes no attention_mask",
                expected="rows of one length",
                todo="batch rows of equal length together",
            )
        for name, limit in self.extra_ids.items():
            _require_ids(name, batch.extra[name], limit)
        for name, shape in self.value_inputs.items():
            _require_values(name, batch.extra[name], shape)
        if not self.value_inputs:
            longest = self.max_encoder_positions if self.has_encoder else self.max_positions
            _require_tokens(batch, longest, n_ids)
        if self.has_encoder:
            _require_tokens(batch.decoder, self.max_positions, n_ids)
        own = batch.decoder if self.has_encoder else batch
        if self.max_columns is not None and (width := own.input_ids.shape[1]) > self.max_columns:
            raise UsageError(
                f"a batch of {width} columns, padding included",
                expected=f"at most {self.max_columns}: padding takes up positions of {self.type_name} too",
                todo="put rows of like length together, so that they are padded less",
            )

    def _require_names(self, batch: Batch) -> None:
        if decided := [name for name in batch.extra if name in NOT_TAKEN and name not in self.wanted]:
            raise UsageError(
                f"extra input {decided[0]!r} for {self.type_name}",
                expected=f"{sorted(self.wanted) or 'inputs that its forward names'}, and nothing that a run decides",
                todo=NOT_TAKEN[decided[0]],
            )
        unknown = [name for name in batch.extra if name not in self.names | NOT_PASSED]
        missing = [name for name in self.wanted if name not in batch.extra]
        if unknown or missing:
            raise UsageError(
                f"extra inputs {sorted(batch.extra)} for {self.type_name}",
                expected=f"{sorted(self.wanted) or 'inputs that its forward names'}",
                todo=_how_to_add(missing[0], self.value_inputs) if missing else f"remove {unknown[0]!r}",
            )


def _input_names(module: nn.Module) -> frozenset[str]:
    """The parameters that `forward` names; what it swallows by *args or **kwargs tells nothing."""
    parameters = inspect.signature(module.forward).parameters
    swallowed = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    names = frozenset(name for name, parameter in parameters.items() if parameter.kind not in swallowed)
    if not names:
        taken = ", ".join(map(str, parameters.values()))
        raise UsageError(
            f"the forward of {type(module).__name__} names no input: forward({taken})",
            expected="a forward that names what it takes, for example forward(self, input_ids, attention_mask)",
            todo="wrap the module in one whose forward names its inputs and passes them on",
        )
    return names


def _how_to_add(name: str, value_inputs: Mapping[str, tuple[int, ...]]) -> str:
    if name in value_inputs:
        return f"make the batch with Batch.from_values({{{name!r}: tensor}})"
    if name == DECODER_IDS:
        return (
            f"add {name!r} [batch pos2] (and {DECODER_MASK!r} where they are padded) to the batch's extra inputs; "
            "nothing is shifted for you: begin each row with the model's decoder_start_token_id"
        )
    return f"add {name!r}"


def _require_tokens(batch: Batch, max_positions: int | None, n_ids: int) -> None:
    longest = batch.input_ids.shape[1]
    if max_positions is not None and longest > max_positions:
        longest = int(batch.attention_mask.sum(dim=1).max())
    if max_positions is not None and longest > max_positions:
        raise UsageError(
            f"a row of {longest} tokens",
            expected=f"at most {max_positions}, the model's positions",
            todo="cut the corpus into shorter rows",
        )
    low, high = (int(bound) for bound in batch.input_ids.aminmax())
    if low < 0 or high >= n_ids:
        raise BadDataError(
            f"token ids in {low}..{high}",
            expected=f"ids in 0..{n_ids - 1}, the rows of the model's embedding",
            todo="use the tokenizer that belongs to the model",
        )


def _require_ids(name: str, ids: Tensor, limit: int) -> None:
    low, high = (int(bound) for bound in ids.aminmax())
    if low < 0 or high >= limit:
        raise BadDataError(
            f"{name} in {low}..{high}", expected=f"ids in 0..{limit - 1}", todo=f"correct {name} of the batch"
        )


def _require_values(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(values.shape[1:]) != shape or not values.dtype.is_floating_point:
        raise UsageError(
            f"{name} of shape {tuple(values.shape)} and {values.dtype}",
            expected=f"floating-point numbers of shape (batch, {', '.join(map(str, shape))})",
            todo=f"bring {name} into the shape that the model takes",
        )
    if not bool(torch.isfinite(values).all()):
        raise BadDataError(f"{name} has NaN or infinite values", expected="finite numbers", todo=f"correct {name}")


def output_logits(output: Any) -> Tensor:
    """The logits in what `forward` returned: a tensor, an output with `logits`, or a tuple's first tensor."""
    for name in ("logits", "prediction_logits"):
        if isinstance(found := getattr(output, name, None), Tensor):
            return found
    first = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(first, Tensor):
        raise BadDataError(
            f"forward returned {type(output).__name__}",
            expected="a tensor, an output with 'logits', or a tuple that begins with a tensor",
            todo="wrap the module so that its forward returns its outputs as a tensor",
        )
    return first
