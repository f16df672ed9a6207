from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel, Metaspace
from tokenizers.models import BPE
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from mechscope.core import LayerComponent, UsageError
from mechscope.models import Batch, Edit, Model
from mechscope.models.outputs import token_strings
from mechscope.testing.zoo.decoders import DECODERS

Bare = Callable[[str], nn.Module]


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_the_direct_path_is_the_change_of_the_logits_at_a_fixed_scale(name: str, bare: Bare) -> None:
    """Slow version: add a direction to the last stream, take the final norm at its old scale, read the logits."""
    module = bare(name)
    model = Model.open(module)
    batch = Batch.from_rows([[1, 2, 3]])
    site = LayerComponent(kind="resid_post", layer=model.n_layers - 1)
    x = model.capture(batch, [site]).values[site]
    direction = torch.randn(1, model.d_model, generator=torch.Generator().manual_seed(0))
    norm = module.get_submodule(str(model.component_map.final_norm))
    head = module.get_submodule("lm_head")
    centred = x - x.mean(-1, keepdim=True) if name != "llama" else x
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    with torch.no_grad():
        moved = norm.get_parameter("weight") * (direction - (direction.mean() if name != "llama" else 0)) / scale
        told = head(norm(x) + moved) - head(norm(x))
    seen = model.output_directions(direction) / scale
    torch.testing.assert_close(seen, told, rtol=1e-3, atol=1e-5)


def test_a_set_models_directions_live_where_the_rows_are_pooled(bare: Bare) -> None:
    model = Model.open(bare("set"))
    batch = Batch(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.int64), {"weapon_ids": torch.tensor([3])})
    direction = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))

    def add(value: Tensor, batch: Batch) -> Tensor:
        return value + direction

    moved = model.logits(batch, edits=[Edit(LayerComponent(kind="pooled"), add)])
    torch.testing.assert_close(moved - model.logits(batch), model.output_directions(direction), rtol=1e-4, atol=1e-5)


def test_paths_that_are_not_linear_or_do_not_fit_are_refused(bare: Bare) -> None:
    with pytest.raises(UsageError, match=r"'cls\.predictions\.transform' is no norm"):
        Model.open(bare("bert")).output_directions(torch.zeros(1, 32))
    module = bare("gpt2")
    scaled = Model.open(module).component_map.updated(logit_scale=0.5)
    with pytest.raises(UsageError, match="do not give its logits"):
        Model.open(module, component_map=scaled).output_directions(torch.zeros(1, 32))
    with pytest.raises(UsageError, match=r"directions of shape \(1, 7\)"):
        Model.open(bare("gpt2")).output_directions(torch.zeros(1, 7))


def test_tokens_are_shown_with_their_spaces() -> None:
    from_bytes = Tokenizer(BPE({"a": 0, "\u0120cat": 1, "\u00c3": 2, "<s>": 3}, []))
    from_bytes.decoder = ByteLevel()
    shown = token_strings(PreTrainedTokenizerFast(tokenizer_object=from_bytes, bos_token="<s>"), 6)
    assert shown == ("a", " cat", "\u00c3", "<s>", "<4>", "<5>")
    pieces = Tokenizer(BPE({"a": 0, "\u2581cat": 1}, []))
    pieces.decoder = Metaspace()
    assert token_strings(PreTrainedTokenizerFast(tokenizer_object=pieces), 2) == ("a", " cat")
    assert token_strings(None, 2) is None


def test_a_norm_without_weights_centres_and_nothing_else() -> None:
    model = Model.open(DECODERS["olmo"]())
    direction = torch.randn(3, model.d_model, generator=torch.Generator().manual_seed(4))
    matrix = model.module.get_submodule("lm_head").weight
    assert isinstance(matrix, Tensor)
    told = (direction - direction.mean(dim=1, keepdim=True)) @ matrix.detach().T
    torch.testing.assert_close(model.output_directions(direction), told, rtol=1e-5, atol=1e-6)
