"""Ready-made edits while text is generated: the slow version runs the whole sequence again for every token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.models import Batch, Edit, Model
from mechscope.models.interventions import Source, mean, noise, resample, scale, splice, steer, swap, zero
from mechscope.models.positions import from_left, from_right

RESID = LayerComponent(kind="resid_post", layer=1)
N_NEW = 6


def greedy(model: Model, batch: Batch, edit: Edit) -> Tensor:
    ids, mask = batch.input_ids, batch.attention_mask
    for _ in range(N_NEW):
        logits = model.logits(Batch(ids, mask), edits=[edit])
        ids = torch.cat([ids, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
        mask = torch.cat([mask, torch.ones_like(ids[:, :1])], dim=1)
    return ids


@pytest.fixture
def model(bare: Callable[[str], nn.Module]) -> Model:
    return Model.open(bare("gpt_neox"))


@pytest.fixture
def batch(model: Model, rows: Callable[..., Batch]) -> Batch:
    return rows(model.module, (6, 4), "left")


def vector(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_generated_tokens_are_those_of_whole_runs(model: Model, batch: Batch) -> None:
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=32, n_features=64, k=6), seed=0)
    head = LayerComponent(kind="z", layer=0, head=1)
    edits = [
        steer(RESID, vector(32), coefficient=4.0),
        steer(RESID, vector(32), coefficient=9.0, at=from_left(3, 1)),
        scale(RESID, -1.0, at=from_left(2)),
        zero(head),
        mean(RESID, 3 * vector(12, 32)),
        splice(RESID, dictionary),
        splice(RESID, dictionary, at=from_left(1, 3)),
        swap(RESID, [1, 0], scope="all", at=from_left(0, 1)),
    ]
    last = LayerComponent(kind="resid_post", layer=2)
    for edit in edits:
        found = model.generate(batch, max_new_tokens=N_NEW, edits=[edit], sites=[last], stops_at=())
        assert torch.equal(found.batch.input_ids, greedy(model, batch, edit))
        run = Batch(found.batch.input_ids[:, :-1], found.batch.attention_mask[:, :-1])
        real = run.attention_mask.bool()
        whole, plain = (model.capture(run, [last], edits=edits).values[last][real] for edits in ([edit], []))
        torch.testing.assert_close(found.values[last][real], whole, rtol=1e-4, atol=1e-4)
        assert float((whole - plain).abs().max()) > 1e-2  # what is compared was moved


def test_the_last_position_is_the_newest_token_of_each_step(model: Model, batch: Batch) -> None:
    """At every step but the first, an edit of the last position alone is an edit of all that is generated."""
    newest = steer(RESID, vector(32), coefficient=5.0, at=from_right(0), scope="generated")
    every = steer(RESID, vector(32), coefficient=5.0, scope="generated")
    one, other = (
        model.generate(batch, max_new_tokens=N_NEW, edits=[edit], stops_at=()).new_ids for edit in (newest, every)
    )
    assert torch.equal(one, other)


def test_noise_is_fresh_at_every_step(model: Model, batch: Batch) -> None:
    edit = noise(RESID, 0.01, seed=0)
    site = [RESID]
    noisy = model.generate(batch, max_new_tokens=N_NEW, edits=[edit], sites=site, stops_at=()).values[RESID]
    plain = model.generate(batch, max_new_tokens=N_NEW, sites=site, stops_at=()).values[RESID]
    token = Batch(torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 1, dtype=torch.int64))
    steps = [
        edit.apply(
            torch.zeros(2, 1, 32), Batch(token.input_ids, token.attention_mask, n_before=torch.tensor([n, n + 1]))
        )
        for n in (6, 7)
    ]
    assert not torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0][1], steps[1][0])  # the same token at the same place
    assert noisy.shape == plain.shape
    assert bool((noisy != plain)[:, -1].any())


def test_a_source_has_no_values_for_what_is_generated(model: Model, batch: Batch) -> None:
    source = Source(model.capture(batch, [RESID]).values[RESID], batch)
    for edit in (swap(RESID, source, scope="generated"), resample(RESID, source, seed=0, scope="generated")):
        with pytest.raises(UsageError, match="values of a source for generated tokens at resid_post:1"):
            model.generate(batch, max_new_tokens=2, edits=[edit], stops_at=())
    same = model.generate(batch, max_new_tokens=N_NEW, edits=[swap(RESID, source)], stops_at=()).new_ids
    assert torch.equal(same, model.generate(batch, max_new_tokens=N_NEW, stops_at=()).new_ids)
