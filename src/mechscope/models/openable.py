"""What cannot be opened as it stands, told before anything is measured: wrappers, models without a head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from mechscope.core import UsageError
from mechscope.core.hugging_face import PreTrainedModel
from mechscope.models.component_map import ComponentMap

__all__ = ["require_discoverable", "require_own_blocks", "require_parts", "require_unwrapped", "require_weights"]

OTHER_TOWER = re.compile(r"(vision|image|audio|speech|video|encoder)\w*_config$")
N_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WITH_HEAD = re.compile(r"ForCausalLM|LMHead|ForMaskedLM|ForPreTraining")
ENDS = ("blocks", "embedding", "final_norm", "unembedding")
MAP = "pass component_map=ComponentMap(blocks=..., attention=..., ...) with the paths in this model"


def require_unwrapped(module: nn.Module) -> None:
    """Refuse a wrapper, behind which hooks do not fire or run on copies. Raises UsageError."""
    if hasattr(module, "_orig_mod") and type(module).__name__ == "OptimizedModule":
        field, why = "_orig_mod", "a compiled module, into which hooks cannot reach"
    elif isinstance(module, DataParallel | DistributedDataParallel):
        field, why = "module", "a wrapper that runs copies of its module"
    else:
        return
    raise UsageError(
        f"{_a(type(module).__name__)}: {why}",
        expected="the module itself",
        todo=f"pass model.{field}",
    )


def require_weights(module: nn.Module) -> None:
    """Refuse a module without floating-point weights, which say where and in which dtype it runs. Raises UsageError."""
    n_parameters = sum(1 for _ in module.parameters())
    if not any(parameter.dtype.is_floating_point for parameter in module.parameters()):
        raise UsageError(
            f"{_a(type(module).__name__)} with {n_parameters} parameters, none of them of floating-point numbers",
            expected="a network with weights, from which its device and dtype are read",
            todo="open the module that holds the weights, or give it a parameter",
        )


def require_parts(module: nn.Module, component_map: ComponentMap, *, family: str) -> None:
    """Refuse a module of a known family that lacks what its family's map names: a base model, another head.

    Raises:
        UsageError: naming the first part that is not there.
    """
    paths = {name for name, _ in module.named_modules()}
    lacking = [path for field in ENDS if (path := getattr(component_map, field)) is not None and path not in paths]
    if lacking:
        named = component_map.unembedding
        first = named if named in lacking else lacking[0]
        is_base = getattr(module, "base_model", None) is module
        raise UsageError(
            f"{_a(type(module).__name__)}{', a base model' if is_base else ''}, which has no {first!r}",
            expected=f"the model of the family {family!r} with the head that its map names",
            todo="open the model with that head: its folder, or the Auto class for it"
            + ("" if is_base else f"; or {MAP}"),
        )


def require_discoverable(module: PreTrainedModel, config: Mapping[str, Any]) -> None:
    """Refuse kinds of models whose parts cannot be told by their structure. Raises UsageError, naming the kind."""
    towers = [name for name in config if OTHER_TOWER.search(name) and isinstance(config[name], Mapping)]
    if config.get("is_encoder_decoder"):
        _refuse(
            module,
            "an encoder-decoder of a family without a map",
            expected="a map of both stacks",
            todo="pass component_map=ComponentMap(kind='seq2seq_lm', blocks=..., "
            "encoder=ComponentMap(blocks=..., ...), ...); the fields are paths in this model",
        )
    if towers:
        _refuse(
            module,
            f"a model of several towers ({', '.join(towers)})",
            expected="one stack of blocks, or a map that says which",
            todo=f"open the text model by itself, or {MAP} (blocks of the text model)",
        )
    if not has_token_embedding(module):
        _refuse(
            module,
            "a model without a token embedding, of a family without a map",
            expected="a model of tokens, or a map that names its inputs",
            todo="pass component_map=ComponentMap(blocks=..., value_inputs={'pixel_values': (3, 224, 224)}, ...) with "
            "its own inputs and paths",
        )
    if module.get_output_embeddings() is None and not WITH_HEAD.search(type(module).__name__):
        _refuse(
            module,
            "a model without a head over the vocabulary",
            expected="a language model (…ForCausalLM, …ForMaskedLM); or a map, where forward returns logits",
            todo="open the model with its head: its folder, or AutoModelForCausalLM.from_pretrained",
        )


def has_token_embedding(module: PreTrainedModel) -> bool:
    """Whether the module says which part embeds token ids."""
    try:
        return isinstance(module.get_input_embeddings(), nn.Embedding)
    except NotImplementedError:
        return False


def require_own_blocks(module: nn.Module, blocks: str, config: Mapping[str, Any]) -> None:
    """Refuse layers that share their block, whose sites would be one (ALBERT).

    Raises:
        UsageError: fewer blocks lie at the path than the config counts layers, or one lies there twice.
    """
    held = list(module.get_submodule(blocks)._modules.values())
    counts = (config.get(name) for name in N_LAYERS)
    told = next((count for count in counts if isinstance(count, int)), len(held))
    n_blocks = len({id(block) for block in held})
    if n_blocks < max(told, len(held)):
        _refuse(
            module,
            f"{n_blocks} blocks at {blocks!r} for {max(told, len(held))} layers",
            expected="a block for each layer: a block that runs more than once has no sites of its own",
            todo="use a model whose layers share no block, or put a copy for each layer into a ModuleList and "
            "pass a map",
        )


def _refuse(module: nn.Module, seen: str, *, expected: str, todo: str) -> NoReturn:
    raise UsageError(f"{type(module).__name__}: {seen}", expected=expected, todo=todo)


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"
