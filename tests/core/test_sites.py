import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechscope.core import LayerComponent, NotFoundError, UsageError, parse_sites
from mechscope.core.sites import GLOBAL_KINDS, LAYER_KINDS


def names(selector: str, n_layers: int = 4) -> list[str]:
    return [str(site) for site in parse_sites(selector, n_layers)]


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


@pytest.mark.parametrize("selector", ["resid_post", "resid_post:7", "resid_post:a", "resid_post:1-9", "", " , "])
def test_wrong_layers_are_refused(selector: str) -> None:
    with pytest.raises(UsageError):
        parse_sites(selector, 4)
