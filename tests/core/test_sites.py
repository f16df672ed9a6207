import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechscope.core import LayerComponent, NotFoundError, UsageError, parse_sites
from mechscope.core.sites import GLOBAL_KINDS, LAYER_KINDS


def names(selector: str, n_layers: int = 4) -> list[str]:
    sites = parse_sites(
        selector, n_layers, n_encoder_layers=2, heads=lambda kind: 3, n_neurons=300, paths=["self_attn.k_proj"]
    )
    return [str(site) for site in sites]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("resid_post:3", ["resid_post:3"]),
        ("resid_post:0-2", ["resid_post:0", "resid_post:1", "resid_post:2"]),
        ("layers_output:2-0", ["resid_post:2", "resid_post:1", "resid_post:0"]),
        ("mlps_output:*", [f"mlp_out:{layer}" for layer in range(4)]),
        ("blocks.3.hook_resid_post", ["resid_post:3"]),
        ("blocks.1.attn.hook_z", ["z:1"]),
        ("attentions_output[1]", ["attn_out:1"]),
        ("masked_mean", ["pooled"]),
        ("embed, resid_post:1, embed", ["embed", "resid_post:1"]),
        ("k", [f"k:{layer}" for layer in range(4)]),
        ("k:all", [f"k:{layer}" for layer in range(4)]),
        ("k[2]", ["k:2"]),
        ("k:-1", ["k:3"]),
        ("k:1:3", ["k:1", "k:2"]),
        ("k:0:4:2", ["k:0", "k:2"]),
        ("k:::-1", ["k:3", "k:2", "k:1", "k:0"]),
        ("z:1.h2", ["z:1.h2"]),
        ("z:0-1.h0-1", ["z:0.h0", "z:0.h1", "z:1.h0", "z:1.h1"]),
        ("z:1.h*", ["z:1.h0", "z:1.h1", "z:1.h2"]),
        ("mlp_post:3.n187", ["mlp_post:3.n187"]),
        ("attn.hook_q:2", ["q:2"]),
        ("ln_final.hook_out", ["final_norm"]),
        ("encoder_blocks.1.hook_resid_pre", ["encoder.resid_pre:1"]),
        ("decoder_blocks.1.attn.hook_z", ["z:1"]),
        ("blocks.3.attn.hook_pattern", ["pattern:3"]),
        ("attention_head:1.h0", ["head_out:1.h0"]),
        ("self_attn.k_proj:0:2", ["self_attn.k_proj:0", "self_attn.k_proj:1"]),
        ("encoder.resid_post:-1, encoder.embed", ["encoder.resid_post:1", "encoder.embed"]),
    ],
)
def test_every_spelling_becomes_the_typed_form(selector: str, expected: list[str]) -> None:
    assert names(selector) == expected


@given(st.sampled_from(LAYER_KINDS), st.integers(0, 30))
def test_the_typed_form_reads_its_own_spelling(kind: str, layer: int) -> None:
    site = LayerComponent(kind=kind, layer=layer)
    assert parse_sites(str(site), 31) == [site]


@pytest.mark.parametrize("kind", GLOBAL_KINDS)
def test_global_sites_take_no_layer(kind: str) -> None:
    assert names(kind) == [kind]
    with pytest.raises(UsageError, match="carries a layer"):
        parse_sites(f"{kind}:1", 4)


def test_a_misspelt_site_offers_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'resid_post'"):
        parse_sites("embed,resid_pots:1", 4)


@pytest.mark.parametrize(
    ("selector", "near"),
    [
        ("blocks.1.hook_resid_psot", "resid_post"),
        ("blocks.*.attn.hook_zz", "attn.hook_z"),
        ("resid_psot[1]", "resid_post"),
        ("zz:1.h2", "z"),
        ("encoder.resid_psot:0", "resid_post"),
    ],
)
def test_the_nearest_is_looked_for_without_what_stands_around_the_name(selector: str, near: str) -> None:
    with pytest.raises(NotFoundError, match=f"did you mean '{near}'") as caught:
        names(selector)
    assert repr(selector) in caught.value.seen


@pytest.mark.parametrize(
    ("selector", "lacking"),
    [("z:1.h1.n2", "neurons"), ("mlp_post:1.h1.n2", "heads"), ("resid_post:1.h1.n2", "heads"), ("z:1.n2", "neurons")],
)
def test_what_a_site_lacks_is_told(selector: str, lacking: str) -> None:
    with pytest.raises(UsageError, match=f"has no {lacking}") as caught:
        names(selector)
    assert lacking.removesuffix("s") in caught.value.todo


@pytest.mark.parametrize("selector", [
    "resid_post:", "resid_post:7", "resid_post:a", "resid_post:1-9", "resid_post:-5", "", " , ",
    "k:0:9", "k:2:2", "k:0:4:0", "z:1.h3", "z:1.n0", "resid_post:1.h0", "mlp_post:0.n300", "k[]",
])  # fmt: skip
def test_wrong_layers_are_refused(selector: str) -> None:
    with pytest.raises(UsageError):
        names(selector)


def test_what_is_counted_from_the_end_needs_a_count() -> None:
    with pytest.raises(UsageError, match="heads counted from the end"):
        parse_sites("z:1.h-1", 4)
    assert [str(site) for site in parse_sites("z:1.h7", 4)] == ["z:1.h7"]


def test_the_typed_form_takes_the_founding_names() -> None:
    assert LayerComponent(kind="residual", layer=10) == LayerComponent(kind="resid_post", layer=10)
    assert LayerComponent(kind="mlp_neuron", layer=1, neuron=3).base == LayerComponent(kind="mlp_post", layer=1)


def test_a_model_without_an_encoder_says_so() -> None:
    with pytest.raises(NotFoundError, match="without an encoder"):
        parse_sites("encoder.resid_post:0", 4)
