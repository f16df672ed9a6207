"""From a batch to the arguments that a module's `forward` takes, and from its output to logits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mechscope.core import BadDataError, UsageError
from mechscope.models.batch import Batch
from mechscope.models.component_map import ComponentMap

__all__ = ["ForwardSignature", "output_logits"]

NOT_PASSED = frozenset({"labels"})


class ForwardSignature:
    """What a module's `forward` takes, read from its signature once."""

    def __init__(self, module: nn.Module, component_map: ComponentMap) -> None:
        self.names = frozenset(inspect.signature(module.forward).parameters)
        self.type_name = type(module).__name__
        self.max_positions = component_map.max_positions
        self.extra_ids = component_map.extra_ids

    @property
    def takes_mask(self) -> bool:
        """Whether padding can be told to the module."""
        return "attention_mask" in self.names

    @property
    def takes_positions(self) -> bool:
        """Whether each token's position can be told to the module."""
        return "position_ids" in self.names

    def arguments(self, batch: Batch, *, with_positions: bool = True) -> dict[str, Any]:
        """The arguments for `forward`; the key "" stands for the first positional one."""
        found: dict[str, Any] = {"input_ids" if "input_ids" in self.names else "": batch.input_ids}
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
            UsageError: padding for a module that takes no mask, a row longer than the model's positions, an extra
                input that is missing or that `forward` does not take.
            BadDataError: an id outside its vocabulary (`n_ids` entries for tokens).
        """
        unknown = [name for name in batch.extra if name not in self.names | NOT_PASSED]
        missing = [name for name in self.extra_ids if name not in batch.extra]
        if unknown or missing:
            raise UsageError(
                f"extra inputs {sorted(batch.extra)} for {self.type_name}",
                expected=f"{sorted(self.extra_ids) or 'inputs that its forward names'}",
                todo=f"{'add' if missing else 'remove'} {(missing or unknown)[0]!r}",
            )
        if not self.takes_mask and not bool((batch.attention_mask == 1).all()):
            raise UsageError(
                f"a padded batch for {self.type_name}, whose forward takes no attention_mask",
                expected="rows of one length",
                todo="batch rows of equal length together",
            )
        _check_extra(batch.extra, self.extra_ids)
        longest = batch.input_ids.shape[1]
        if self.max_positions is not None and longest > self.max_positions:
            longest = int(batch.attention_mask.sum(dim=1).max())
        if self.max_positions is not None and longest > self.max_positions:
            raise UsageError(
                f"a row of {longest} tokens",
                expected=f"at most {self.max_positions}, the model's positions",
                todo="cut the corpus into shorter rows",
            )
        low, high = (int(bound) for bound in batch.input_ids.aminmax())
        if low < 0 or high >= n_ids:
            raise BadDataError(
                f"token ids in {low}..{high}",
                expected=f"ids in 0..{n_ids - 1}, the rows of the model's embedding",
                todo="use the tokenizer that belongs to the model",
            )


def _check_extra(extra: Mapping[str, Tensor], limits: Mapping[str, int]) -> None:
    for name, limit in limits.items():
        low, high = (int(bound) for bound in extra[name].aminmax())
        if low < 0 or high >= limit:
            raise BadDataError(
                f"{name} in {low}..{high}", expected=f"ids in 0..{limit - 1}", todo=f"correct {name} of the batch"
            )


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
