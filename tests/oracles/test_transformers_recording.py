"""Streams and patterns against what transformers itself records, over the whole zoo, padded and not.

    hidden_states[0]       the stream before the first block
    hidden_states[L + 1]   the stream after block L
    the last one           by default not the last block's output but what is behind the final norm

The last convention holds for every decoder, for both stacks of T5 and for Mamba; masked models and ViT have the last
block's output there. Most families give that output to whoever sets `tie_last_hidden_states` to False in the config;
those of `ALWAYS_TIED` collect by hand and do not, so that their last block is seen behind a norm taken out instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mechscope.core import LayerComponent, NotFoundError
from mechscope.models import Batch, Model
from mechscope.testing.zoo import DECODERS
from mechscope.testing.zoo.others import OTHERS

TOLERANCE = 1e-6
ZOO: dict[str, Callable[[], PreTrainedModel]] = {**DECODERS, **OTHERS}
ENDS_WITH_BLOCK = (
    "bert",
    "roberta",
    "xlm_roberta",
    "camembert",
    "distilbert",
    "electra",
    "vit",
)  # their last hidden state is before any norm
WITHOUT_FIRST = ("mamba",)  # hidden states begin behind the first block
WITHOUT_ATTENTION = ("mamba",)
ALWAYS_TIED = ("gpt_neo", "gptj", "falcon", "bloom", "mpt", "mamba", "t5")
# transformers adds Falcon's ALiBi to the mask and, in eager attention, once more to the scores: another model.
EAGER_DIFFERS = ("falcon-alibi",)
every_model = pytest.mark.parametrize("name", [*ZOO])
either = pytest.mark.parametrize("is_padded", [False, True], ids=["even", "padded"])


def family_of(name: str) -> str:
    return name.partition("-")[0]


@cache
def opened(name: str) -> Model:
    """Opened without the check, which would measure the same things: here the oracle judges every site."""
    return Model.open(ZOO[name](), verify=False)


def twin(name: str, attention: str) -> nn.Module:
    """The model of the zoo built anew with another kind of attention: not every family can be switched afterwards."""
    bare = ZOO[name]()
    config: Any = copy.deepcopy(bare.config)
    config._attn_implementation = attention
    built: nn.Module = type(bare)(config).eval()
    if name == "t5-gated":  # else the unembedding, loaded last, would go into the shared embedding
        built.lm_head.weight = nn.Parameter(built.lm_head.weight.detach().clone())  # type: ignore[union-attr, operator]
    built.load_state_dict(bare.state_dict())
    return built


def batch_for(name: str, is_padded: bool) -> Batch:
    """Rows of equal lengths, or one of them padded on the left; T5's decoder gets two tokens fewer."""
    generator = torch.Generator().manual_seed(11)
    if name == "vit":
        return Batch.from_values({"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)})

    def rows(lengths: Iterable[int]) -> Batch:
        tokens = [torch.randint(3, 61, (length,), generator=generator).tolist() for length in lengths]
        return Batch.from_rows(tokens, pad_id=1, side="left")

    lengths = (8, 5) if is_padded else (8, 8)
    batch = rows(lengths)
    if not name.startswith("t5"):
        return batch
    decoder = rows(length - 2 for length in lengths)
    extra = {"decoder_input_ids": decoder.input_ids, "decoder_attention_mask": decoder.attention_mask}
    return Batch(batch.input_ids, batch.attention_mask, extra)


@torch.no_grad()
def recorded(module: nn.Module, name: str, batch: Batch, **asked: bool) -> Any:
    """What the bare model returns; positions go to the families that take those counted from 0."""
    if name == "vit":
        return module(**batch.extra, **asked)
    takes_positions = family_of(name) not in {"bloom", "mpt", "mamba", "t5", "roberta", "xlm_roberta", "camembert"}
    positions = {"position_ids": batch.position_ids} if takes_positions else {}
    caches = (
        {} if name in {"bert", "roberta", "xlm_roberta", "camembert", "distilbert", "electra"} else {"use_cache": False}
    )
    return module(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        **batch.extra,
        **positions,
        **caches,
        **asked,
    )


def at(kind: str, layer: int | None = None, *, stack: str | None = None) -> LayerComponent:
    return LayerComponent(kind=kind, layer=layer, stack="encoder" if stack == "encoder" else None)


def stacks(name: str) -> list[tuple[str | None, str]]:
    """The stacks of a model, with how the recorded fields begin."""
    return [("encoder", "encoder_"), (None, "decoder_")] if name.startswith("t5") else [(None, "")]


def mask_of(name: str, batch: Batch, stack: str | None) -> Tensor:
    if name == "vit":
        return torch.ones(2, 5, dtype=torch.bool)  # four patches and the token of the class
    own = batch.decoder if name.startswith("t5") and stack is None else batch
    return own.attention_mask.bool()


def assert_recorded(seen: Tensor, told: Tensor, real: Tensor) -> None:
    """Equal in real places, and not because nothing is there."""
    assert seen.shape == told.shape
    assert float(told[real].abs().max()) > 1e-2
    assert float((seen - told)[real].abs().max()) <= TOLERANCE * float(told[real].abs().max())


def captured(name: str, batch: Batch, sites: list[LayerComponent]) -> list[Tensor]:
    return list(opened(name).capture(batch, sites).values.values())


@either
@every_model
def test_hidden_states_are_the_stream(name: str, is_padded: bool) -> None:
    batch = batch_for(name, is_padded)
    output = recorded(ZOO[name](), name, batch, output_hidden_states=True)
    for stack, prefix in stacks(name):
        states, real = output[f"{prefix}hidden_states"], mask_of(name, batch, stack)
        n_blocks = n_blocks_of(name, stack)
        assert len(states) == n_blocks + 1
        pres = [at("resid_pre", layer, stack=stack) for layer in range(n_blocks)]
        first, *others = captured(name, batch, [at("embed", stack=stack), *pres])
        assert torch.equal(first, others[0])
        posts = captured(name, batch, [at("resid_post", layer, stack=stack) for layer in range(n_blocks)])
        if family_of(name) in WITHOUT_FIRST:  # resid_post 0, 1, ..., then the final norm
            told = [*zip(posts, states[:-1], strict=True), *zip(others[1:], states[:-2], strict=True)]
        else:
            n_inner = n_blocks if name in ENDS_WITH_BLOCK else n_blocks - 1
            told = [*zip(others, states[:-1], strict=True), *zip(posts[:n_inner], states[1 : n_inner + 1], strict=True)]
        if name not in ENDS_WITH_BLOCK:
            told += [(captured(name, batch, [at("final_norm", stack=stack)])[0], states[-1])]
        for seen, state in told:
            assert_recorded(seen, state, real)


def n_blocks_of(name: str, stack: str | None) -> int:
    model = opened(name)
    return sum(site.kind == "resid_post" and site.stack == stack for site in model.sites())


@either
@pytest.mark.parametrize("name", [name for name in ZOO if name not in (*ENDS_WITH_BLOCK, *WITHOUT_FIRST)])
def test_the_last_stream_is_what_the_last_block_puts_out(name: str, is_padded: bool) -> None:
    batch = batch_for(name, is_padded)
    bare = ZOO[name]()
    if family_of(name) in ALWAYS_TIED:
        take_out_last_norms(bare)
    else:
        bare.config.tie_last_hidden_states = False
    output = recorded(bare, name, batch, output_hidden_states=True)
    for stack, prefix in stacks(name):
        if stack is None and prefix:  # without its last norm the encoder gives the decoder something else
            continue
        (seen,) = captured(name, batch, [at("resid_post", n_blocks_of(name, stack) - 1, stack=stack)])
        normed = recorded(ZOO[name](), name, batch, output_hidden_states=True)[f"{prefix}hidden_states"][-1]
        told, real = output[f"{prefix}hidden_states"][-1], mask_of(name, batch, stack)
        assert_recorded(seen, told, real)
        if name != "opt-norm_after":  # has no final norm
            assert float((normed - told)[real].abs().max()) > 0.1


def take_out_last_norms(bare: nn.Module) -> None:
    """Put an identity in the place of the norm behind the blocks of each stack."""
    paths = [path for path, _ in bare.named_modules() if path.endswith(("ln_f", "norm_f", "final_layer_norm"))]
    assert len(paths) == (2 if "encoder.final_layer_norm" in paths else 1)
    for path in paths:
        bare.set_submodule(path, nn.Identity())


@either
@pytest.mark.parametrize("name", [name for name in ZOO if name not in WITHOUT_ATTENTION])
def test_attentions_are_the_patterns(name: str, is_padded: bool) -> None:
    batch = batch_for(name, is_padded)
    output = recorded(twin(name, "eager"), name, batch, output_attentions=True)
    fields = [(stack, "pattern", f"{prefix}attentions") for stack, prefix in stacks(name)]
    if name.startswith("t5"):
        fields += [(None, "cross_pattern", "cross_attentions")]
    for stack, kind, field in fields:
        assert len(output[field]) == n_blocks_of(name, stack)
        queries = mask_of(name, batch, stack)
        keys = mask_of(name, batch, "encoder") if kind == "cross_pattern" else queries
        real = queries[:, None, :, None] & keys[:, None, None, :]
        for layer, told in enumerate(output[field]):
            (seen,) = captured(name, batch, [at(kind, layer, stack=stack)])
            assert_recorded(seen, told, real.expand_as(told))


@pytest.mark.parametrize("name", [name for name in ZOO if name not in (*EAGER_DIFFERS, *WITHOUT_ATTENTION)])
def test_eager_attention_is_the_same_model(name: str) -> None:
    """So that a pattern, which is read in an eager run, belongs to the model that runs without it."""
    batch = batch_for(name, False)
    seen, told = opened(name).logits(batch), recorded(twin(name, "eager"), name, batch).logits
    assert_recorded(seen, told, torch.ones(told.shape[:-1], dtype=torch.bool))


def alibi_attention(n_times: int) -> tuple[Tensor, Tensor]:
    """Pattern and z of Falcon's first block by ALiBi's formula: softmax((q k + slope * place) / sqrt(d_head))."""
    bare, batch = ZOO["falcon-alibi"](), batch_for("falcon-alibi", False)
    found: list[Tensor] = []
    projection = bare.get_submodule("transformer.h.0.self_attention.query_key_value")
    projection.register_forward_hook(lambda module, args, output: found.append(output))
    recorded(bare, "falcon-alibi", batch)
    q, k, v = found[0].view(2, 8, 4, 3, 8).unbind(dim=3)
    slopes = torch.tensor([2.0 ** -(8 * (head + 1) / 4) for head in range(4)])
    places = slopes[:, None, None] * torch.arange(8)
    scores = (torch.einsum("bqhd,bkhd->bhqk", q, k) + n_times * places) / 8**0.5
    ahead = torch.ones(8, 8, dtype=torch.bool).triu(1)
    pattern = scores.masked_fill(ahead, -torch.inf).softmax(dim=-1)
    return pattern, torch.einsum("bhqk,bkhd->bqhd", pattern, v)


def test_falcon_counts_alibi_once_and_in_eager_attention_twice() -> None:
    batch = batch_for("falcon-alibi", False)
    everywhere = torch.ones(2, 8, dtype=torch.bool)
    (z,) = captured("falcon-alibi", batch, [at("z", 0)])
    assert_recorded(z, alibi_attention(1)[1], everywhere)
    eager = recorded(twin("falcon-alibi", "eager"), "falcon-alibi", batch, output_attentions=True).attentions[0]
    assert_recorded(eager, alibi_attention(2)[0], torch.ones_like(eager, dtype=torch.bool))


def test_patterns_are_refused_where_eager_attention_is_another_model() -> None:
    """transformers adds Falcon's ALiBi twice under eager attention, so those are not the patterns of its own runs."""
    model = Model.open(ZOO["falcon-alibi"]())
    with pytest.raises(NotFoundError, match=r"eager \(logits under eager attention\): relative error is"):
        model.capture(batch_for("falcon-alibi", False), [at("pattern", 0)])
    assert {site.partition(":")[0] for site in model.verification.failed} == {"pattern"}
