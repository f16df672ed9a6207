"""Tiny models of the families that are not decoders of text: masked, encoder-decoder, image and state-space models.

Width 32, 4 heads, 2 or 3 blocks, at most 24 positions, images of 8 x 8; random and perturbed (see `perturbing`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    CamembertConfig,
    CamembertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from mechscope.testing.zoo.perturbing import build_perturbed

__all__ = ["OTHERS"]

N_IDS = 61
WIDE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
MASKED = {**WIDE, "vocab_size": N_IDS, "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 2}
DISTIL = {"vocab_size": N_IDS, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 24}
SEQ2SEQ = {
    "vocab_size": N_IDS,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 48,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
}
IMAGES = {**WIDE, "image_size": 8, "patch_size": 4, "num_channels": 3, "num_labels": 5}  # as many as positions
STATES = {"vocab_size": N_IDS, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 4, "bos_token_id": 0}


def _untied_t5() -> PreTrainedModel:
    """T5 v1.1: a gated MLP, an unembedding of its own, and no scale before it."""
    model = T5ForConditionalGeneration(T5Config(**SEQ2SEQ, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    return model


MAKERS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertForMaskedLM(BertConfig(**MASKED, pad_token_id=0)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**MASKED, pad_token_id=1)),
    "xlm_roberta": lambda: XLMRobertaForMaskedLM(XLMRobertaConfig(**MASKED, pad_token_id=1)),
    "camembert": lambda: CamembertForMaskedLM(CamembertConfig(**MASKED, pad_token_id=1)),
    "distilbert": lambda: DistilBertForMaskedLM(DistilBertConfig(**DISTIL)),
    "electra": lambda: ElectraForMaskedLM(ElectraConfig(**MASKED, pad_token_id=0, embedding_size=20)),
    "vit": lambda: ViTForImageClassification(ViTConfig(**IMAGES)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**SEQ2SEQ)),
    "t5-gated": _untied_t5,
    "mamba": lambda: MambaForCausalLM(MambaConfig(**STATES, eos_token_id=0, pad_token_id=0)),
}
OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    name: partial(build_perturbed, make) for name, make in MAKERS.items()
}
