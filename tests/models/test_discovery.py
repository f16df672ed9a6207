from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    HeliumConfig,
    HeliumForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from mechscope.core import UsageError
from mechscope.models import Batch, Model
from mechscope.models.discovery import discover_map

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
MORE: dict[str, Any] = {**SIZES, "intermediate_size": 48, "max_position_embeddings": 32, "num_key_value_heads": 2}


def perturbed(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_the_structure_gives_what_the_families_files_say(name: str, bare: Callable[[str], nn.Module]) -> None:
    module = bare(name)
    assert isinstance(module, PreTrainedModel)
    written = Model.open(module).component_map
    found = discover_map(module, module.config.to_dict())
    fused = {} if name == "llama" else {"query": None, "key": None, "value": None}
    assert found == written.updated(parallel_blocks=True, mlp_norm=None, **fused)


@pytest.mark.parametrize(
    ("build", "refused"),
    [
        (lambda: MistralForCausalLM(MistralConfig(**MORE)), set()),
        (lambda: Qwen2ForCausalLM(Qwen2Config(**MORE)), set()),
        (lambda: FalconForCausalLM(FalconConfig(**SIZES, parallel_attn=True)), set()),
        (lambda: Gemma2ForCausalLM(Gemma2Config(**MORE, head_dim=8)), {"attn_out", "mlp_out", "head_out"}),
        (lambda: BloomForCausalLM(BloomConfig(**SIZES, n_head=4)), {"attn_out", "mlp_out", "head_out"}),
        (
            lambda: OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32)),
            {"attn_out", "mlp_out", "mlp_post"},
        ),
    ],
    ids=["mistral", "qwen2", "falcon", "gemma2", "bloom", "opt"],
)
def test_other_families_open_with_what_holds(build: Callable[[], nn.Module], refused: set[str]) -> None:
    torch.manual_seed(0)
    module = perturbed(build())
    assert isinstance(module, PreTrainedModel)
    model = Model.open(module, component_map=discover_map(module, module.config.to_dict()))
    failed = {site.partition(":")[0] for site in model.verification.failed}
    assert refused <= failed
    kinds = {site.kind for site in model.sites()}
    assert {"embed", "resid_pre", "resid_post", "logits"} <= kinds
    assert not refused & kinds
    if not refused:
        assert {"attn_out", "z", "head_out"} <= kinds
    batch = Batch.from_rows([[1, 2, 3, 4]])
    with torch.no_grad():
        bare_logits = module(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.equal(model.logits(batch), bare_logits)


def test_a_family_that_counts_positions_otherwise_is_left_to_do_so() -> None:
    """RoBERTa's positions begin behind its padding id; passing 0, 1, 2 ... would change every value."""
    torch.manual_seed(0)
    sizes = {**SIZES, "pad_token_id": 1, "intermediate_size": 48, "max_position_embeddings": 32}
    module = perturbed(RobertaForMaskedLM(RobertaConfig(**sizes)))
    assert isinstance(module, PreTrainedModel)
    model = Model.open(module, component_map=discover_map(module, module.config.to_dict()))
    assert any("other positions" in note for note in model.notes)
    batch = Batch.from_rows([[3, 4, 5], [6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(model.logits(batch), module(batch.input_ids, attention_mask=batch.attention_mask).logits)
    kinds = {site.kind for site in model.sites()}
    assert {"resid_pre", "resid_post"} <= kinds
    assert not {"attn_out", "mlp_out"} & kinds


def test_a_family_without_a_file_says_that_its_parts_were_found() -> None:
    torch.manual_seed(0)
    config = HeliumConfig(**MORE, head_dim=8)
    model = Model.open(perturbed(HeliumForCausalLM(config)))
    assert any("by their structure" in note for note in model.notes)
    assert model.verification.failed == {}
    assert {"q", "k", "v", "z", "pattern", "head_out", "attn_out", "resid_mid", "mlp_pre"} <= {
        site.kind for site in model.sites()
    }


def test_a_model_without_blocks_is_refused(bare: Callable[[str], nn.Module]) -> None:
    module = bare("gpt2")
    assert isinstance(module, PreTrainedModel)
    module.get_submodule("transformer").h = nn.Identity()
    with pytest.raises(UsageError, match="no list of blocks"):
        discover_map(module, {})
