"""The logit lens of every family against the same network with its later blocks taken out."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent, NotFoundError, UsageError
from mechscope.models import Batch, ComponentMap, Model
from mechscope.models.inputs import output_logits
from mechscope.models.lens import LensQuery, direct_logit_attribution, logit_lens
from mechscope.models.lens import logit_lens as lens_function
from mechscope.models.lens.places import choose_places
from mechscope.models.positions import from_right

EVERYTHING = LensQuery(at="all", keeps_logits=True)


def relative(seen: Tensor, told: Tensor) -> float:
    return float((seen - told).abs().max() / told.abs().max())


@torch.no_grad()
def truncated_logits(case: Any, n_blocks: int) -> Tensor:
    """The logits of the bare module when only its first blocks are there: what a logit lens is by definition."""
    module = deepcopy(case.model.module)
    parent, _, name = case.model.component_map.blocks.rpartition(".")
    holder = module.get_submodule(parent)
    setattr(holder, name, nn.ModuleList([*getattr(holder, name)][:n_blocks]))
    return output_logits(module(**case.inputs))


def test_every_layer_is_the_network_without_its_later_blocks(case: Any) -> None:
    found = logit_lens(case.model, case.batch, query=EVERYTHING)
    assert found.logits is not None
    assert [str(site) for site in found.sites] == ["embed", *(f"resid_post:{i}" for i in range(case.model.n_layers))]
    for n_blocks, logits in enumerate(found.logits):
        told = truncated_logits(case, n_blocks)
        assert relative(logits, told.reshape(logits.shape)) <= 1e-5
    assert found.output_error <= 1e-5
    assert relative(found.logits[-1], case.model.logits(case.batch).reshape(found.logits[-1].shape)) <= 1e-5
    torch.testing.assert_close(found.kl_to_output[-1], torch.zeros(found.n_readings), rtol=0, atol=1e-5)
    assert relative(found.logits[0], found.logits[-1]) > 0.1, (
        "an early layer that predicts like the last proves nothing"
    )


def test_numbers_against_a_slow_version(opened: Callable[[str], Any]) -> None:
    case = opened("gemma2")
    targets = torch.arange(12)
    found = logit_lens(case.model, case.batch, query=LensQuery(at="all", targets=targets, top_k=4, keeps_logits=True))
    assert found.logits is not None
    assert found.target_log_probs is not None
    assert found.target_ranks is not None
    output = case.model.logits(case.batch).double().flatten(0, 1)
    for site in range(len(found.sites)):
        for reading in range(12):
            logits = found.logits[site, reading].double()
            p, q = torch.exp(logits) / torch.exp(logits).sum(), torch.exp(output[reading]) / output[reading].exp().sum()
            order = sorted(range(len(p)), key=lambda token: -float(p[token]))
            assert found.top_tokens[site, reading].tolist() == order[:4]
            assert found.target_ranks[site, reading] == order.index(reading)
            told = {
                float(found.target_log_probs[site, reading]): p[reading].log(),
                float(found.top_log_probs[site, reading, 0]): p.max().log(),
                float(found.entropy[site, reading]): -sum(x * x.log() for x in p),
                float(found.kl_to_output[site, reading]): sum(y * (y / x).log() for x, y in zip(p, q, strict=True)),
            }
            for seen, slow in told.items():
                assert seen == pytest.approx(float(slow), abs=2e-6)
    assert found.columns is not None
    assert list(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == [
        (row, column) for row in range(2) for column in range(6)
    ]


def test_set_models_pool_and_sum_over_yes_and_no(opened: Callable[[str], Any]) -> None:
    case = opened("set")
    found = logit_lens(case.model, case.batch, query=LensQuery(targets=2, keeps_logits=True))
    assert found.logits is not None
    assert found.target_log_probs is not None
    assert found.columns is None
    p, q = torch.sigmoid(found.logits.double()), torch.sigmoid(case.model.logits(case.batch).double())
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(-1)
    kl = (q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).sum(-1)
    torch.testing.assert_close(found.entropy.double(), entropy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.kl_to_output.double(), kl, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.target_log_probs.double(), p[..., 2].log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "set"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter(opened: Callable[[str], Any], name: str, side: Any) -> None:
    case = opened(name)
    rows = [[3, 5, 7, 2, 9], [4, 6, 8]]
    extra = {"weapon_ids": torch.tensor([1, 2])} if name == "set" else {}
    padded = Batch.from_rows(rows, side=side)
    together = logit_lens(case.model, Batch(padded.input_ids, padded.attention_mask, extra))
    for index, row in enumerate(rows):
        batch = Batch.from_rows([row])
        more = {key: value[index : index + 1] for key, value in extra.items()}
        alone = logit_lens(case.model, Batch(batch.input_ids, batch.attention_mask, more))
        torch.testing.assert_close(together.entropy[:, index], alone.entropy[:, 0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.kl_to_output[:, index], alone.kl_to_output[:, 0], rtol=1e-5, atol=1e-5)


def test_positions_are_those_asked_for(opened: Callable[[str], Any]) -> None:
    case = opened("gpt2")
    padded = Batch.from_rows([[3, 5, 7, 2, 9], [4, 6, 8]], side="left")
    everywhere = logit_lens(case.model, padded, query=EVERYTHING)
    one_before = logit_lens(case.model, padded, query=LensQuery(at=from_right(1), keeps_logits=True))
    assert everywhere.logits is not None
    assert one_before.logits is not None
    assert one_before.columns is not None
    assert one_before.columns.tolist() == [3, 3]
    torch.testing.assert_close(one_before.logits, everywhere.logits[:, [3, 6]], rtol=1e-5, atol=1e-6)
    assert logit_lens(case.model, padded).rows.tolist() == [0, 1]


def test_chunks_change_nothing(opened: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    case = opened("cohere")
    query = LensQuery(at="all", targets=torch.arange(12), keeps_logits=True)
    whole = logit_lens(case.model, case.batch, query=query)
    monkeypatch.setitem(lens_function.__globals__, "CHUNK_NUMBERS", 61 * 5)
    parts = logit_lens(case.model, case.batch, query=query)
    for name in ("top_tokens", "target_ranks", "entropy", "kl_to_output", "logits", "target_log_probs"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-6)


def test_sites_between_sublayers(opened: Callable[[str], Any]) -> None:
    case = opened("llama")
    sites = case.model.parse_sites("resid_pre:1,resid_mid:1")
    found = logit_lens(case.model, case.batch, sites, EVERYTHING)
    stream = case.model.capture(case.batch, sites).values[sites[1]]
    with torch.no_grad():
        told = case.model.module.lm_head(case.model.module.model.norm(stream)).flatten(0, 1)
    assert found.sites == tuple(sites)
    assert found.logits is not None
    torch.testing.assert_close(found.logits[1], told, rtol=1e-5, atol=1e-6)


def test_heads_that_are_not_linear_are_refused(nonlinear_case: Any) -> None:
    with pytest.raises(UsageError, match="head is not linear"):
        logit_lens(nonlinear_case.model, nonlinear_case.batch)


def test_a_wrong_end_is_refused(opened: Callable[[str], Any]) -> None:
    case = opened("gemma2")
    wrong = case.model.component_map.updated(logit_cap=None)
    with pytest.raises(UsageError, match="do not give its logits"):
        logit_lens(Model.open(case.model.module, component_map=wrong), case.batch)
    unchecked = Model.open(case.model.module, component_map=wrong, verify=False)
    with pytest.raises(BadDataError, match="other logits"):
        logit_lens(unchecked, case.batch)


def test_a_wrong_pooling_is_refused(opened: Callable[[str], Any]) -> None:
    case = opened("set")
    module = deepcopy(case.model.module)
    module.pooling.forward = lambda x, is_token: x.amax(dim=1)
    with pytest.raises(BadDataError, match="other logits"):
        logit_lens(Model.open(module, component_map=case.model.component_map), case.batch)


def test_bad_questions(
    opened: Callable[[str], Any],
    refused: Callable[..., None],
    affine_net: nn.Module,
    affine_map: ComponentMap,
) -> None:
    case = opened("gpt2")
    model, batch = case.model, case.batch

    def ask(**query: Any) -> Callable[[], object]:
        return lambda: logit_lens(model, batch, query=LensQuery(**query))

    refused("targets of shape", ask(targets=torch.arange(5)))
    refused("targets in 99..99", ask(targets=99))
    refused("top_k 62", ask(top_k=62))
    refused("positions 'first'", lambda: choose_places(batch, cast(Any, "first"), shape=(2, 6)))
    refused("lens on attn_out:1", lambda: logit_lens(model, batch, model.parse_sites("attn_out:1")))
    refused("lens on 0 sites", lambda: logit_lens(model, batch, []))
    refused("lens on 2 sites, 1 of", lambda: logit_lens(model, batch, model.parse_sites("embed") * 2))
    unknown = Model.open(affine_net, component_map=affine_map.updated(kind="module"))
    refused("no known meaning", lambda: logit_lens(unknown, batch))
    headless = Model.open(affine_net, component_map=affine_map.updated(unembedding=None))
    refused("names no unembedding", lambda: logit_lens(headless, Batch.from_rows([[1, 2]])))
    with pytest.raises(NotFoundError, match="resid_post:9"):
        logit_lens(model, batch, [LayerComponent(kind="resid_post", layer=9)])


def test_sites_may_be_given_as_selectors(opened: Callable[[str], Any]) -> None:
    model, batch = opened("gpt2").model, opened("gpt2").batch
    told = logit_lens(model, batch, model.parse_sites("embed,resid_mid:1,resid_post:0-1"))
    for sites in (
        "embed,resid_mid:1,resid_post:0-1",
        ["embed", *model.parse_sites("resid_mid:1"), "resid_post:0-1"],
    ):
        found = logit_lens(model, batch, sites)
        assert found.sites == told.sites
        assert torch.equal(found.kl_to_output, told.kl_to_output)
    (embed,) = model.parse_sites("embed")
    assert logit_lens(model, batch, embed).sites == (embed,)
    with pytest.raises(UsageError, match=r"(?s)lens on mlp_out:1.*direct_logit_attribution"):
        logit_lens(model, batch, "mlp_out:1")
    with pytest.raises(NotFoundError, match="did you mean 'resid_post'"):
        logit_lens(model, batch, "resid_pots:1")


class Adding(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.mlp = part

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.mlp(x)
        return found


class Stack(nn.Module):
    """A network of vectors or of feature maps, not of positions."""

    def __init__(self, first: nn.Module, part: Callable[[], nn.Module], *, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.first, self.axes = first, axes
        self.layers = nn.ModuleList(Adding(part()) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.head(x.mean(self.axes) if self.axes else x)
        return found


@pytest.mark.parametrize(
    ("module", "shape", "seen"),
    [
        (Stack(nn.Linear(4, 8), lambda: nn.Linear(8, 8), axes=()), (4,), r"has the shape \[3, 8\]"),
        (Stack(nn.Conv2d(3, 8, 3), lambda: nn.Conv2d(8, 8, 3, padding=1), axes=(2, 3)), (3, 10, 10), r"\[3, 8, 8, 8\]"),
        (Stack(nn.Conv1d(3, 8, 3), lambda: nn.Conv1d(8, 8, 3, padding=1), axes=(2,)), (3, 9), "'head' reads 8 numbers"),
    ],
    ids=["vectors", "images", "sequences"],
)
@pytest.mark.parametrize("kind", ["classifier", "causal_lm"])
def test_a_stream_without_positions_is_refused(
    module: nn.Module, shape: tuple[int, ...], seen: str, kind: Any, refused: Callable[..., None]
) -> None:
    component_map = ComponentMap(kind=kind, blocks="layers", mlp="mlp", unembedding="head", value_inputs={"x": shape})
    model = Model.open(module, component_map=component_map)
    batch = Batch.from_values({"x": torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))})
    refused(seen, lambda: logit_lens(model, batch))
    refused(seen, lambda: direct_logit_attribution(model, batch, 1))
    refused(seen, lambda: direct_logit_attribution(model, batch, 1, by="layer"))


def test_positions_of_a_pooled_model_are_refused(opened: Callable[[str], Any], refused: Callable[..., None]) -> None:
    case = opened("set")
    refused("pools each row", lambda: logit_lens(case.model, case.batch, query=LensQuery(at=from_right(0))))


def test_logits_that_are_not_finite_are_refused(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net, component_map=affine_map)
    with torch.no_grad():
        model.module.get_parameter("head.bias")[3] = float("nan")
    with pytest.raises(BadDataError, match=r"nan|NaN"):
        logit_lens(model, Batch.from_rows([[1, 2]]))
