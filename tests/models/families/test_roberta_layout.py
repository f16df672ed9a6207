"""The families that share RoBERTa's modules: every site stands, and rows may be as long as the positions reach."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import (
    CamembertConfig,
    CamembertForMaskedLM,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from mechscope.core import UsageError
from mechscope.models import Batch, Model
from mechscope.testing.zoo import perturb

SIZES = {
    "vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
SUBLAYERS = {"q", "k", "v", "pattern", "z", "head_out", "attn_out", "mlp_pre", "mlp_post", "mlp_out"}
BUILDERS: dict[str, Callable[[], PreTrainedModel]] = {
    "xlm-roberta": lambda: XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES)),
    "camembert": lambda: CamembertForMaskedLM(CamembertConfig(**SIZES)),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_every_site_stands_and_the_logits_are_the_bare_models(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        module = BUILDERS[name]()
    perturb(module, torch.Generator().manual_seed(4))
    model = Model.open(module.eval())
    assert model.kind == "masked_lm"
    assert model.verification.failed == {}
    assert not any("by their structure" in note for note in model.notes)
    streams = {"embed", "resid_pre", "resid_mid", "resid_post", "final_norm", "logits"}
    assert {site.kind for site in model.sites()} == streams | SUBLAYERS
    longest = Batch.from_rows([[*range(3, 13)], [*range(20, 30)]])
    with torch.no_grad():
        told = module(longest.input_ids, attention_mask=longest.attention_mask).logits
    assert torch.equal(model.logits(longest), told)
    with pytest.raises(UsageError, match="row of 11 tokens\nexpected: at most 10"):
        model.logits(Batch.from_rows([[*range(3, 14)]]))
