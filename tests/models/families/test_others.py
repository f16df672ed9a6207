"""Masked, encoder-decoder, image and state-space families: outputs, sites, what they add up to, padding, wrong maps."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, NotFoundError
from mechscope.models import Batch, Edit, Model, Tap
from mechscope.models.positions import from_right
from mechscope.models.remarks import quiet
from mechscope.testing.zoo.others import OTHERS

TOLERANCE = 1e-5
SUBLAYERS = {"attn_out", "q", "k", "v", "pattern", "z", "head_out"}
BLOCK = {"resid_pre", "resid_mid", "resid_post", "mlp_pre", "mlp_post", "mlp_out", *SUBLAYERS}
ENDS = {"embed", "final_norm"}
CROSS = {f"cross_{kind}" for kind in SUBLAYERS}
MASKED = BLOCK | ENDS | {"logits"}
SEQ2SEQ = MASKED | CROSS | {f"encoder.{kind}" for kind in BLOCK | ENDS}
KINDS = {
    **dict.fromkeys(["bert", "roberta", "xlm_roberta", "camembert", "distilbert", "electra"], MASKED),
    "vit": MASKED | {"pooled"},
    "t5": SEQ2SEQ,
    "t5-gated": SEQ2SEQ,
    "mamba": ENDS | {"resid_pre", "resid_post", "logits"},
}
POST_NORM = {  # the norm behind the residual sum, and the projection before it
    **dict.fromkeys(
        ["bert", "roberta", "xlm_roberta", "camembert", "electra"],
        ("attention.output.LayerNorm", "attention.output.dense"),
    ),
    "distilbert": ("sa_layer_norm", "attention.out_lin"),
}
PROJECTIONS = {"vit": "attention.o_proj", "t5": "layer.0.SelfAttention.o", "t5-gated": "layer.0.SelfAttention.o"}
WITH_ATTENTION = [name for name in OTHERS if name != "mamba"]
WITH_TOKENS = [name for name in OTHERS if name != "vit"]


@cache
def opened(name: str) -> Model:
    return Model.open(OTHERS[name]())


def batch_for(
    name: str, lengths: tuple[int, ...] = (6, 6), *, side: Literal["left", "right"] = "right", pad_id: int = 1
) -> Batch:
    """Rows of random tokens (or images); an encoder-decoder's decoder gets two fewer than its encoder."""
    generator = torch.Generator().manual_seed(5)
    if name == "vit":
        return Batch.from_values({"pixel_values": torch.randn(len(lengths), 3, 8, 8, generator=generator)})

    def rows(lengths: list[int]) -> Batch:
        tokens = [torch.randint(3, 61, (length,), generator=generator).tolist() for length in lengths]
        return Batch.from_rows(tokens, side=side, pad_id=pad_id)

    batch = rows(list(lengths))
    if not name.startswith("t5"):
        return batch
    decoder = rows([length - 2 for length in lengths])
    extra = {"decoder_input_ids": decoder.input_ids, "decoder_attention_mask": decoder.attention_mask}
    return Batch(batch.input_ids, batch.attention_mask, extra)


def row_of(batch: Batch, index: int) -> Batch:
    """One row without its padding."""
    real = batch.attention_mask[index].bool()
    ids = batch.input_ids[index, real][None]
    if "decoder_input_ids" not in batch.extra:
        return Batch(ids, torch.ones_like(ids))
    decoder = batch.decoder
    decoded = decoder.input_ids[index, decoder.attention_mask[index].bool()][None]
    return Batch(ids, torch.ones_like(ids), {"decoder_input_ids": decoded})


@torch.no_grad()
def bare(module: nn.Module, batch: Batch, **more: Any) -> Any:
    if "pixel_values" in batch.extra:
        return module(**batch.extra, **more)
    return module(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **batch.extra, **more)


def captured(name: str, batch: Batch, *selectors: str) -> list[Tensor]:
    model = opened(name)
    sites = [site for selector in selectors for site in model.parse_sites(selector)]
    return list(model.capture(batch, sites).values.values())


def stacks(name: str) -> list[tuple[str, int]]:
    """The prefix of each stack's sites, with its number of blocks."""
    return [("", 2), ("encoder.", 3)] if name.startswith("t5") else [("", 3)]


def assert_close(seen: Tensor, told: Tensor) -> None:
    assert seen.shape == told.shape
    assert float((seen - told).abs().max()) <= TOLERANCE * float(told.abs().max())


