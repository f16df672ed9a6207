"""What holds for every ready-made edit: a null one changes no bit, a live one moves the logits, padding is no input."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.models import Batch, Edit, Model, interventions, positions
from mechscope.models.edits import Positions
from mechscope.models.interventions import (
    Source,
    add,
    keep_only,
    mean,
    noise,
    project_out,
    resample,
    scale,
    set_value,
    splice,
    steer,
    swap,
    zero,
)
from mechscope.models.positions import from_left, from_right, span, tokens

Rows = Callable[..., Batch]
Bare = Callable[[str], nn.Module]
Maker = Callable[[LayerComponent, Tensor, Batch, Positions | None], Edit]

SITES = ["embed", "resid_post:1", "attn_out:0", "mlp_out:0", "head_out:1", "z:1", "z:0.h2", "q:0", "v:1.h1"]
SITES += ["mlp_post:1", "final_norm", "logits"]
NEURONS = ["mlp_post:0.n7", "mlp_pre:0.n3"]
FEW = ["resid_post:1", "z:0.h2", "mlp_post:0.n7"]
DOCS = Path(__file__).parents[2] / "docs" / "edits.md"


def ones(value: Tensor) -> Tensor:
    return torch.ones(value.shape[2:])


def unit_vectors(value: Tensor, n: int | None = None) -> Tensor:
    size = value[0, 0].numel()
    return torch.eye(size)[:n].reshape(-1, *value.shape[2:])


def dictionary_of(value: Tensor) -> Dictionary:
    d_in = value[0, 0].numel()
    return Dictionary.random(DictionarySpec(architecture="topk", d_in=d_in, n_features=2 * d_in, k=4), seed=1)


NULLS: dict[str, Maker] = {
    "set_value": lambda site, value, batch, at: set_value(site, value, at=at),
    "scale": lambda site, value, batch, at: scale(site, 1.0, at=at),
    "add": lambda site, value, batch, at: add(site, 0.0, at=at),
    "steer": lambda site, value, batch, at: steer(site, ones(value), coefficient=0.0, at=at),
    "noise": lambda site, value, batch, at: noise(site, 0.0, seed=3, at=at),
    "relative noise": lambda site, value, batch, at: noise(site, 0.0, seed=3, relative=True, at=at),
    "swap with itself": lambda site, value, batch, at: swap(site, Source(value, batch), at=at),
    "swap in place": lambda site, value, batch, at: swap(site, [0, 1], at=at),
}
WIDE_NULLS: dict[str, Maker] = {
    "project_out": lambda site, value, batch, at: project_out(site, unit_vectors(value, 0), at=at),
    "keep_only": lambda site, value, batch, at: keep_only(site, unit_vectors(value), at=at),
    "splice": lambda site, value, batch, at: splice(
        site, dictionary_of(value), with_error=True, edit_features=lambda codes: codes, at=at
    ),
}
LIVE: dict[str, Maker] = {
    "zero": lambda site, value, batch, at: zero(site, at=at),
    "set_value": lambda site, value, batch, at: set_value(site, 2.0, at=at),
    "mean": lambda site, value, batch, at: mean(site, value.mean(dim=(0, 1)), at=at),
    "scale": lambda site, value, batch, at: scale(site, 1.5, at=at),
    "add": lambda site, value, batch, at: add(
        site, torch.linspace(0, 1, value[0].numel()).view(value[:1].shape), at=at
    ),
    "steer": lambda site, value, batch, at: steer(site, slope_of(value[0, 0]), coefficient=3.0, normalise=True, at=at),
    "noise": lambda site, value, batch, at: noise(site, 0.5, seed=3, at=at),
    "relative noise": lambda site, value, batch, at: noise(site, 1.0, seed=3, relative=True, at=at),
    "resample": lambda site, value, batch, at: resample(site, Source(value, batch), seed=3, align="right", at=at),
    "swap": lambda site, value, batch, at: swap(site, [1, 0], at=at),
}
WIDE_LIVE: dict[str, Maker] = {
    "project_out": lambda site, value, batch, at: project_out(site, unit_vectors(value, 2), at=at),
    "keep_only": lambda site, value, batch, at: keep_only(site, unit_vectors(value, 2), at=at),
    "splice": lambda site, value, batch, at: splice(site, dictionary_of(value), at=at),
    "splice with error": lambda site, value, batch, at: splice(
        site, dictionary_of(value), with_error=True, edit_features=lambda c: c.with_values(c.values * 0), at=at
    ),
}


def slope_of(value: Tensor) -> Tensor:
    """A tensor of the value's shape that no norm takes away."""
    return torch.linspace(-1, 2, value.numel()).reshape(value.shape)


