from __future__ import annotations

import pytest
import torch

from mechscope.core import BadDataError
from mechscope.training import ArraySource


def test_an_epoch_holds_every_sample_once_and_can_be_entered_anywhere() -> None:
    source = ArraySource(torch.arange(20.0)[:, None])
    whole = list(source.batches(6, seed=1, epoch=0))
    assert [len(batch) for batch in whole] == [6, 6, 6, 2]
    assert sorted(torch.cat(whole)[:, 0].tolist()) == list(range(20))
    for start in range(5):
        rest = list(source.batches(6, seed=1, epoch=0, start_batch=start))
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))
    other = torch.cat(list(source.batches(6, seed=1, epoch=1)))
    assert not torch.equal(torch.cat(whole), other)


def test_the_key_follows_the_samples() -> None:
    assert ArraySource(torch.ones(2, 3)).key == ArraySource(torch.ones(2, 3)).key
    assert ArraySource(torch.ones(2, 3)).key != ArraySource(torch.zeros(2, 3)).key


def test_wrong_shapes_are_refused() -> None:
    for shape in ((0, 3), (3,), (2, 2, 2)):
        with pytest.raises(BadDataError, match="samples of shape"):
            ArraySource(torch.zeros(shape))
