"""Every decoder family of the zoo: the sites it ought to have, what they add up to, padding, and wrong maps caught."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from mechscope.core import LayerComponent, NotFoundError, UsageError
from mechscope.models import Batch, Model
from mechscope.models.component_map import HeadTap, Tap
from mechscope.models.head_layouts import interleaved_heads, joined_heads
from mechscope.testing.zoo import DECODERS

TOLERANCE = 1e-5
GLOBAL = ("embed", "final_norm", "logits")
STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEADS = ("q", "k", "v", "pattern", "z", "head_out")
NEURONS = ("mlp_pre", "mlp_post")

PARALLEL = [
    "gptj",
    "gpt_neox",
    "phi",
    "phi-qk_layernorm",
    "falcon",
    "falcon-new",
    "falcon-new-one_norm",
    "falcon-heads",
    "stablelm-parallel",
    "cohere",
]
# What a variant of the zoo has not: kind -> the layers without it (None: all of them), beside `resid_mid` above.
MISSING: dict[str, dict[str, tuple[int, ...] | None]] = {
    "mixtral": {"mlp_pre": None, "mlp_post": None},
    "falcon-alibi": {"pattern": None},
    "deepseek_v2": {"k": None, "mlp_pre": (1,), "mlp_post": (1,)},
    "deepseek_v2-q_proj": {"k": None, "mlp_pre": None, "mlp_post": None},
    "deepseek_v3": {"k": None, "mlp_pre": (1,), "mlp_post": (1,)},
}
REASONS = {"k": "rotated part that all heads share", "mlp_pre": "expert|otherwise", "mlp_post": "expert|otherwise"}
REASONS["pattern"] = "logits under eager attention"  # where transformers adds the ALiBi twice
GROUPED = [
    "llama",
    "llama-biases",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "olmo",
    "olmo-clipped",
    "olmo2",
    "phi",
    "phi3",
    "falcon-new",
    "falcon-new-one_norm",
    "stablelm",
    "stablelm-parallel",
    "starcoder2",
    "cohere",
    "granite",
]
every_decoder = pytest.mark.parametrize("name", [*DECODERS])


@cache
def opened(name: str) -> Model:
    return Model.open(DECODERS[name]())


def some_ids(n_rows: int = 2, length: int = 7) -> Tensor:
    return torch.randint(1, 61, (n_rows, length), generator=torch.Generator().manual_seed(3))


def some_batch(n_rows: int = 2, length: int = 7) -> Batch:
    ids = some_ids(n_rows, length)
    return Batch(ids, torch.ones_like(ids))


def error_of(seen: Tensor, told: Tensor) -> float:
    assert seen.shape == told.shape
    return float((seen - told).abs().max() / told.abs().max())


def expected_sites(name: str, n_layers: int) -> set[str]:
    missing: dict[str, tuple[int, ...] | None] = {**MISSING.get(name, {})}
    if name in PARALLEL:
        missing["resid_mid"] = None
    found = set(GLOBAL)
    for kind in (*STREAM, *HEADS, *NEURONS):
        without = missing.get(kind, ())
        layers = range(n_layers) if without is not None else range(0)
        found |= {f"{kind}:{layer}" for layer in layers if layer not in (without or ())}
    return found


@every_decoder
def test_a_family_has_the_sites_it_ought_to_have(name: str) -> None:
    model = opened(name)
    assert {str(site) for site in model.sites()} == expected_sites(name, model.n_layers)
    assert [
        check
        for check in model.verification.checks
        if not check.passed and check.error is not None and check.name != "eager"
    ] == []


@pytest.mark.parametrize("name", [*MISSING])
def test_a_missing_site_is_refused_with_the_reason(name: str) -> None:
    model = opened(name)
    for kind, layers in MISSING[name].items():
        with pytest.raises(NotFoundError, match=REASONS[kind]):
            model.parse_sites(f"{kind}:{model.n_layers - 1 if layers is None else layers[0]}")


@every_decoder
def test_logits_are_those_of_the_bare_model_bit_for_bit(name: str) -> None:
    bare, batch = DECODERS[name](), some_batch()
    with torch.no_grad():
        told = bare(batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        plain = bare(batch.input_ids).logits
    model = opened(name)
    assert torch.equal(model.logits(batch), told)
    assert torch.equal(model.logits(batch), plain)
    read = model.capture(batch, [site for site in model.sites() if site.kind != "pattern"], logits=True)
    assert torch.equal(read.values[LayerComponent(kind="logits")], told)


@every_decoder
def test_padded_logits_are_those_of_the_bare_model_bit_for_bit(name: str) -> None:
    bare, batch = DECODERS[name](), Batch.from_rows([[5, 9, 11], [4, 8, 2, 33, 50, 7]], side="left")
    positions = {} if name.partition("-")[0] in {"bloom", "mpt"} else {"position_ids": batch.position_ids}
    with torch.no_grad():
        told = bare(batch.input_ids, attention_mask=batch.attention_mask, **positions, use_cache=False).logits
    assert torch.equal(opened(name).logits(batch), told)


@every_decoder
def test_the_stream_is_the_sum_of_what_is_added(name: str) -> None:
    model = opened(name)
    kinds = [kind for kind in STREAM if f"{kind}:0" in expected_sites(name, 1)]
    sites = [LayerComponent(kind=kind, layer=layer) for kind in kinds for layer in range(model.n_layers)]
    end = [LayerComponent(kind="embed"), LayerComponent(kind="final_norm")]
    values = {str(site): value for site, value in model.capture(some_batch(), [*sites, *end]).values.items()}
    for layer in range(model.n_layers):
        pre, post = values[f"resid_pre:{layer}"], values[f"resid_post:{layer}"]
        attention, mlp = values[f"attn_out:{layer}"], values[f"mlp_out:{layer}"]
        assert attention.abs().max() > 1e-2
        assert mlp.abs().max() > 1e-2
        assert error_of(pre + attention + mlp, post) < TOLERANCE
        if "resid_mid" in kinds:
            assert error_of(pre + attention, values[f"resid_mid:{layer}"]) < TOLERANCE
        assert torch.equal(pre, values[f"resid_post:{layer - 1}"] if layer else values["embed"])
    with torch.no_grad():
        told = scaled_logits(model, values["final_norm"])
    assert error_of(model.logits(some_batch()), told) < TOLERANCE


def scaled_logits(model: Model, normed: Tensor) -> Tensor:
    """The unembedding's output, scaled and capped as the config says; `granite` divides, `cohere` multiplies."""
    config: Any = model.module.config
    logits: Tensor = model.module.get_output_embeddings()(normed)  # type: ignore[operator]
    if config.model_type == "granite":
        logits = logits / config.logits_scaling
    if config.model_type == "cohere":
        logits = logits * config.logit_scale
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        assert (logits / cap).abs().max() > 0.5, "the cap does not bite"
        logits = cap * torch.tanh(logits / cap)
    return logits