def opened(name: str, bare: Bare, rows: Rows, lengths: tuple[int, int], side: str) -> tuple[Model, Batch]:
    module = bare(name)
    return Model.open(module), rows(module, lengths, side)


def all_values(model: Model, batch: Batch, selectors: list[str]) -> dict[LayerComponent, Tensor]:
    sites = [site for selector in selectors for site in model.parse_sites(selector)]
    return model.capture(batch, sites).values


@pytest.mark.parametrize(
    ("name", "lengths", "side"),
    [("gpt2", (6, 4), "right"), ("gpt_neox", (3, 6), "left"), ("llama", (6, 4), "right"), ("bert", (3, 6), "left")],
)
def test_null_edits_at_all_sites_at_once_change_no_bit_of_the_logits(
    name: str, lengths: tuple[int, int], side: str, bare: Bare, rows: Rows
) -> None:
    model, batch = opened(name, bare, rows, lengths, side)
    wide, neurons = all_values(model, batch, SITES), all_values(model, batch, NEURONS)
    real = batch.attention_mask.bool()
    plain = model.logits(batch)[real]
    nowhere = tokens(99, allow_missing=True)
    for at, narrow_edits, wide_edits in (
        (None, NULLS, WIDE_NULLS),
        (span(-2), NULLS, WIDE_NULLS),
        (nowhere, LIVE, WIDE_LIVE),
    ):
        for kind, make in narrow_edits.items():
            edits = [make(site, value, batch, at) for site, value in (wide | neurons).items()]
            assert torch.equal(model.logits(batch, edits=edits)[real], plain), (kind, str(at))
        for kind, make in wide_edits.items():
            edits = [make(site, value, batch, at) for site, value in wide.items()]
            assert torch.equal(model.logits(batch, edits=edits)[real], plain), (kind, str(at))


@pytest.mark.parametrize(("name", "selectors"), [("gpt2", [*SITES, *NEURONS]), ("gpt_neox", FEW), ("bert", FEW)])
def test_live_edits_move_the_logits(name: str, selectors: list[str], bare: Bare, rows: Rows) -> None:
    model, batch = opened(name, bare, rows, (6, 6), "right")
    plain = model.logits(batch)
    for site, value in all_values(model, batch, selectors).items():
        for kind, make in (LIVE if site.neuron is not None else LIVE | WIDE_LIVE).items():
            moved = model.logits(batch, edits=[make(site, value, batch, from_left(1, 3))])
            assert (moved - plain).abs().amax(dim=(1, 2)).min() > 1e-6, (str(site), kind)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_edit_acts_at_its_positions_alone(side: str, bare: Bare, rows: Rows) -> None:
    model, batch = opened("gpt2", bare, rows, (6, 4), side)
    at = from_right(0, 2)
    there = at.mask(batch)
    for site, value in all_values(model, batch, FEW).items():
        for kind, make in (LIVE if site.neuron is not None else LIVE | WIDE_LIVE).items():
            edited = model.capture(batch, [site], edits=[make(site, value, batch, at)]).values[site]
            assert torch.equal(edited[~there], value[~there]), (str(site), kind)
            changed = (edited != value).reshape(*value.shape[:2], -1).any(dim=-1)
            assert bool(changed[there].all()), (str(site), kind)


