from __future__ import annotations

import hashlib

import torch
from torch import nn

from mechscope.models.weights import digest_weights


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