@pytest.mark.parametrize("name", OTHERS)
def test_logits_are_those_of_the_bare_model_bit_for_bit(name: str) -> None:
    model = opened(name)
    batch = batch_for(name)
    told = bare(OTHERS[name](), batch).logits
    assert torch.equal(model.logits(batch), told)


@pytest.mark.parametrize("name", OTHERS)
def test_every_site_stands_in_every_block(name: str) -> None:
    model = opened(name)
    standing = {str(site) for site in model.sites()}
    per_block = {kind for kind in KINDS[name] if kind.removeprefix("encoder.") not in {*ENDS, "logits", "pooled"}}
    n_blocks = dict(stacks(name))
    told = {
        f"{kind}:{layer}"
        for kind in per_block
        for layer in range(n_blocks["encoder." if kind.startswith("encoder.") else ""])
    }
    assert standing == told | (KINDS[name] - per_block)
    assert all(check.passed for check in model.verification.checks) or name == "mamba"


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ("attn_out:1", "Mamba has no attention.*the site 'mixer'"),
        ("pattern:0", "Mamba has no attention"),
        ("mlp_post:2", "Mamba has no MLP.*the site 'mixer'"),
        ("resid_mid:0", "has one sublayer"),
    ],
)
def test_mamba_says_why_it_has_no_such_site(selector: str, reason: str) -> None:
    with pytest.raises(NotFoundError, match=reason):
        opened("mamba").parse_sites(selector)


def test_the_mixer_of_mamba_is_what_a_block_adds() -> None:
    before, mixed, after = captured("mamba", batch_for("mamba"), "resid_pre:1", "mixer:1", "resid_post:1")
    assert float(mixed.abs().max()) > 0.01
    assert_close(before + mixed, after)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_sublayers_add_up_to_the_stream(name: str) -> None:
    batch = batch_for(name)
    for stack, n_layers in stacks(name):
        attentions = ["attn_out", "cross_attn_out"] if "cross_attn_out" in KINDS[name] and not stack else ["attn_out"]
        for layer in range(n_layers):
            kinds = ["resid_pre", *attentions, "resid_mid", "mlp_out", "resid_post"]
            values = dict(zip(kinds, captured(name, batch, *(f"{stack}{kind}:{layer}" for kind in kinds)), strict=True))
            middle = sum((values[kind] for kind in attentions), start=values["resid_pre"])
            assert_close(middle, values["resid_mid"])
            assert_close(middle + values["mlp_out"], values["resid_post"])
            assert all(float(values[kind].abs().max()) > 0.01 for kind in (*attentions, "mlp_out"))


@pytest.mark.parametrize("name", PROJECTIONS)
@torch.no_grad()
def test_heads_add_up_to_what_attention_adds(name: str) -> None:
    model = opened(name)
    for stack, n_layers in stacks(name):
        for layer in range(n_layers):
            shares, added = captured(name, batch_for(name), f"{stack}head_out:{layer}", f"{stack}attn_out:{layer}")
            blocks = model.component_map.encoder.blocks if stack else model.component_map.blocks  # type: ignore[union-attr]
            projection = model.module.get_submodule(f"{blocks}.{layer}.{PROJECTIONS[name]}")
            bias = projection.bias if isinstance(projection.bias, Tensor) else 0.0
            assert_close(shares.sum(dim=2) + bias, added)
    if name == "vit":
        return
    for layer in range(2):
        shares, added = captured(name, batch_for(name), f"cross_head_out:{layer}", f"cross_attn_out:{layer}")
        assert_close(shares.sum(dim=2), added)


@pytest.mark.parametrize("name", POST_NORM)
@torch.no_grad()
def test_behind_a_norm_a_heads_share_is_what_it_contributes_at_the_norms_own_scale(name: str) -> None:
    """Head by head, through the norm written out: (x - mean x) * weight / standard deviation of the whole sum."""
    model = opened(name)
    norm_path, projection_path = POST_NORM[name]
    for layer in range(3):
        block = model.module.get_submodule(f"{model.component_map.blocks}.{layer}")
        norm, projection = block.get_submodule(norm_path), block.get_submodule(projection_path)
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(projection, nn.Linear)
        sites = [f"{kind}:{layer}" for kind in ("resid_pre", "z", "head_out", "resid_mid")]
        before, z, shares, middle = captured(name, batch_for(name), *sites)
        summed = before + projection(z.flatten(2))
        scale = (summed.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).sqrt()

        def through(x: Tensor, norm: nn.LayerNorm = norm, scale: Tensor = scale) -> Tensor:
            return (x - x.mean(dim=-1, keepdim=True)) * norm.weight / scale

        for head in range(4):
            columns = projection.weight[:, 8 * head : 8 * head + 8]
            assert_close(shares[:, :, head], through(z[:, :, head] @ columns.T))
        assert_close(shares.sum(dim=2) + through(before + projection.bias) + norm.bias, middle)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", WITH_TOKENS)
