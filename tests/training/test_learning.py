"""The decoder really learns: planted directions are found with the default settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mechscope.dictionaries import Dictionary
from mechscope.testing.planted import plant
from mechscope.training import ArraySource, TrainSpec, evaluate, train


@pytest.mark.parametrize("options", [{"architecture": "topk", "k": 4}, {"architecture": "relu"}])
def test_planted_directions_are_found_with_default_settings(options: dict[str, Any], tmp_path: Path) -> None:
    data = plant(24_000)
    source = ArraySource(data.samples[:20_000])
    spec = TrainSpec(n_features=192, n_steps=700, batch_size=512, n_threads=1, **options)
    result = train(source, spec, tmp_path)
    assert data.found_share(result.dictionary) >= 0.8

    first = Dictionary.random(spec.dictionary_spec(48), seed=spec.seed, decoder_norm=1.0)
    moved = (first.W_dec * result.dictionary.W_dec).sum(1)
    assert float(moved.detach().median()) < 0.9, "decoder rows have left where they started"
    assert data.found_share(first) < 0.05

    held_out = evaluate(result.dictionary, ArraySource(data.samples[20_000:]))
    assert held_out.fvu < 0.2
    assert held_out.dead_share < 0.2
    torch.testing.assert_close(result.dictionary.W_dec.norm(dim=1), torch.ones(192))