@every_decoder
def test_left_padding_moves_nothing(name: str) -> None:
    model, rows = opened(name), [[5, 9, 11], [4, 8, 2, 33, 50, 7]]
    sites = model.sites()
    padded = model.capture(Batch.from_rows(rows, side="left"), sites).values
    width = max(map(len, rows))
    for index, row in enumerate(rows):
        alone = model.capture(Batch.from_rows([row], side="left"), sites).values
        for site in sites:
            real = slice(width - len(row), None)
            seen = padded[site][index, :, real, real] if site.kind == "pattern" else padded[site][index, real]
            assert error_of(seen, alone[site][0]) < TOLERANCE, site


@every_decoder
def test_key_value_heads_are_counted(name: str) -> None:
    model = opened(name)
    n_kv_heads = 1 if name == "falcon" else 2 if name in GROUPED else 4
    for kind, n_heads in {"q": 4, "k": n_kv_heads, "v": n_kv_heads, "z": 4, "head_out": 4}.items():
        if f"{kind}:0" in expected_sites(name, 1):
            assert model.site_shape(LayerComponent(kind=kind, layer=0))[0] == n_heads
    z, v = (model.site_shape(LayerComponent(kind=kind, layer=0))[1] for kind in ("z", "v"))
    assert z == v == (5 if name.startswith("deepseek") else d_head_of(model.module.config))


