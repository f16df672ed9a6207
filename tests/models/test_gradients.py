from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.models import Batch, Capture, Edit, Model

Rows = Callable[..., Batch]


def difference(capture: Capture) -> Tensor:
    assert capture.logits is not None
    logits = capture.logits if capture.logits.ndim == 2 else capture.logits[:, -1]
    return logits[:, 3] - logits[:, 7]


def test_a_gradient_is_the_slope_of_a_small_edit(family_module: nn.Module, rows: Rows) -> None:
    """Central differences in float64 along a random direction, at every site of every family.

    Llama's norms compute in float32 whatever the model's dtype, so its step is larger and its slope coarser.
    """
    is_coarse = type(family_module).__name__.startswith("Llama")
    step, rtol, atol = (1e-4, 1e-3, 2e-3) if is_coarse else (1e-5, 2e-5, 1e-7)
    model = Model.open(family_module.double())
    batch = rows(family_module)
    sites = [site for site in model.sites() if site.kind not in {"logits", "pattern"}]
    found = model.gradients(batch, sites, difference)
    clean = model.capture(batch, sites).values
    generator = torch.Generator().manual_seed(3)
    for site in sites:
        assert torch.equal(found.values[site], clean[site])
        direction = torch.randn(clean[site].shape, generator=generator, dtype=torch.float64)
        told = [
            difference(Capture({}, model.logits(batch, edits=[Edit(site, shift(direction * size))]))).sum()
            for size in (step, -step)
        ]
        slope = (told[0] - told[1]) / (2 * step)
        torch.testing.assert_close(
            (found.gradients[site] * direction).sum(), slope, rtol=rtol, atol=atol, msg=str(site)
        )


def shift(change: Tensor) -> Callable[[Tensor, Batch], Tensor]:
    return lambda value, batch: value + change


def test_a_head_a_neuron_and_a_pattern_have_gradients_of_their_own(
    bare: Callable[[str], nn.Module], rows: Rows
) -> None:
    module = bare("llama")
    model = Model.open(module)
    batch = rows(module)
    whole, head = LayerComponent(kind="z", layer=1), LayerComponent(kind="z", layer=1, head=2)
    neuron = LayerComponent(kind="mlp_post", layer=0, neuron=5)
    pattern = LayerComponent(kind="pattern", layer=2)
    found = model.gradients(batch, [whole], difference).gradients[whole]
    parts = model.gradients(batch, [head, neuron, pattern], difference)
    torch.testing.assert_close(parts.gradients[head], found[:, :, 2], rtol=1e-4, atol=1e-6)  # eager beside fused
    assert parts.gradients[neuron].shape == batch.input_ids.shape
    assert float(parts.gradients[pattern].abs().max()) > 0
    assert all(parameter.grad is None for parameter in module.parameters())


def test_frozen_parameters_and_inner_metrics_do_not_matter(bare: Callable[[str], nn.Module], rows: Rows) -> None:
    module = bare("gpt_neox")
    model = Model.open(module)
    batch = rows(module)
    site, end = LayerComponent(kind="resid_post", layer=0), LayerComponent(kind="resid_post", layer=2)

    def length(capture: Capture) -> Tensor:
        return capture.values[end].square().sum()

    free = model.gradients(batch, [site], length, reads=[end])
    module.requires_grad_(requires_grad=False)
    frozen = model.gradients(batch, [site], length, reads=[end])
    assert torch.equal(free.gradients[site], frozen.gradients[site])
    assert not frozen.metric.requires_grad


def test_gradients_are_taken_after_the_edits(bare: Callable[[str], nn.Module], rows: Rows) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    batch = rows(module)
    site = LayerComponent(kind="resid_post", layer=1)
    edit = Edit(site, lambda value, batch: value * 0 + 1)
    assert torch.equal(model.gradients(batch, [site], difference, edits=[edit]).values[site], torch.ones(2, 6, 32))


def test_a_metric_without_a_gradient_is_refused(bare: Callable[[str], nn.Module], rows: Rows) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    batch = rows(module)
    site = LayerComponent(kind="resid_post", layer=1)
    with pytest.raises(UsageError, match="without a gradient"):
        model.gradients(batch, [site], lambda capture: difference(capture).detach())
    with pytest.raises(UsageError, match="at no site"):
        model.gradients(batch, [], difference)
    with pytest.raises(UsageError, match="at the logits"):
        model.gradients(batch, [LayerComponent(kind="logits")], difference)
