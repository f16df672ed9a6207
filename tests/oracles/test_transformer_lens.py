"""Every site against TransformerLens 4's bridge under its name there, on the whole zoo, padded and not.

Runs where `transformer_lens` is installed. The bridge runs eager attention, so differences of 1e-6 are rounding. Where
the two differ by definition, `DIFFERENCES` says why and makes of TransformerLens' tensors what the site is defined to
be; the last tests show without either library which of two readings is the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, NotFoundError
from mechscope.models import Batch, Model
from mechscope.models.remarks import quiet
from mechscope.testing.models import tiny_tokenizer
from mechscope.testing.zoo import DECODERS
from mechscope.testing.zoo.others import OTHERS

pytest.importorskip("transformer_lens")
bridges: Any = pytest.importorskip("transformer_lens.model_bridge")

TOLERANCE = 1e-5
ZOO = {**DECODERS, **OTHERS}
HOOKS = {
    "embed": "hook_resid_pre",
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "z": "attn.hook_z",
    "head_out": "attn.hook_result",
    "pattern": "attn.hook_pattern",
    "mlp_pre": "mlp.hook_pre",
    "mlp_post": "mlp.hook_post",
    "cross_attn_out": "hook_cross_attn_out",
}
BEYOND = {"final_norm": "ln_final.hook_out", "pooled": "unembed.hook_in", "logits": "unembed.hook_out"}
# What TransformerLens cannot open or run, and how it says so.
REFUSED = {
    "phi-qk_layernorm": "did not declare 'q_norm'",
    "falcon-new": "split_with_sizes expects",
    "falcon-new-one_norm": "has no attribute 'ln_attn'",
    "opt-norm_after": "not enough values to unpack",
    "distilbert": "Could not determine supported architecture",
    "electra": "Could not determine supported architecture",
    "xlm_roberta": "Could not determine supported architecture",
    "camembert": "Could not determine supported architecture",
}
# transformers' eager attention, in which TransformerLens runs, adds Falcon's ALiBi twice (see the recording tests).
EAGER_DIFFERS = ("falcon-alibi",)
OPENED = [name for name in ZOO if name not in (*REFUSED, *EAGER_DIFFERS)]
# Attention that TransformerLens leaves to transformers: `hook_result` cannot be had (it says so, or stays silent).
NO_RESULT = ("gpt_neo", "gptj", "opt", "opt-norm_after", "bert", "roberta", "vit", "t5", "t5-gated")


@dataclass(frozen=True)
class Lens:
    """What TransformerLens kept of one run, and the bare model for weights."""

    name: str
    cache: Mapping[str, Tensor]
    logits: Tensor
    bare: nn.Module

    def at(self, layer: int, hook: str) -> Tensor:
        return self.cache[f"blocks.{layer}.{hook}"]

    def part(self, layer: int, path: str) -> Any:
        return self.bare.get_submodule(f"model.layers.{layer}.{path}")


def rms_scale(x: Tensor, eps: float) -> Tensor:
    return (x.square().mean(dim=-1, keepdim=True) + eps).rsqrt()


def through_norm_after(lens: Lens, layer: int) -> Tensor:
    result, projection = lens.at(layer, "attn.hook_result"), lens.part(layer, "self_attn.o_proj")
    projected = result.sum(dim=-2) + (0 if projection.bias is None else projection.bias)
    norm = lens.part(layer, "post_attention_layernorm")
    gain, eps = (norm.weight, norm.variance_epsilon) if lens.name == "olmo2" else (1 + norm.weight, norm.eps)
    told: Tensor = result * gain * rms_scale(projected, eps)[..., None]
    return told


def normed_together(kind: str) -> Callable[[Lens, int], Tensor]:
    def told(lens: Lens, layer: int) -> Tensor:
        raw = lens.at(layer, f"attn.hook_{kind}")
        flat, norm = raw.flatten(2), lens.part(layer, f"self_attn.{kind}_norm")
        normed: Tensor = flat * rms_scale(flat, norm.variance_epsilon) * norm.weight
        return normed.view(raw.shape)

    return told


def latent_query(lens: Lens, layer: int) -> Tensor:
    projection = "q_proj" if lens.name.endswith("q_proj") else "q_b_proj"
    joined = lens.at(layer, f"attn.{projection}.hook_out")
    return joined.view(*joined.shape[:-1], 4, 10)


MLA = "latent attention: "
POST_NORM = "a norm behind each sum: TransformerLens' hook_attn_out is the stream behind it, its hook_resid_mid "
Told = Callable[[Lens, int], Tensor]
DIFFERENCES: dict[tuple[str, str], tuple[str, Told]] = {
    **{
        (family, "head_out"): (
            "hook_result stops before the norm after attention, so it does not add up to hook_attn_out",
            through_norm_after,
        )
        for family in ("gemma2", "gemma3_text", "olmo2")
    },
    **{
        ("olmo2", kind): (f"a norm over all heads at once: {kind} is read behind it", normed_together(kind))
        for kind in "qk"
    },
    **{
        (family, kind): (POST_NORM + "the sum before the next; what a sublayer adds is a difference of streams", told)
        for family in ("bert", "roberta")
        for kind, told in {
            "attn_out": lambda lens, layer: lens.at(layer, "hook_attn_out") - lens.at(layer, "hook_resid_pre"),
            "resid_mid": lambda lens, layer: lens.at(layer, "hook_attn_out"),
            "mlp_out": lambda lens, layer: lens.at(layer, "hook_resid_post") - lens.at(layer, "hook_attn_out"),
        }.items()
    },
    **{
        (family, kind): (MLA + reason, told)
        for family in ("deepseek_v2", "deepseek_v2-q_proj", "deepseek_v3")
        for kind, reason, told in [
            ("q", "hook_q is rotated, [batch heads pos width]", latent_query),
            (
                "v",
                "hook_v is [batch heads pos width]",
                lambda lens, layer: lens.at(layer, "attn.hook_v").transpose(1, 2),
            ),
            (
                "z",
                "hook_z is cut into d_model / heads and not into v_head_dim, so no head stands by itself",
                lambda lens, layer: lens.at(layer, "attn.hook_z").reshape(2, -1, 4, 5),
            ),
        ]
    },
    ("bloom", "attn_out"): (
        "attention returns the stream, and hook_attn_out is not there",
        lambda lens, layer: lens.at(layer, "hook_resid_mid") - lens.at(layer, "hook_resid_pre"),
    ),
}


def lens_key(name: str, site: LayerComponent) -> str:
    """The name that TransformerLens gives a site."""
    if site.kind in BEYOND:
        prefix = (
            "" if not name.startswith("t5") or site.kind != "final_norm" else "encoder_" if site.stack else "decoder_"
        )
        return prefix + BEYOND[site.kind]
    hook = HOOKS.get(site.kind) or HOOKS[site.kind.removeprefix("cross_")].replace("attn.", "cross_attn.")
    key = f"blocks.{site.layer or 0}.{hook}"
    if not name.startswith("t5"):
        return key
    if site.stack:
        return f"encoder_{key}"
    # behind self attention comes cross attention: the stream that the MLP reads is the second in the middle
    return "decoder_" + key.replace(".attn.", ".self_attn.").replace("hook_resid_mid", "hook_resid_mid2")


@torch.no_grad()
def told_by(lens: Lens, site: LayerComponent) -> Tensor:
    if site.kind == "logits":
        return lens.logits
    if (differing := DIFFERENCES.get((lens.name, site.kind))) is not None:
        assert site.layer is not None
        return differing[1](lens, site.layer)
    return lens.cache[lens_key(lens.name, site)]


def batch_for(name: str, is_padded: bool) -> Batch:
    """Even rows, or one of them padded on the left; T5's decoder gets four tokens of its own, never padded."""
    generator = torch.Generator().manual_seed(13)
    if name == "vit":
        return Batch.from_values({"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)})
    rows = [torch.randint(3, 61, (length,), generator=generator).tolist() for length in (7, 5 if is_padded else 7)]
    batch = Batch.from_rows(rows, pad_id=1, side="left")
    if not name.startswith("t5"):
        return batch
    ids = torch.randint(3, 61, (2, 4), generator=generator)
    return Batch(batch.input_ids, batch.attention_mask, {"decoder_input_ids": ids})


def open_bridge(name: str, folder: str) -> Any:
    with quiet(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        bridge = bridges.TransformerBridge.boot_transformers(folder, device="cpu")
    if name not in (*NO_RESULT, "mamba"):
        bridge.set_use_attn_result(True)
    return bridge


@torch.no_grad()
def run_bridge(name: str, bridge: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
    if name == "vit":
        logits, found = bridge.run_with_cache(batch.extra["pixel_values"])
    else:
        more = {"decoder_input": batch.extra["decoder_input_ids"]} if name.startswith("t5") else {}
        logits, found = bridge.run_with_cache(batch.input_ids, attention_mask=batch.attention_mask, **more)
    return logits, found.cache_dict


@dataclass(frozen=True)
class Opened:
    """One model in both libraries."""

    name: str
    model: Model
    bridge: Any

    def lens(self, batch: Batch) -> Lens:
        logits, found = run_bridge(self.name, self.bridge, batch)
        return Lens(self.name, found, logits, ZOO[self.name]())

    def sites(self) -> list[LayerComponent]:
        """The sites that stand and that TransformerLens has as well."""
        return [site for site in self.model.sites() if not (site.kind.endswith("head_out") and self.name in NO_RESULT)]

    def capture(self, batch: Batch, sites: list[LayerComponent]) -> dict[LayerComponent, Tensor]:
        """Patterns in a run of their own, so that all else comes from the run that users get."""
        patterns = [site for site in sites if site.kind.endswith("pattern")]
        others = [site for site in sites if site not in patterns]
        runs = [self.model.capture(batch, part).values for part in (others, patterns) if part]
        return {site: value for run in runs for site, value in run.items()}


def save(name: str, folder: str) -> None:
    with quiet():
        ZOO[name]().save_pretrained(folder)
        if name != "vit":
            tiny_tokenizer(["a b"]).save_pretrained(folder)


@pytest.fixture(scope="module", params=OPENED)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = str(tmp_path_factory.mktemp("model"))
    save(request.param, folder)
    return Opened(request.param, Model.open(folder), open_bridge(request.param, folder))


def real_part(value: Tensor, site: LayerComponent, batch: Batch) -> Tensor:
    """The values at real tokens; T5's decoder has no others."""
    mask = batch.attention_mask.bool()
    if mask.all() or site.kind in {"pooled"}:
        return value
    is_decoded = "decoder_input_ids" in batch.extra and site.stack is None
    if site.kind.endswith("pattern"):
        queries = torch.ones(value.shape[0], value.shape[2], dtype=torch.bool) if is_decoded else mask
        keys = mask if site.kind == "cross_pattern" or not is_decoded else queries
        return value[(queries[:, None, :, None] & keys[:, None, None, :]).expand_as(value)]
    return value if is_decoded and site.kind not in {"cross_k", "cross_v"} else value[mask]


def error_of(seen: Tensor, told: Tensor) -> float:
    assert seen.shape == told.shape
    return float((seen - told).abs().max() / told.abs().max())


@pytest.mark.parametrize("is_padded", [False, True], ids=["even", "padded"])
def test_every_site_is_what_it_is_in_transformer_lens(both: Opened, is_padded: bool) -> None:
    batch = batch_for(both.name, is_padded)
    lens = both.lens(batch)
    for site, value in both.capture(batch, both.sites()).items():
        seen, told = (real_part(part, site, batch) for part in (value, told_by(lens, site)))
        assert error_of(seen, told) < TOLERANCE, (site, lens_key(both.name, site))


def test_the_table_of_differences_holds_nothing_that_agrees(both: Opened) -> None:
    lens = both.lens(batch := batch_for(both.name, False))
    sites = [site for site in both.sites() if (both.name, site.kind) in DIFFERENCES]
    for site, value in both.capture(batch, sites).items() if sites else ():
        raw = lens.cache.get(lens_key(both.name, site))
        assert raw is None or raw.shape != value.shape or error_of(value, raw) > 0.1, site


def test_transformer_lens_has_no_results_where_the_table_says_so(both: Opened) -> None:
    if both.name == "mamba":
        return
    has_results = any("hook_result" in key for key in both.lens(batch_for(both.name, False)).cache)
    assert has_results == (both.name not in NO_RESULT)


@pytest.mark.parametrize("name", REFUSED)
def test_transformer_lens_refuses_what_the_table_says(name: str, tmp_path: Any) -> None:
    save(name, str(tmp_path))
    with pytest.raises((ValueError, RuntimeError, AttributeError), match=REFUSED[name]):
        run_bridge(name, open_bridge(name, str(tmp_path)), batch_for(name, False))


@torch.no_grad()
@pytest.mark.parametrize("both", ["deepseek_v2", "deepseek_v2-q_proj", "deepseek_v3"], indirect=True)
def test_heads_of_latent_attention_are_as_wide_as_their_values(both: Opened) -> None:
    """Which cut of z is right: the pattern times values sliced by hand gives [batch pos 4 5], and so say we."""
    lens = both.lens(batch := batch_for(both.name, False))
    for layer in range(2):
        found: list[Tensor] = []
        projection = lens.part(layer, "self_attn.kv_b_proj")
        handle = projection.register_forward_hook(lambda module, args, output, found=found: found.append(output))
        lens.bare(batch.input_ids)
        handle.remove()
        values = found[0].reshape(2, 7, 4, 11)[..., 6:]  # per head 6 numbers of a key, then 5 of a value
        told = torch.einsum("bhqk,bkhd->bqhd", lens.at(layer, "attn.hook_pattern"), values)
        (z,) = both.capture(batch, [LayerComponent(kind="z", layer=layer)]).values()
        assert error_of(z, told) < TOLERANCE
        assert lens.at(layer, "attn.hook_z").shape == (2, 7, 5, 4)


@torch.no_grad()
@pytest.mark.parametrize("both", ["gemma2", "gemma3_text"], indirect=True)
def test_behind_a_norm_after_attention_our_heads_add_up_and_theirs_do_not(both: Opened) -> None:
    lens = both.lens(batch := batch_for(both.name, False))
    for layer in range(3):
        (shares,) = both.capture(batch, [LayerComponent(kind="head_out", layer=layer)]).values()
        added = lens.at(layer, "hook_attn_out")
        assert error_of(shares.sum(dim=-2), added) < TOLERANCE
        assert error_of(lens.at(layer, "attn.hook_result").sum(dim=-2), added) > 0.1


@torch.no_grad()
@pytest.mark.parametrize("both", ["bert", "roberta"], indirect=True)
def test_behind_norms_of_sums_our_parts_add_up_and_theirs_do_not(both: Opened) -> None:
    lens = both.lens(batch := batch_for(both.name, False))
    for layer in range(3):
        sites = [LayerComponent(kind=kind, layer=layer) for kind in ("resid_pre", "attn_out", "mlp_out")]
        before, attention, mlp = both.capture(batch, sites).values()
        after = lens.at(layer, "hook_resid_post")
        assert error_of(before + attention + mlp, after) < TOLERANCE
        theirs = (lens.at(layer, f"hook_{kind}") for kind in ("resid_pre", "attn_out", "mlp_out"))
        assert error_of(sum(theirs, start=torch.zeros_like(after)), after) > 0.1


def test_a_name_of_transformer_lens_is_understood_as_its_site(both: Opened) -> None:
    """Layers' names as they are in models of one stack; those of `DIFFERENCES` say another thing there."""
    if both.name.startswith("t5"):
        return
    for site in both.sites():
        if site.layer is not None:
            assert both.model.parse_sites(lens_key(both.name, site)) == [site]


@pytest.mark.parametrize("both", ["gpt2"], indirect=True)
def test_names_for_other_tensors_are_not_understood(both: Opened) -> None:
    """Its embedding is that of the token alone, and its normalised stream is not yet scaled by the norm's weight."""
    for key in ("hook_embed", "ln_final.hook_normalized"):
        with pytest.raises(NotFoundError):
            both.model.parse_sites(key)
    lens = both.lens(batch := batch_for(both.name, False))
    (value,) = both.capture(batch, both.model.parse_sites("ln_final.hook_out")).values()
    assert error_of(value, lens.cache["ln_final.hook_out"]) < TOLERANCE
