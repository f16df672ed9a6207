"""The tuned lens: planted affine streams, a shipped model, files, and the wrong model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mechscope.core import BadDataError, LayerComponent, NotFoundError, UsageError
from mechscope.corpora.sources.agreement import AgreementSource
from mechscope.models import Batch, ComponentMap, Model
from mechscope.models.lens import LensQuery, TunedLens, TunedLensSpec, fit_tuned_lens, logit_lens

EVERYTHING = LensQuery(at="all", keeps_logits=True)
QUICK = TunedLensSpec(n_steps=3, max_tokens=40)


def token_batches(n_batches: int, *, seed: int, high: int = 13, n_rows: int = 8, length: int = 12) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, high, (n_batches, n_rows, length), generator=generator)
    return [Batch(part, torch.ones_like(part)) for part in ids]


@cache
def agreement_lens() -> tuple[Model, TunedLens, list[Batch]]:
    corpus = AgreementSource(n_rows=320, seed=99).build()
    rows = [corpus.tokens.select(np.array([row])).ids.tolist() for row in range(320)]
    batches = [Batch.from_rows(rows[first : first + 32]) for first in range(0, 320, 32)]
    model = Model.open("agreement")
    return model, fit_tuned_lens(model, batches[:7], batches[7:], TunedLensSpec(n_steps=40)), batches[7:]


def test_planted_affine_streams_are_recovered(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net, component_map=affine_map)
    spec = TunedLensSpec(n_steps=400, lr=3e-2)
    lens = fit_tuned_lens(model, token_batches(8, seed=1), token_batches(2, seed=2), spec)
    assert [str(score.site) for score in lens.record.scores.sites] == ["embed", "resid_post:0"]
    for score in lens.record.scores.sites:
        assert score.tuned.mean < 1e-4
        assert score.logit.mean > 0.05, "a logit lens that is right already proves nothing"
        assert score.difference.high < 0


def test_closer_than_the_logit_lens_at_every_layer_of_a_shipped_model() -> None:
    _, lens, _ = agreement_lens()
    scores = lens.record.scores
    assert (scores.n_rows, scores.n_repeated_rows) == (96, 0)
    assert [str(score.site) for score in scores.sites] == ["embed", "resid_post:0", "resid_post:1"]
    for score in scores.sites:
        assert score.difference.high < 0
        assert score.difference.mean == pytest.approx(score.tuned.mean - score.logit.mean, abs=1e-9)


def test_scores_are_what_both_lenses_read() -> None:
    model, lens, held_out = agreement_lens()
    plain = torch.cat([logit_lens(model, batch, query=EVERYTHING).kl_to_output for batch in held_out], dim=1)
    tuned = torch.cat([lens.read(model, batch, query=EVERYTHING).kl_to_output for batch in held_out], dim=1)
    assert lens.record.scores.n_readings == plain.shape[1]
    for index, score in enumerate(lens.record.scores.sites):
        assert score.logit.mean == pytest.approx(float(plain[index].double().mean()), rel=1e-5)
        assert score.tuned.mean == pytest.approx(float(tuned[index].double().mean()), rel=1e-5)


def test_reading_is_the_head_on_the_affine_image() -> None:
    model, lens, (batch, *_) = agreement_lens()
    found = lens.read(model, batch, query=EVERYTHING)
    assert found.logits is not None
    site = LayerComponent(kind="resid_post", layer=1)
    stream = model.capture(batch, [site]).values[site][batch.attention_mask.bool()]
    moved = stream + stream @ lens.A[2] + lens.b[2]
    with torch.no_grad():
        normed = model.module.get_submodule("gpt_neox.final_layer_norm")(moved)
        told = model.module.get_submodule("lm_head")(normed)
    torch.testing.assert_close(found.logits[2], told, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.logits[3], model.logits(batch)[batch.attention_mask.bool()], rtol=1e-4, atol=1e-4)
    assert found.how.startswith("tuned lens of agreement")


def test_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, lens, (batch, *_) = agreement_lens()
    lens.save(tmp_path / "lens")
    loaded = TunedLens.load(tmp_path / "lens")
    assert torch.equal(loaded.A, lens.A)
    assert torch.equal(loaded.b, lens.b)
    assert loaded.record == lens.record
    assert torch.equal(loaded.read(model, batch).kl_to_output, lens.read(model, batch).kl_to_output)


@pytest.mark.parametrize("name", ["translators.safetensors", "tuned_lens.json"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    _, lens, _ = agreement_lens()
    lens.save(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[-9] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(BadDataError, match="checksum"):
        TunedLens.load(tmp_path)


def test_unfinished_folders_are_refused(tmp_path: Path) -> None:
    _, lens, _ = agreement_lens()
    lens.save(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(BadDataError, match=r"no manifest\.json"):
        TunedLens.load(tmp_path)


def test_another_model_or_site_is_refused(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model, lens, (batch, *_) = agreement_lens()
    other = Model.open(affine_net, component_map=affine_map)
    with pytest.raises(UsageError, match="with weights"):
        lens.read(other, token_batches(1, seed=1)[0])
    with pytest.raises(NotFoundError, match="resid_mid:1"):
        lens.read(model, batch, model.parse_sites("resid_mid:1"))
    assert str(lens.read(model, batch, "resid_post:0").sites[0]) == "resid_post:0"
    with pytest.raises(NotFoundError, match="resid_pre:1"):
        lens.translate(LayerComponent(kind="resid_pre", layer=1), torch.zeros(2, 96))


def test_weights_that_changed_after_the_fit_are_refused(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net, component_map=affine_map)
    train, held_out = token_batches(3, seed=1), token_batches(1, seed=2)
    lens = fit_tuned_lens(model, train, held_out, QUICK)
    lens.read(model, held_out[0])
    with torch.no_grad():
        next(model.module.parameters()).mul_(2)
    with pytest.raises(UsageError, match="with weights"):
        lens.read(model, held_out[0])


@pytest.mark.parametrize("name", ["gemma2", "granite", "set", "vit", "t5"])
def test_every_kind_of_end_can_be_fitted(opened: Callable[[str], Any], name: str) -> None:
    case = opened(name)
    first, second = _halves(case.batch)
    extra = _halves(_changed(case.batch))
    before = [parameter.detach().clone() for parameter in case.model.module.parameters()]
    lens = fit_tuned_lens(case.model, [first, second], [*extra], TunedLensSpec(n_steps=30, lr=3e-3))
    assert lens.record.losses[-1] < lens.record.losses[0]
    assert all(parameter.grad is None for parameter in case.model.module.parameters())
    for parameter, same in zip(case.model.module.parameters(), before, strict=True):
        assert torch.equal(parameter, same)


def test_same_seed_same_weights(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net, component_map=affine_map)
    train, held_out = token_batches(3, seed=1), token_batches(1, seed=2)
    first, again = (fit_tuned_lens(model, train, held_out, QUICK) for _ in range(2))
    other = fit_tuned_lens(model, train, held_out, QUICK.updated(seed=1))
    assert torch.equal(first.A, again.A)
    assert first.record.losses == again.record.losses
    assert first.record.scores == again.record.scores
    assert not torch.equal(first.A, other.A)


def test_rows_of_the_training_set_are_left_out_of_the_scores(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net, component_map=affine_map)
    train, fresh = token_batches(2, seed=1), token_batches(1, seed=2)
    mixed = [Batch(torch.cat([fresh[0].input_ids, train[0].input_ids[:3]]), torch.ones(11, 12, dtype=torch.int64))]
    alone, beside = (fit_tuned_lens(model, train, part, QUICK).record.scores for part in (fresh, mixed))
    assert (beside.n_rows, beside.n_readings, beside.n_repeated_rows) == (8, 96, 3)
    assert beside.sites[0].tuned.mean == pytest.approx(alone.sites[0].tuned.mean, rel=1e-6)
    with pytest.raises(UsageError, match="0 held-out rows"):
        fit_tuned_lens(model, train, train, QUICK)
    with pytest.raises(UsageError, match="no batch"):
        fit_tuned_lens(model, [], fresh, QUICK)


def test_a_loss_that_is_not_finite_stops_the_fit(affine_net: nn.Module, affine_map: ComponentMap) -> None:
    model = Model.open(affine_net, component_map=affine_map)
    with pytest.raises(BadDataError, match="loss of a step"):
        fit_tuned_lens(model, token_batches(2, seed=1), token_batches(1, seed=2), TunedLensSpec(n_steps=9, lr=3e37))


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    first, second = (
        Batch(
            batch.input_ids[part],
            batch.attention_mask[part],
            {name: tensor[part] for name, tensor in batch.extra.items()},
        )
        for part in (slice(0, 1), slice(1, 2))
    )
    return first, second


def _changed(batch: Batch) -> Batch:
    extra = {name: tensor + 0.1 if tensor.is_floating_point() else tensor for name, tensor in batch.extra.items()}
    return Batch(batch.input_ids.roll(1, dims=1), batch.attention_mask, extra)
