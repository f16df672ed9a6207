"""Modules that cannot be opened as they stand: each says what it is and what to open in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BartConfig,
    BartForCausalLM,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    CLIPConfig,
    CLIPModel,
    DeiTConfig,
    DeiTForImageClassification,
    ElectraConfig,
    ElectraForPreTraining,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2DoubleHeadsModel,
    GPT2LMHeadModel,
    GPT2Model,
    HeliumConfig,
    HeliumForSequenceClassification,
    HeliumModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    ResNetConfig,
    ResNetForImageClassification,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from mechscope.core import UsageError
from mechscope.models import ComponentMap, Model

SPECIAL: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
WIDE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
TEXT: dict[str, Any] = {**WIDE, **SPECIAL, "vocab_size": 40, "max_position_embeddings": 32}
GROUPED: dict[str, Any] = {**TEXT, "num_key_value_heads": 2, "head_dim": 8}
IMAGES: dict[str, Any] = {**WIDE, "image_size": 8, "patch_size": 4}
BOTH: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 40,
    "decoder_start_token_id": 1, **SPECIAL,
}  # fmt: skip
GPT2: dict[str, Any] = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24, **SPECIAL}
TOWERS: dict[str, Any] = {"text_config": GROUPED, "vision_config": IMAGES}

Build = Callable[[], nn.Module]
ENCODER_DECODERS: dict[str, Build] = {
    "bart": lambda: BartForConditionalGeneration(BartConfig(**BOTH)),
    "whisper": lambda: WhisperForConditionalGeneration(WhisperConfig(**BOTH)),
}
WITHOUT_ITS_HEAD: dict[str, tuple[Build, str]] = {
    "gpt2": (lambda: GPT2Model(GPT2Config(**GPT2)), "a GPT2Model, a base model, which has no 'lm_head'"),
    "llama": (lambda: LlamaModel(LlamaConfig(**GROUPED)), "a LlamaModel, a base model, which has no 'lm_head'"),
    "bert": (
        lambda: BertModel(BertConfig(**TEXT)),
        "a BertModel, a base model, which has no 'cls.predictions.decoder'",
    ),
    "vit": (lambda: ViTModel(ViTConfig(**IMAGES)), "a ViTModel, a base model, which has no 'classifier'"),
    "t5": (
        lambda: T5EncoderModel(T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)),
        "a T5EncoderModel, a base model, which has no 'lm_head'",
    ),
    "llama-labels": (
        lambda: LlamaForSequenceClassification(LlamaConfig(**GROUPED)),
        "a LlamaForSequenceClassification, which has no 'lm_head'",
    ),
    "bert-labels": (
        lambda: BertForSequenceClassification(BertConfig(**TEXT)),
        "a BertForSequenceClassification, which has no 'cls.predictions.decoder'",
    ),
    "electra": (
        lambda: ElectraForPreTraining(ElectraConfig(**TEXT, embedding_size=32)),
        "an ElectraForPreTraining, which has no 'generator_lm_head'",
    ),
}
STRANGE: dict[str, tuple[Build, str, str]] = {
    "helium": (lambda: HeliumModel(HeliumConfig(**GROUPED)), "HeliumModel: a model without a head", "AutoModelFor"),
    "helium-labels": (
        lambda: HeliumForSequenceClassification(HeliumConfig(**GROUPED)),
        "HeliumForSequenceClassification: a model without a head over the vocabulary",
        "AutoModelFor",
    ),
    "gemma3": (
        lambda: Gemma3ForConditionalGeneration(Gemma3Config(**TOWERS, mm_tokens_per_image=4)),
        r"Gemma3ForConditionalGeneration: a model of several towers \(vision_config\)",
        "text model",
    ),
    "clip": (
        lambda: CLIPModel(CLIPConfig(text_config={**TEXT}, vision_config=IMAGES)),
        "CLIPModel: a model of several towers",
        "text model",
    ),
    "deit": (
        lambda: DeiTForImageClassification(DeiTConfig(**IMAGES)),
        "DeiTForImageClassification: a model without a token embedding",
        "value_inputs=",
    ),
    "resnet": (
        lambda: ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        "ResNetForImageClassification: a model without a token embedding",
        "value_inputs=",
    ),
    "albert": (
        lambda: AlbertForMaskedLM(AlbertConfig(**TEXT, embedding_size=16)),
        r"AlbertForMaskedLM: 1 blocks at '[\w.]+' for 2 layers",
        "share no block",
    ),
}


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_is_not_taken_for_its_encoder(name: str) -> None:
    with pytest.raises(UsageError, match="an encoder-decoder of a family without a map") as caught:
        Model.open(ENCODER_DECODERS[name]().eval())
    assert "encoder=ComponentMap(blocks=..., ...)" in caught.value.todo


def test_the_decoder_alone_opens_by_its_structure() -> None:
    model = Model.open(BartForCausalLM(BartConfig(**BOTH)).eval())
    assert model.component_map.blocks == "model.decoder.layers"


@pytest.mark.parametrize("name", WITHOUT_ITS_HEAD)
def test_a_model_without_its_familys_head_is_told_so(name: str) -> None:
    build, seen = WITHOUT_ITS_HEAD[name]
    with pytest.raises(UsageError) as caught:
        Model.open(build().eval())
    assert caught.value.seen == seen
    assert "open the model with that head" in caught.value.todo


@pytest.mark.parametrize("name", STRANGE)
def test_a_model_whose_structure_tells_nothing_says_why(name: str) -> None:
    build, seen, todo = STRANGE[name]
    with pytest.raises(UsageError, match=seen) as caught:
        Model.open(build().eval())
    assert todo in caught.value.todo


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # torch.compile's own import
@pytest.mark.parametrize("with_map", [False, True])
def test_wrappers_say_where_the_module_lies(with_map: bool) -> None:
    module = GPT2LMHeadModel(GPT2Config(**GPT2)).eval()
    component_map = Model.open(module).component_map if with_map else None
    with pytest.raises(UsageError, match=r"(?s)an OptimizedModule.*pass model\._orig_mod"):
        Model.open(torch.compile(module), component_map=component_map)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"(?s)a DataParallel.*pass model\.module"):
        Model.open(nn.DataParallel(module), component_map=component_map)


def test_a_model_with_one_head_more_opens() -> None:
    assert Model.open(GPT2DoubleHeadsModel(GPT2Config(**GPT2)).eval()).verification.failed == {}


class Counter(nn.Module):
    """A network whose only parameter, if any, is a whole number."""

    def __init__(self, n_parameters: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ReLU()])
        if n_parameters:
            self.count = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.blocks[0](x)
        return found


@pytest.mark.parametrize("n_parameters", [0, 1])
def test_a_module_without_weights_is_refused(n_parameters: int) -> None:
    component_map = ComponentMap(blocks="blocks", value_inputs={"x": (4,)})
    with pytest.raises(UsageError, match=f"a Counter with {n_parameters} parameters, none of them of floating-point"):
        Model.open(Counter(n_parameters), component_map=component_map)