def test_padding_moves_no_value_of_a_real_token(name: str, side: Literal["left", "right"]) -> None:
    """Encoder and decoder padded alike; whatever stands in padded places (RoBERTa reads its positions off the ids)."""
    model = opened(name)
    for pad_id in (0, 1, 7) if name == "roberta" else (7,):
        batch = batch_for(name, (6, 4), side=side, pad_id=pad_id)
        values = model.capture(batch, model.sites()).values
        main = batch.decoder if name.startswith("t5") else batch
        alone = model.capture(row_of(batch, 1), model.sites()).values
        for site, value in values.items():
            real, main_real = (side.attention_mask[1].bool() for side in (batch, main))
            own = real if site.stack else main_real
            if site.kind.endswith("pattern"):
                keys = real if site.kind.startswith("cross_") else own
                assert_close(value[1][:, own][:, :, keys], alone[site][0])
            else:
                assert_close(value[1][real if site.kind in {"cross_k", "cross_v"} else own], alone[site][0])


def wrong(name: str, **changes: Any) -> Model:
    right = opened(name).component_map
    encoder = {"encoder": right.encoder.updated(**changes.pop("encoder"))} if "encoder" in changes else {}  # type: ignore[union-attr]
    return Model.open(OTHERS[name](), component_map=right.updated(**changes, **encoder))


def failed_kinds(model: Model) -> set[str]:
    return {site.partition(":")[0] for site in model.verification.failed}


@pytest.mark.parametrize(
    ("name", "changes", "refused", "standing"),
    [
        ("bert", {"attention": "attention.self"}, {"resid_mid"}, {"resid_post", "resid_pre", "q"}),
        ("bert", {"attention_core": "attention.output"}, {"pattern"}, {"z", "head_out", "attn_out"}),
        ("roberta", {"attention_norm_after": "output.LayerNorm"}, {"head_out"}, {"attn_out", "mlp_out"}),
        ("roberta", {"final_norm": "roberta.embeddings.LayerNorm"}, {"final_norm"}, {"attn_out", "head_out"}),
        ("distilbert", {"attention": "attention"}, {"resid_mid"}, {"resid_post", "v"}),
        ("distilbert", {"mlp_pre": Tap(module="attention.q_lin")}, {"mlp_pre"}, {"mlp_post", "mlp_out"}),
        ("distilbert", {"mlp_pre": Tap(module="ffn.lin2", at="input")}, {"mlp_pre"}, {"mlp_post", "mlp_out"}),
        ("electra", {"unembedding": "electra.embeddings_project"}, {"final_norm"}, {"attn_out", "mlp_out"}),
        ("electra", {"mlp_projection": "attention.output.dense"}, {"mlp_post"}, {"mlp_out", "head_out"}),
        ("vit", {"pooled": Tap(module="vit.layernorm")}, {"pooled"}, {"final_norm", "attn_out"}),
        ("vit", {"mlp_norm": "layernorm_before"}, {"resid_mid"}, {"resid_post", "z"}),
        ("t5", {"logit_scale": None}, {"final_norm"}, {"attn_out", "cross_attn_out", "encoder.final_norm"}),
        ("t5", {"attention_returns_stream": False}, {"attn_out", "cross_attn_out"}, {"resid_post", "encoder.attn_out"}),
        (
            "t5",
            {"cross_attention_projection": "layer.0.SelfAttention.o"},
            {"cross_head_out", "cross_z"},
            {"head_out", "z", "cross_attn_out"},
        ),
        ("t5", {"mlp": "layer.1"}, {"mlp_out"}, {"attn_out", "encoder.mlp_out"}),
        ("t5", {"encoder": {"mlp": "layer.0"}}, {"encoder.mlp_out"}, {"mlp_out", "encoder.attn_out"}),
        ("t5-gated", {"logit_scale": 32**-0.5}, {"final_norm"}, {"mlp_pre", "mlp_post"}),
        ("mamba", {"final_norm": "backbone.layers.2.norm"}, {"final_norm"}, {"resid_pre", "resid_post"}),
    ],
)
def test_a_wrong_map_is_caught_and_the_rest_stays(
    name: str, changes: dict[str, Any], refused: set[str], standing: set[str]
) -> None:
    failed = failed_kinds(wrong(name, **changes))
    assert refused <= failed
    assert not standing & failed