@pytest.mark.parametrize("name", ["gpt2"])
def test_padding_does_not_change_what_an_edit_writes(name: str, bare: Bare, rows: Rows) -> None:
    """Row by row without padding is the slow version of a padded batch."""
    model, batch = opened(name, bare, rows, (6, 4), "left")
    alone = [Batch.from_rows([row[row != 0].tolist()]) for row in batch.input_ids]
    for selector in ("resid_post:0", "z:1.h2", "mlp_post:1.n7"):
        (site,) = model.parse_sites(selector)
        value = model.capture(batch, [site]).values[site]
        average = value[batch.attention_mask.bool()].mean(dim=0)
        makers: list[Edit] = [zero(site), mean(site, average), noise(site, 0.3, seed=1), scale(site, 2.0)]
        makers += [add(site, 1.0, at=from_right(1)), noise(site, 0.3, seed=1, at=from_left(2))]
        for edit in makers:
            together = model.logits(batch, edits=[edit])
            for index, row in enumerate(alone):
                kept = together[index][batch.attention_mask[index].bool()]
                torch.testing.assert_close(kept, model.logits(row, edits=[edit])[0], rtol=1e-4, atol=1e-5)


def test_edits_of_a_set_model_act_on_the_pooled_row(bare: Bare, rows: Rows) -> None:
    model, batch = opened("set", bare, rows, (6, 4), "right")
    (site,) = model.parse_sites("pooled")
    value = model.capture(batch, [site]).values[site]
    plain = model.logits(batch)
    source = Source(value, batch)
    width = value.shape[1]
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=width, n_features=8, k=2), seed=1)
    flipped = value.flip(0)
    wanted = {
        zero(site): torch.zeros_like(value),
        set_value(site, flipped): flipped,
        mean(site, value.mean(0)): value.mean(0).expand_as(value),
        swap(site, [1, 0]): flipped,
        swap(site, source): value,
        resample(site, source, seed=0): flipped,
        steer(site, torch.ones(width), coefficient=2.0): value + 2,
        splice(site, dictionary): dictionary.reconstruct(value),
    }
    for edit, expected in wanted.items():
        captured = model.capture(batch, [site], logits=True, edits=[edit])
        assert torch.equal(captured.values[site], expected)
        assert captured.logits is not None
        assert torch.equal(captured.logits, plain) == torch.equal(expected, value)
    noisy = model.capture(batch, [site], edits=[noise(site, 1.0, seed=0)]).values[site]
    assert bool((noisy != value).all())
    with pytest.raises(UsageError, match=r"positions \(at=...\) at pooled"):
        model.logits(batch, edits=[swap(site, [1, 0], at=from_right(0))])


def test_edits_follow_gradients_through_the_value(bare: Bare, rows: Rows) -> None:
    """The derivative of what is written with respect to the value, against the formula."""
    _, batch = opened("gpt2", bare, rows, (6, 6), "right")
    site = LayerComponent(kind="resid_post", layer=1)
    value = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    slopes = {scale(site, 3.0): 3.0, add(site, 1.0): 1.0, noise(site, 0.1, seed=0): 1.0, zero(site): 0.0}
    slopes |= {splice(site, dictionary_of(value), with_error=True, edit_features=lambda codes: codes): 1.0}
    for edit, slope in slopes.items():
        leaf = value.clone().requires_grad_()
        (found,) = torch.autograd.grad((edit.apply(leaf.clone(), batch) + 0 * leaf).sum(), leaf)
        torch.testing.assert_close(found, torch.full_like(value, slope))


def test_every_edit_and_every_kind_of_positions_is_in_the_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)", text, flags=re.MULTILINE))
    makers = {name for module in (interventions, positions) for name in module.__all__ if name.islower()}
    assert makers <= listed


def test_the_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/edits.md, example {number + 1}", "exec"), names)
        said = re.findall(r"# prints (.*)", block)
        assert capsys.readouterr().out.splitlines() == said
