"""Direct logit attribution: exact sums in every family, and each term against the maths written out for its norm."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.models import Batch, ComponentMap, Edit, Model
from mechscope.models.lens import direct_logit_attribution


def test_terms_sum_to_the_logit_in_every_family(headed_case: Any) -> None:
    model, batch = headed_case.model, headed_case.batch
    logits = model.logits(batch).reshape(-1, model.d_vocab).double()
    for by in ("layer", "component", "head"):
        found = direct_logit_attribution(model, batch, headed_case.target, against=headed_case.against, at="all", by=by)
        told = logits[:, headed_case.target] - logits[:, headed_case.against]
        scale = (logits[:, headed_case.target].abs() + logits[:, headed_case.against].abs()).max()
        assert found.sum_error <= 1e-5
        assert float((found.output - told).abs().max() / scale) <= 1e-5
        if model.component_map.logit_cap is None:
            assert float((found.values.sum(dim=0) - told).abs().max() / scale) <= 1e-5
    heads = {term: value for term, value in zip(found.terms, found.values, strict=True) if ".h" in term}
    n_kinds = 2 if model.component_map.cross_attention else 1
    assert len(heads) == n_kinds * model.n_layers * model.n_heads
    assert all(float(value.abs().max()) > 0 for value in heads.values())


def test_heads_and_their_bias_are_the_attention(headed_case: Any) -> None:
    model, batch, target = headed_case.model, headed_case.batch, headed_case.target
    whole = direct_logit_attribution(model, batch, target)
    split = direct_logit_attribution(model, batch, target, by="head")
    scale = float(whole.values.abs().max())
    for layer in range(model.n_layers):
        name = f"attn_out:{layer}"
        parts = sum(split[f"{name}.h{head}"] for head in range(model.n_heads)) + split[f"{name} bias"]
        torch.testing.assert_close(parts, whole[name], rtol=0, atol=1e-6 * scale)
        both = whole[name] + whole[f"mlp_out:{layer}"]
        both = both + (whole[f"cross_{name}"] if model.component_map.cross_attention else 0.0)
        block = direct_logit_attribution(model, batch, target, by="layer")[f"layer:{layer}"]
        torch.testing.assert_close(both, block, rtol=0, atol=1e-5 * scale)


def test_mamba_by_layer(opened: Callable[[str], Any]) -> None:
    case = opened("mamba")
    assert direct_logit_attribution(case.model, case.batch, 1, by="layer", at="all").sum_error <= 1e-5
    with pytest.raises(UsageError, match="neither attention nor MLP"):
        direct_logit_attribution(case.model, case.batch, 1)


def layer_norm(x: Tensor, part: Tensor, norm: nn.Module) -> Tensor:
    scale = (x.var(dim=-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    gain: Any = norm.get_parameter("weight").double() if [*norm.parameters()] else 1.0
    found: Tensor = (part - part.mean(dim=-1, keepdim=True)) / scale * gain
    return found


def rms_norm(x: Tensor, part: Tensor, norm: nn.Module, *, one_more: bool = False) -> Tensor:
    gain = norm.get_parameter("weight").double() + (1.0 if one_more else 0.0)
    epsilon: Any = getattr(norm, "variance_epsilon", 1e-6)  # Gemma's norm names it `eps`, which is 1e-6
    found: Tensor = part / (x.square().mean(dim=-1, keepdim=True) + epsilon).sqrt() * gain
    return found


def t5_norm(x: Tensor, part: Tensor, norm: nn.Module) -> Tensor:
    return rms_norm(x, part, norm)


def gemma_norm(x: Tensor, part: Tensor, norm: nn.Module) -> Tensor:
    return rms_norm(x, part, norm, one_more=True)


# path of the final norm, its maths, and the scale of the logits, read off the family's own code
WRITTEN_OUT: dict[str, tuple[str, Callable[..., Tensor], float]] = {
    "gpt2": ("transformer.ln_f", layer_norm, 1.0),
    "gpt_neox": ("gpt_neox.final_layer_norm", layer_norm, 1.0),
    "llama": ("model.norm", rms_norm, 1.0),
    "gemma2": ("model.norm", gemma_norm, 1.0),
    "olmo": ("model.norm", layer_norm, 1.0),
    "olmo2": ("model.norm", rms_norm, 1.0),
    "cohere": ("model.norm", layer_norm, 0.25),
    "granite": ("model.norm", rms_norm, 1 / 5.0),
    "mixtral": ("model.norm", rms_norm, 1.0),
    "t5": ("decoder.final_layer_norm", t5_norm, 32**-0.5),
}


@pytest.mark.parametrize("name", [*WRITTEN_OUT])
def test_terms_are_projections_at_the_norms_own_scale(opened: Callable[[str], Any], name: str) -> None:
    case = opened(name)
    path, maths, logit_scale = WRITTEN_OUT[name]
    model = case.model
    found = direct_logit_attribution(model, case.batch, case.target, at="all")
    parts = model.parse_sites("embed,attn_out:*,mlp_out:*")
    captured = model.capture(case.batch, [*parts, *model.parse_sites("resid_post:-1")]).values
    values = {site: value.double().flatten(0, 1) for site, value in captured.items()}
    last = [*values.values()][-1]
    unembedding = model.module.get_output_embeddings().weight.detach().double()[case.target]
    with torch.no_grad():
        for site in parts:
            told = maths(last, values[site], model.module.get_submodule(path)) @ unembedding * logit_scale
            torch.testing.assert_close(found[str(site)], told, rtol=1e-5, atol=1e-6 * float(told.abs().max()))


def test_biases_of_norm_and_unembedding_are_terms(opened: Callable[[str], Any]) -> None:
    case = opened("phi")  # a LayerNorm with a bias and an unembedding with a bias
    module = case.model.module
    found = direct_logit_attribution(case.model, case.batch, 5, against=torch.tensor([3, 4]))
    with torch.no_grad():
        row = module.lm_head.weight[5] - module.lm_head.weight[[3, 4]]
        norm_bias = row.double() @ module.model.final_layernorm.bias.double()
        bias = (module.lm_head.bias[5] - module.lm_head.bias[[3, 4]]).double()
    torch.testing.assert_close(found["final_norm bias"], norm_bias, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found["unembedding bias"], bias, rtol=1e-6, atol=1e-9)


def test_the_shared_part_of_heads_is_the_projections_bias(opened: Callable[[str], Any]) -> None:
    case = opened("gpt2")
    transformer = case.model.module.transformer
    found = direct_logit_attribution(case.model, case.batch, 5, by="head")
    last = case.model.capture(case.batch, case.model.parse_sites("resid_post:-1")).values
    stream = next(iter(last.values()))[:, -1].double()
    with torch.no_grad():
        bias = transformer.h[1].attn.c_proj.bias.double().expand_as(stream)
        told = layer_norm(stream, bias, transformer.ln_f) @ transformer.wte.weight[5].double()
    torch.testing.assert_close(found["attn_out:1 bias"], told, rtol=1e-4, atol=1e-5)


def test_soft_cap_is_told_beside_the_attribution(opened: Callable[[str], Any]) -> None:
    case = opened("gemma2")
    logits = case.model.logits(case.batch)[:, -1].double()
    high, low = int(logits[0].argmax()), int(logits[0].argmin())
    found = direct_logit_attribution(case.model, case.batch, high, against=low)
    target, against = (direct_logit_attribution(case.model, case.batch, token) for token in (high, low))
    for token, one in ((high, target), (low, against)):
        raw = one.uncapped.clone().requires_grad_()
        capped = 2.0 * torch.tanh(raw / 2.0)
        (slope,) = torch.autograd.grad(capped.sum(), raw)
        assert one.cap_slopes is not None
        torch.testing.assert_close(capped.detach(), logits[:, token], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.output, logits[:, token], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.cap_slopes[:, 0], slope, rtol=1e-5, atol=1e-6)
        assert float((one.uncapped - one.output).abs().max()) > 0.01, "a cap that does nothing proves nothing"
    assert found.cap_slopes is not None
    assert found.cap_slopes.shape == (2, 2)
    torch.testing.assert_close(found.uncapped, target.uncapped - against.uncapped)
    torch.testing.assert_close(found.values, target.values - against.values)


def test_any_direction_of_the_vocabulary(opened: Callable[[str], Any]) -> None:
    case = opened("cohere")
    weights = torch.zeros(case.model.d_vocab)
    weights[5], weights[9] = 1.0, -1.0
    by_weights = direct_logit_attribution(case.model, case.batch, weights)
    by_tokens = direct_logit_attribution(case.model, case.batch, torch.tensor([5, 5]), against=9)
    torch.testing.assert_close(by_weights.values, by_tokens.values, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(by_weights.output, by_tokens.output, rtol=1e-6, atol=1e-9)
    assert by_weights.cap_slopes is None
    each = direct_logit_attribution(case.model, case.batch, torch.stack([weights, 2 * weights]))
    torch.testing.assert_close(each.values[:, 1], 2 * by_tokens.values[:, 1], rtol=1e-6, atol=1e-9)


def test_a_term_is_what_an_edit_of_the_last_stream_takes_away_at_that_scale(opened: Callable[[str], Any]) -> None:
    case = opened("llama")
    model = case.model
    found = direct_logit_attribution(model, case.batch, 5)
    (site,) = model.parse_sites("mlp_out:1")
    (last,) = model.parse_sites("resid_post:-1")
    part = model.capture(case.batch, [site]).values[site]
    step = 1e-3  # small enough for the norm's scale to stay, up to its own derivative, which is taken away below

    def moved(size: float) -> Tensor:
        edit = Edit(last, lambda value, batch: value + size * part)
        logits: Tensor = model.logits(case.batch, edits=[edit])
        return logits[:, -1, 5].double()

    slope = (moved(step) - moved(-step)) / (2 * step)
    stream = model.capture(case.batch, [last]).values[last][:, -1].double()
    # d(c . x / s(x)) along p = c . p / s - (c . x / s) (x . p) / (d s^2)
    shrink = (stream * part[:, -1].double()).mean(dim=-1) / (stream.square().mean(dim=-1) + 1e-6)
    told = slope + found.uncapped * shrink
    torch.testing.assert_close(found["mlp_out:1"], told, rtol=1e-2, atol=1e-3)


def test_double_precision_sums_to_rounding(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net.double(), component_map=affine_map)
    found = direct_logit_attribution(model, Batch.from_rows([[1, 2, 3], [4, 5, 6]]), 7, at="all")
    assert found.terms == ("embed", "mlp_out:0", "mlp_out:1", "final_norm bias", "unembedding bias")
    assert found.sum_error <= 1e-13


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "olmo"])
def test_other_precisions(opened: Callable[[str], Any], name: str, dtype: torch.dtype) -> None:
    case = opened(name)
    model = Model.open(deepcopy(case.model.module).to(dtype), verify=False)
    found = direct_logit_attribution(model, case.batch, 5, at="all", by="head")
    exact = direct_logit_attribution(case.model, case.batch, 5, at="all", by="head")
    allowed = 0.1 if dtype == torch.bfloat16 else 0.02
    assert float((found.values - exact.values).abs().max() / exact.values.abs().max()) <= allowed


def test_a_map_that_misses_a_part_is_refused(opened: Callable[[str], Any]) -> None:
    case = opened("gpt2")
    halved = case.model.component_map.updated(mlp=None, mlp_projection=None, mlp_pre=None)
    model = Model.open(case.model.module, component_map=halved, verify=False)
    with pytest.raises(BadDataError, match="miss the logit"):
        direct_logit_attribution(model, case.batch, 5)
    assert direct_logit_attribution(model, case.batch, 5, by="layer").sum_error <= 1e-5


def test_heads_that_are_not_linear_are_refused(nonlinear_case: Any) -> None:
    with pytest.raises(UsageError, match="head is not linear"):
        direct_logit_attribution(nonlinear_case.model, nonlinear_case.batch, 5)


@pytest.mark.parametrize(("by", "near"), [("heads", "head"), ("components", "component"), ("Layer", "layer")])
def test_an_unknown_split_is_refused_with_the_nearest(opened: Callable[[str], Any], by: str, near: str) -> None:
    unchecked = inspect.unwrap(direct_logit_attribution)  # no check but its own
    with pytest.raises(NotFoundError, match=f"(?s){by!r}.*did you mean {near!r}"):
        unchecked(opened("gpt2").model, opened("gpt2").batch, 1, by=by)


def test_bad_targets(opened: Callable[[str], Any], refused: Callable[..., None]) -> None:
    case = opened("gpt2")
    model, batch = case.model, case.batch
    weights = torch.zeros(model.d_vocab)
    refused("target of shape", lambda: direct_logit_attribution(model, batch, torch.tensor([1, 2, 3])))
    refused("token ids in 99", lambda: direct_logit_attribution(model, batch, 99))
    refused("token ids in -1", lambda: direct_logit_attribution(model, batch, 1, against=-1))
    refused("beside a direction", lambda: direct_logit_attribution(model, batch, weights, against=1))
    refused("target of shape", lambda: direct_logit_attribution(model, batch, weights[None].repeat(3, 1)))
    refused("NaN or infinite", lambda: direct_logit_attribution(model, batch, weights / 0))
    with pytest.raises(NotFoundError, match="attn_out:1"):
        direct_logit_attribution(model, batch, 1)["attn_out:11"]
