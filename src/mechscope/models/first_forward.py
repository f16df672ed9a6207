"""One bare forward of a module that nobody has tried yet, before anything is measured: does it run as its map says?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mechscope.core import UsageError
from mechscope.models.component_map import ComponentMap, blocks_of, find_module
from mechscope.models.network import Network
from mechscope.models.trials import probe_batch

__all__ = ["FAULTS", "require_forward"]

ENDS = ("blocks", "embedding", "final_norm", "unembedding")
FAULTS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)  # what forward may raise


@torch.inference_mode(mode=False)
@torch.enable_grad()
def require_forward(module: nn.Module, component_map: ComponentMap) -> None:
    """Run two short rows through the module, in evaluation mode, with gradients. One forward.

    Raises:
        NotFoundError: a path of the map that is not in the module.
        UsageError: the forward raises, or runs its blocks without gradients.
    """
    for field in ENDS:
        if (path := getattr(component_map, field)) is not None:
            find_module(module, path, what=field)
    network = Network(module, component_map)
    arguments = network.signature.arguments(probe_batch(network).to(network.device))
    named = {name: value for name, value in arguments.items() if name}
    positional = [value for name, value in arguments.items() if not name]
    has_gradients: list[bool] = []

    def note_gradients(*_: Any) -> None:
        has_gradients.append(torch.is_grad_enabled())

    hook = blocks_of(module, component_map)[0].register_forward_pre_hook(note_gradients)
    try:
        with network.turn_for(()):
            module(*positional, **named)
    except FAULTS as error:
        told = " ".join(str(error).split())
        raise UsageError(
            f"the forward of {type(module).__name__} in {network.dtype} raises {type(error).__name__}: {told:.300}",
            expected=f"a forward that takes {_listed(arguments)}",
            todo="run the module by itself on these; open it in another dtype; correct 'value_inputs', 'extra_ids' or "
            "'max_positions' in the map, or wrap the module so that it takes them",
        ) from error
    finally:
        hook.remove()
    if not all(has_gradients):
        raise UsageError(
            f"the forward of {type(module).__name__} runs its blocks without gradients",
            expected="a forward that leaves gradients as its caller sets them",
            todo="take torch.no_grad or torch.inference_mode off the forward; the model's own calls need none",
        )


def _listed(arguments: dict[str, Any]) -> str:
    """Names and shapes; the one that goes in by position has no name."""
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    return ", ".join(f"{name or 'token ids'} {list(value.shape)}" for name, value in tensors.items())
