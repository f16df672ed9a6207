from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mechscope.models import weights
from mechscope.models.weights import DigestMemory, digest_weights


def test_the_digest_is_over_names_dtypes_shapes_and_bytes() -> None:
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, 0.5)
    nn.init.constant_(layer.bias, -1.0)
    state = hashlib.sha256()
    state.update(b"bias\x1ftorch.float32\x1f(1,)\x1e" + torch.tensor([-1.0]).numpy().tobytes())
    state.update(b"weight\x1ftorch.float32\x1f(1, 2)\x1e" + torch.tensor([0.5, 0.5]).numpy().tobytes())
    assert digest_weights(layer) == state.hexdigest()


def test_anything_that_changes_the_weights_changes_the_digest() -> None:
    layer = nn.BatchNorm1d(3)
    digests = {digest_weights(layer)}
    with torch.no_grad():
        layer.weight[1] += 1e-6
    digests.add(digest_weights(layer))
    layer.get_buffer("running_mean")[0] = 1.0
    digests.add(digest_weights(layer))
    digests.add(digest_weights(layer.bfloat16()))
    digests.add(digest_weights(nn.Sequential(layer)))
    assert len(digests) == 5
    assert digest_weights(layer) == digest_weights(layer)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules of which a digest was made."""
    found: list[nn.Module] = []

    def digest(module: nn.Module) -> str:
        found.append(module)
        return digest_weights(module)

    monkeypatch.setattr(weights, "digest_weights", digest)
    return found


def replace_weight(layer: nn.BatchNorm1d) -> None:
    layer.weight = nn.Parameter(torch.zeros(3))


def swap_storage(layer: nn.BatchNorm1d) -> None:
    layer.weight.data = torch.full((3,), 7.0)


def add_buffer(layer: nn.BatchNorm1d) -> None:
    layer.register_buffer("more", torch.zeros(1))


CHANGES: list[Callable[[nn.BatchNorm1d], object]] = [
    lambda layer: layer.weight.mul_(2),
    lambda layer: layer.get_buffer("running_mean").add_(1),
    lambda layer: layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()}),
    lambda layer: layer.bfloat16(),
    replace_weight,
    swap_storage,
    add_buffer,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_digest_is_remembered_until_the_weights_change(
    change: Callable[[nn.BatchNorm1d], object], made: list[nn.Module]
) -> None:
    layer, memory = nn.BatchNorm1d(3), DigestMemory()
    first = memory.of(layer)
    assert memory.of(layer) == first == digest_weights(layer)
    assert len(made) == 1
    with torch.no_grad():
        change(layer)
    assert memory.of(layer) == digest_weights(layer) != first
    assert len(made) == 2


def test_weights_that_come_and_go_at_one_address_are_told_apart() -> None:
    layer, memory = nn.Linear(1000, 1, bias=False), DigestMemory()
    for value in range(50):
        layer.weight = nn.Parameter(torch.full((1, 1000), float(value)))
        assert memory.of(layer) == digest_weights(layer)


def test_weights_whose_changes_torch_does_not_count_are_not_remembered(made: list[nn.Module]) -> None:
    with torch.inference_mode():
        layer = nn.Linear(2, 2)
    memory = DigestMemory()
    assert memory.of(layer) == memory.of(layer)
    assert len(made) == 2