@pytest.mark.parametrize(
    ("name", "field", "taken", "kind"),
    [
        ("electra", "query", "key", "q"),
        ("vit", "key", "query", "k"),
        ("t5", "value", "query", "v"),
        ("t5", "cross_key", "cross_query", "cross_k"),
        ("t5-gated", "cross_value", "cross_key", "cross_v"),
    ],
)
def test_queries_keys_and_values_taken_for_one_another_are_caught(name: str, field: str, taken: str, kind: str) -> None:
    assert kind in failed_kinds(wrong(name, **{field: getattr(opened(name).component_map, taken)}))


@pytest.mark.parametrize(("name", "field", "kind"), [("electra", "query", "q"), ("t5", "cross_key", "cross_k")])
def test_heads_counted_otherwise_are_caught(name: str, field: str, kind: str) -> None:
    tap = getattr(opened(name).component_map, field)
    assert kind in failed_kinds(wrong(name, **{field: tap.updated(n_heads=2)}))


def test_positions_of_cross_values_are_the_encoders() -> None:
    model, module, batch = opened("t5"), OTHERS["t5"](), batch_for("t5")

    def without_last(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output[:, 5] = 0
        return output

    module.get_submodule("decoder.block.0.layer.1.EncDecAttention.v").register_forward_hook(without_last)
    site = LayerComponent(kind="cross_v", layer=0)
    edit = Edit(site, lambda value, batch: torch.zeros_like(value), at=from_right(0))
    assert torch.equal(model.logits(batch, edits=[edit]), bare(module, batch).logits)


def test_an_edit_of_cross_attention_is_that_of_a_plain_hook() -> None:
    model, module = opened("t5"), OTHERS["t5"]()
    batch = batch_for("t5")
    layer = module.get_submodule("decoder.block.1.layer.1")
    layer.register_forward_hook(lambda module, args, output: (args[0], *output[1:]))
    edit = Edit(LayerComponent(kind="cross_attn_out", layer=1), lambda value, batch: torch.zeros_like(value))
    told = bare(module, batch).logits
    assert_close(model.logits(batch, edits=[edit]), told)
    assert float((model.logits(batch) - told).abs().max()) > 0.01


@pytest.mark.parametrize(("stack", "place"), [("encoder", 5), ("decoder", 3)])
def test_positions_are_those_of_the_edited_stack(stack: Literal["encoder", "decoder"], place: int) -> None:
    """The last of the encoder's six, the last of the decoder's four."""
    model, module = opened("t5"), OTHERS["t5"]()
    batch = batch_for("t5")

    def zeroed(module: nn.Module, args: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        output[0][:, place] = 0
        return output

    module.get_submodule(f"{stack}.block.1").register_forward_hook(zeroed)
    site = LayerComponent(kind="resid_post", layer=1, stack="encoder" if stack == "encoder" else None)
    edit = Edit(site, lambda value, batch: torch.zeros_like(value), at=from_right(0))
    assert torch.equal(model.logits(batch, edits=[edit]), bare(module, batch).logits)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "t5", "t5-gated", "vit"])
def test_the_loss_is_the_models_own(name: str) -> None:
    model, batch = opened(name), batch_for(name)
    if name == "vit":
        labels = torch.tensor([3, 4])
    else:
        tokens = (batch.decoder if name.startswith("t5") else batch).input_ids
        labels = torch.randint(61, tokens.shape, generator=torch.Generator().manual_seed(1))
        labels[0, 1] = -100
    labelled = Batch(batch.input_ids, batch.attention_mask, {**batch.extra, "labels": labels})
    loss = model.loss(labelled, model.logits(labelled))
    assert len(loss) == int((labels != -100).sum())
    torch.testing.assert_close(loss.mean(), bare(OTHERS[name](), labelled).loss)


@pytest.mark.parametrize("name", ["t5", "t5-gated", "vit", "mamba", "roberta"])
def test_a_saved_folder_opens_as_the_same_model(name: str, tmp_path: Path) -> None:
    module = OTHERS[name]()
    with quiet():
        module.save_pretrained(tmp_path)
    model = Model.open(tmp_path)
    batch = batch_for(name)
    assert torch.equal(model.logits(batch), bare(module, batch).logits)
    assert model.component_map == opened(name).component_map
    assert model.verification.failed == opened(name).verification.failed
