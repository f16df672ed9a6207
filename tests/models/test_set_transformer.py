from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.models.set_transformer import (
    SetTransformer,
    SetTransformerConfig,
    build_from_config,
    load_set_transformer,
)
from mechscope.store.atomic import write_json

CONFIG = SetTransformerConfig(d_vocab=20, n_weapons=5, d_model=16, n_layers=2, n_heads=4, d_mlp=32, n_inducing=4)


def tiny() -> SetTransformer:
    model = build_from_config(CONFIG, seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(
                0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return model


def batch(n: int = 6, pos: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 19, (n, pos), generator=generator)
    return ids, torch.ones_like(ids), torch.arange(n) % CONFIG.n_weapons


def slow_forward(model: SetTransformer, ids: Tensor, weapon: int) -> Tensor:
    """One row, one head, one query at a time."""
    x = model.token_embedding.weight[ids] + model.weapon_embedding.weight[weapon]
    n_heads, d_head = CONFIG.n_heads, CONFIG.d_model // CONFIG.n_heads

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        out = torch.zeros_like(queries)
        for head in range(n_heads):
            at = slice(head * d_head, (head + 1) * d_head)
            for i in range(len(queries)):
                scores = torch.stack([queries[i, at] @ key[at] for key in keys]) / d_head**0.5
                out[i, at] = (scores.softmax(0)[:, None] * values[:, at]).sum(0)
        return out

    block: Any
    for block in model.blocks:
        attention = block.attention
        normed = block.attention_norm(x)
        keys, values = attention.gather_key_value(normed).chunk(2, -1)
        gathered = attend(attention.gather_query(attention.inducing), keys, values)
        summary = attention.inducing_norm(attention.inducing + attention.gather_output(gathered))
        keys, values = attention.key_value(summary).chunk(2, -1)
        x = x + attention.output(attend(attention.query(normed), keys, values))
        x = x + block.mlp(block.mlp_norm(x))
    logits: Tensor = model.output(model.final_norm(x).mean(0))
    return logits


@torch.no_grad()
def test_forward_equals_a_slow_obvious_version() -> None:
    model = tiny()
    ids, mask, weapon = batch(3, 5)
    slow = torch.stack([slow_forward(model, ids[i], int(weapon[i])) for i in range(3)])
    torch.testing.assert_close(model(ids, mask, weapon), slow, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_order_of_tokens_does_not_matter() -> None:
    model = tiny()
    ids, mask, weapon = batch()
    shuffled = ids[:, torch.randperm(ids.shape[1], generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(model(ids, mask, weapon), model(shuffled, mask, weapon), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter_whatever_it_holds(side: str) -> None:
    model = tiny()
    ids, mask, weapon = batch()
    filler = torch.full((len(ids), 4), 7)
    parts = [filler, ids] if side == "left" else [ids, filler]
    masks = [0 * filler, mask] if side == "left" else [mask, 0 * filler]
    padded = model(torch.cat(parts, 1), torch.cat(masks, 1), weapon)
    torch.testing.assert_close(model(ids, mask, weapon), padded, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_weapon_and_tokens_do_matter() -> None:
    model = tiny()
    ids, mask, weapon = batch()
    base = model(ids, mask, weapon)
    assert (model(ids, mask, (weapon + 1) % CONFIG.n_weapons) - base).abs().max() > 1e-3
    assert (model((ids + 1) % 19, mask, weapon) - base).abs().max() > 1e-3


@torch.no_grad()
def test_sublayers_add_up_to_the_stream_and_pooled_gives_the_logits() -> None:
    model = tiny()
    ids, mask, weapon = batch()
    seen: dict[str, Tensor] = {}
    block: Any = model.blocks[1]
    block.register_forward_pre_hook(lambda _m, args: seen.__setitem__("pre", args[0]))
    block.register_forward_hook(lambda _m, _a, out: seen.__setitem__("post", out))
    block.attention.register_forward_hook(lambda _m, _a, out: seen.__setitem__("attn", out))
    block.mlp.register_forward_hook(lambda _m, _a, out: seen.__setitem__("mlp", out))
    model.pooling.register_forward_hook(lambda _m, _a, out: seen.__setitem__("pooled", out))
    logits = model(ids, mask, weapon)
    torch.testing.assert_close(seen["pre"] + seen["attn"] + seen["mlp"], seen["post"])
    torch.testing.assert_close(model.output(seen["pooled"]), logits)


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (build_from_config(CONFIG, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.output.weight, two.output.weight)
    assert not torch.equal(one.output.weight, other.output.weight)


def test_a_saved_folder_opens_as_float32(tmp_path: Path) -> None:
    model = build_from_config(CONFIG, seed=1)
    write_json(tmp_path / "config.json", CONFIG.to_json())
    save_file({name: value.half() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    opened = load_set_transformer(tmp_path)
    assert not opened.training
    for name, value in opened.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].half().float()), name


def test_wrong_folders_and_configs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_set_transformer(tmp_path)
    write_json(tmp_path / "config.json", CONFIG.to_json())
    with pytest.raises(NotFoundError, match=r"model\.safetensors"):
        load_set_transformer(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BadDataError, match="does not hold this model"):
        load_set_transformer(tmp_path)
    other = build_from_config(CONFIG.updated(d_vocab=21))
    save_file(dict(other.state_dict()), tmp_path / "model.safetensors")
    with pytest.raises(BadDataError, match="does not hold this model"):
        load_set_transformer(tmp_path)
    write_json(tmp_path / "config.json", {**CONFIG.to_json(), "d_modle": 3})
    with pytest.raises(UsageError, match="d_modle"):
        load_set_transformer(tmp_path)


@pytest.mark.parametrize("change", [{"n_heads": 3}, {"n_layers": 0}, {"d_vocab": -1}])
def test_impossible_sizes_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        build_from_config(CONFIG.updated(**change))