def d_head_of(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


NEOX, FUSED, LATENT_V = "attention.query_key_value", "self_attention.query_key_value", "self_attn.kv_b_proj"
QUERY, KEY, VALUE = (HeadTap(module=f"self_attn.{name}_proj", n_heads=4 if name == "q" else 2) for name in "qkv")
GPT2 = joined_heads("attn.c_attn", d_head=8, n_heads=4)
WRONG: list[tuple[str, dict[str, Any], set[str]]] = [
    ("gpt2", {"attention": "mlp", "mlp": "attn"}, {"attn_out", "mlp_out"}),
    ("gpt2", {"mlp_norm": "ln_1"}, {"resid_mid"}),
    ("gpt2", {**interleaved_heads("attn.c_attn", d_head=8, n_heads=4)}, {"v"}),
    ("gpt2", {"query": GPT2["key"], "key": GPT2["query"]}, {"q", "k"}),
    ("gpt_neox", {**joined_heads(NEOX, d_head=8, n_heads=4)}, {"v"}),
    ("gpt_neox", {"parallel_blocks": False}, {"resid_mid"}),
    ("gptj", {"parallel_blocks": False}, {"resid_mid"}),
    ("cohere", {"parallel_blocks": False}, {"resid_mid"}),
    ("cohere", {"logit_scale": None}, {"final_norm"}),
    ("llama", {"attention_projection": "self_attn.q_proj"}, {"head_out", "z"}),
    ("llama", {"key": VALUE, "value": KEY}, {"v"}),
    ("llama", {"query": QUERY.updated(n_heads=2)}, {"q"}),
    ("llama", {"key": KEY.updated(n_heads=4)}, {"k"}),
    ("llama", {"key": KEY.updated(n_heads=1)}, {"k"}),
    ("llama", {"value": VALUE.updated(n_heads=4)}, {"v"}),
    ("llama", {"attention_core": "mlp"}, {"pattern"}),
    ("llama", {"mlp_pre": Tap(module="mlp", at="input")}, {"mlp_pre"}),
    ("llama", {"mlp_returns_stream": True}, {"mlp_out"}),
    ("llama", {"attention_returns_stream": True}, {"attn_out"}),
    ("llama", {"mlp_projection": "mlp.gate_proj"}, {"mlp_post"}),
    ("phi3", {**joined_heads("self_attn.qkv_proj", d_head=12, n_heads=2, n_kv_heads=3)}, {"v"}),
    ("gemma2", {"attention": "self_attn", "attention_norm_after": None}, {"attn_out"}),
    ("gemma2", {"attention_norm_after": None}, {"head_out"}),
    ("gemma2", {"mlp": "mlp"}, {"mlp_out"}),
    ("gemma2", {"logit_cap": None}, {"final_norm"}),
    ("olmo2", {"attention": "self_attn"}, {"attn_out"}),
    ("olmo2", {"query": QUERY, "key": KEY}, {"q", "k"}),
    ("falcon-new", {**joined_heads(FUSED, d_head=8, n_heads=4, n_kv_heads=2)}, {"v"}),
    ("falcon-alibi", {**joined_heads(FUSED, d_head=8, n_heads=4)}, {"v"}),
    ("bloom", {"attention_returns_stream": False, "mlp_returns_stream": False}, {"attn_out", "mlp_out"}),
    ("mpt", {"mlp_returns_stream": False}, {"mlp_out"}),
    ("opt", {"mlp_flattens": False}, {"mlp_out", "mlp_post"}),
    ("opt-norm_after", {"attention_norm_after": None}, {"head_out"}),
    ("granite", {"residual_multiplier": 1.0}, {"attn_out", "mlp_out"}),
    ("granite", {"logit_scale": None}, {"final_norm"}),
    ("deepseek_v2", {"value": HeadTap(module=LATENT_V, n_heads=4, n_groups=4, stop=5)}, {"v"}),
    ("deepseek_v2", {"value": HeadTap(module=LATENT_V, n_heads=4, start=24)}, {"v"}),
]


@pytest.mark.parametrize(("name", "change", "refused"), WRONG, ids=[f"{n}-{'-'.join(c)}" for n, c, _ in WRONG])
def test_a_wrong_map_is_caught(name: str, change: dict[str, Any], refused: set[str]) -> None:
    right = opened(name).component_map
    assert any(getattr(right, field) != value for field, value in change.items())
    model = Model.open(DECODERS[name](), component_map=right.model_copy(update=change))
    seen = {site.partition(":")[0] for site in model.verification.failed} - set(MISSING.get(name, {}))
    assert refused <= seen
    assert "resid_pre" not in seen


def test_a_wrong_number_of_heads_is_caught() -> None:
    right = opened("llama").component_map
    with pytest.raises(UsageError, match="n_heads=2"):
        Model.open(DECODERS["llama"](), component_map=right.model_copy(update={"n_heads": 2}))


@every_decoder
def test_a_batch_wider_than_the_positions_runs_or_is_refused_with_the_reason(name: str) -> None:
    """Its rows are not longer than the positions; the padding beside them is, or is not, in the way."""
    model = opened(name)
    n_positions = model.max_positions or 24
    ids, mask = torch.full((1, n_positions + 2), 4), torch.ones(1, n_positions + 2, dtype=torch.int64)
    mask[:, -3:] = 0
    wide = Batch(ids, mask)
    if model.component_map.padding_takes_positions:
        with pytest.raises(UsageError, match=f"{n_positions + 2} columns, padding included"):
            model.logits(wide)
        return
    told = model.logits(Batch.from_rows(ids[:, :-3]))
    assert error_of(model.logits(wide)[:, :-3], told) < TOLERANCE
