"""What one forward tells of a block, against the maps that were written by hand, and in families that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Exaone4Config,
    Exaone4ForCausalLM,
    Glm4Config,
    Glm4ForCausalLM,
    HeliumConfig,
    HeliumForCausalLM,
    NemotronConfig,
    NemotronForCausalLM,
    PreTrainedModel,
)

from mechscope.models import Batch, Model
from mechscope.models.block_flow import follow_stream
from mechscope.models.discovery import discover_map
from mechscope.testing.zoo import DECODERS, perturb

FLOW = ("parallel_blocks", "attention", "attention_norm_after", "mlp", "mlp_norm", "mlp_norm_after")
SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
UNWRITTEN: dict[str, tuple[Callable[[], PreTrainedModel], str, str]] = {  # what reads the stream, and the norm after
    "helium": (lambda: HeliumForCausalLM(HeliumConfig(**SIZES, head_dim=8)), "post_attention_layernorm", ""),
    "nemotron": (lambda: NemotronForCausalLM(NemotronConfig(**SIZES)), "post_attention_layernorm", ""),
    "glm4": (
        lambda: Glm4ForCausalLM(Glm4Config(**SIZES, head_dim=8)),
        "post_attention_layernorm",
        "post_self_attn_layernorm",
    ),
    "exaone4": (lambda: Exaone4ForCausalLM(Exaone4Config(**SIZES)), "mlp", "post_attention_layernorm"),
}


def guessed(name: str) -> tuple[Any, Any, Any]:
    """The structure's map, what the forward makes of it, and the written one."""
    module = DECODERS[name]()
    assert isinstance(module, PreTrainedModel)
    plain = discover_map(module, module.config.to_dict())
    return plain, follow_stream(module, plain), Model.open(module, verify=False).component_map


@pytest.mark.parametrize(
    "name", ["llama", "mistral", "qwen2", "gpt2", "gpt_neo", "gemma2", "gemma3_text", "olmo2", "olmo"]
)
def test_sequential_blocks_are_read_as_they_were_written_down(name: str) -> None:
    _, found, written = guessed(name)
    assert [getattr(found, field) for field in FLOW] == [getattr(written, field) for field in FLOW]


@pytest.mark.parametrize("name", ["cohere", "phi", "gptj", "granite"])
def test_parallel_and_scaled_blocks_keep_the_plain_map(name: str) -> None:
    plain, found, written = guessed(name)
    assert found == plain
    assert written.parallel_blocks or written.residual_multiplier != 1.0


@pytest.mark.parametrize("name", UNWRITTEN)
def test_families_without_a_file_have_a_middle_of_the_stream(name: str) -> None:
    build, reader, norm_after = UNWRITTEN[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = build()
    perturb(module, torch.Generator().manual_seed(1))
    model = Model.open(module.eval())
    assert model.verification.failed == {}
    assert model.component_map.mlp_norm == reader
    assert (model.component_map.attention_norm_after or "") == norm_after
    seen: list[Tensor] = []

    def keep(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    hook = module.get_submodule(f"model.layers.1.{reader}").register_forward_pre_hook(keep, with_kwargs=True)
    batch = Batch.from_rows([[3, 4, 5, 6], [7, 8, 9, 10]])
    with torch.no_grad():
        told = module(batch.input_ids, attention_mask=batch.attention_mask).logits
    hook.remove()
    capture = model.capture(batch, "resid_pre:1, attn_out:1, resid_mid:1, mlp_out:1, resid_post:1", logits=True)
    assert capture.logits is not None
    assert torch.equal(capture.logits, told)
    (middle,) = seen
    assert torch.allclose(capture["resid_mid:1"], middle, atol=1e-6)
    assert torch.allclose(capture["resid_pre:1"] + capture["attn_out:1"], middle, atol=1e-6)
    assert torch.allclose(middle + capture["mlp_out:1"], capture["resid_post:1"], atol=1e-6)


def test_a_model_in_half_precision_is_read_the_same() -> None:
    module = HeliumForCausalLM(HeliumConfig(**SIZES, head_dim=8)).bfloat16().eval()
    found = follow_stream(module, discover_map(module, module.config.to_dict()))
    assert found.mlp_norm == "post_attention_layernorm"
    assert not found.parallel_blocks
