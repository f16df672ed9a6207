"""Each edit against its formula on a captured value, and against plain hooks hung by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, UsageError
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.models import Batch, Edit, Model
from mechscope.models.inputs import output_logits
from mechscope.models.interventions import (
    Source,
    add,
    keep_only,
    mean,
    mean_value,
    noise,
    project_out,
    resample,
    scale,
    set_value,
    splice,
    steer,
    subspace,
    swap,
    zero,
)
from mechscope.models.positions import every, from_left, from_right, span
from mechscope.testing.zoo import OTHERS

Rows = Callable[..., Batch]
Bare = Callable[[str], nn.Module]
Change = Callable[[Tensor], Tensor]

RESID = LayerComponent(kind="resid_post", layer=1)
HEAD = LayerComponent(kind="z", layer=1, head=2)
Z = LayerComponent(kind="z", layer=1)
NEURON = LayerComponent(kind="mlp_post", layer=1, neuron=7)
PATHS = {
    "gpt2": ("transformer.h.1", "transformer.h.1.attn.c_proj", "transformer.h.1.mlp.c_proj"),
    "gpt_neox": ("gpt_neox.layers.1", "gpt_neox.layers.1.attention.dense", "gpt_neox.layers.1.mlp.dense_4h_to_h"),
}


@pytest.fixture
def model(bare: Bare) -> Model:
    return Model.open(bare("gpt2"))


@pytest.fixture
def batch(model: Model, rows: Rows) -> Batch:
    return rows(model.module, (6, 4, 5), "left")


def captured(model: Model, batch: Batch, site: LayerComponent, *edits: Edit) -> Tensor:
    return model.capture(batch, [site], edits=edits).values[site]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_hand(module: nn.Module, batch: Batch, path: str, change: Change, *, is_input: bool) -> Tensor:
    """The logits of the bare module with one hook that changes a clone of a module's input or output."""

    def pre(part: nn.Module, args: tuple[Any, ...]) -> Any:
        return (change(args[0].clone()), *args[1:])

    def post(part: nn.Module, args: Any, output: Any) -> Any:
        return (change(output[0].clone()), *output[1:]) if isinstance(output, tuple) else change(output.clone())

    part = module.get_submodule(path)
    handle = part.register_forward_pre_hook(pre) if is_input else part.register_forward_hook(post)
    with torch.no_grad():
        output = module(batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids)
    handle.remove()
    return output_logits(output)


def written_at(columns: Any, formula: Change) -> Change:
    def change(value: Tensor) -> Tensor:
        value[columns] = formula(value[columns])
        return value

    return change


@pytest.mark.parametrize("name", PATHS)
def test_edits_equal_hooks_hung_by_hand(name: str, bare: Bare, rows: Rows) -> None:
    module = bare(name)
    model, batch = Model.open(module), rows(module, (6, 6))
    block, projection, down = PATHS[name]
    other = rows(module, (6, 6)).input_ids.flip(1)
    source = Source(captured(model, Batch(other, batch.attention_mask), RESID), Batch(other, batch.attention_mask))
    direction, basis = random(32), torch.linalg.qr(random(32, 3, seed=1)).Q
    last, everywhere, head = (slice(None), -1), (slice(None),), (slice(None), 2, slice(16, 24))
    cases: list[tuple[Edit, str, Change, bool]] = [
        (zero(RESID, at=from_right(0)), block, written_at(last, torch.zeros_like), False),
        (steer(RESID, direction, coefficient=2.5), block, written_at(everywhere, lambda x: x + 2.5 * direction), False),
        (project_out(RESID, basis.T), block, written_at(everywhere, lambda x: x - x @ basis @ basis.T), False),
        (keep_only(RESID, basis.T), block, written_at(everywhere, lambda x: x @ basis @ basis.T), False),
        (
            swap(RESID, source, at=from_left(3)),
            block,
            written_at((slice(None), 3), lambda x: source.values[:, 3]),
            False,
        ),
        (swap(RESID, [1, 0]), block, written_at(everywhere, lambda x: x.flip(0)), False),
        (set_value(HEAD, 0.7, at=from_left(2)), projection, written_at(head, lambda x: torch.full_like(x, 0.7)), True),
        (scale(HEAD, 3.0, at=from_left(2)), projection, written_at(head, lambda x: 3 * x), True),
        (add(NEURON, 1.5), down, written_at((..., 7), lambda x: x + 1.5), True),
    ]
    for edit, path, change, is_input in cases:
        wanted = by_hand(module, batch, path, change, is_input=is_input)
        torch.testing.assert_close(model.logits(batch, edits=[edit]), wanted, rtol=1e-5, atol=1e-5)


def test_captured_values_are_the_formulas(model: Model, batch: Batch) -> None:
    for site in (RESID, HEAD, Z, NEURON):
        value = captured(model, batch, site)
        real, shape = batch.attention_mask.bool(), value.shape[2:]
        direction, full = random(*shape), random(*value.shape, seed=1)
        formulas = {
            zero(site): torch.zeros_like(value),
            set_value(site, direction): direction.expand_as(value),
            set_value(site, full): full,
            set_value(site, full[:, :1]): full[:, :1].expand_as(value),
            scale(site, -2.0): value * -2,
            scale(site, direction): value * direction,
            add(site, full): value + full,
            steer(site, direction, coefficient=3.0, normalise=True): value + 3.0 * (direction / direction.norm()),
            mean(site, direction): direction.expand_as(value),
            mean(site, random(9, *shape)): random(9, *shape)[batch.position_ids],
        }
        for edit, wanted in formulas.items():
            torch.testing.assert_close(captured(model, batch, site, edit)[real], wanted[real], rtol=0, atol=1e-6)


def test_subspaces_are_those_of_the_normal_equations(model: Model, batch: Batch) -> None:
    """Slow version: P = A^T (A A^T)^+ A of directions that are neither orthogonal nor of length 1."""
    directions, point = 3 * random(3, 32), random(32, seed=2)
    matrix = (
        directions.double().T @ torch.linalg.pinv(directions.double() @ directions.double().T) @ directions.double()
    )
    value, real = captured(model, batch, RESID), batch.attention_mask.bool()
    old, centre = value.double(), point.double()
    formulas = {
        project_out(RESID, directions): old - old @ matrix,
        project_out(RESID, subspace(directions), around=point): old - (old - centre) @ matrix,
        keep_only(RESID, directions): old @ matrix,
        keep_only(RESID, directions, around=point): centre + (old - centre) @ matrix,
    }
    for edit, wanted in formulas.items():
        torch.testing.assert_close(
            captured(model, batch, RESID, edit)[real], wanted[real].float(), rtol=1e-5, atol=1e-5
        )
    joined = random(2, 4, 8)
    flat = captured(model, batch, Z).flatten(2)
    basis = torch.linalg.qr(joined.flatten(1).T).Q
    without = (flat - flat @ basis @ basis.T).unflatten(2, (4, 8))
    torch.testing.assert_close(
        captured(model, batch, Z, project_out(Z, joined))[real], without[real], rtol=0, atol=1e-5
    )


def test_directions_that_follow_from_others_count_once_and_this_is_said(model: Model, batch: Batch) -> None:
    two = random(2, 32)
    three = torch.cat([two, two.sum(dim=0, keepdim=True)])
    found = subspace(three)
    assert (found.rank, found.n_directions) == (2, 3)
    torch.testing.assert_close(found.basis @ found.basis.T, torch.eye(2).double())
    with pytest.warns(UserWarning, match="3 directions of rank 2: some follow from the others"):
        edit = project_out(RESID, three)
    fewer = project_out(RESID, two)
    torch.testing.assert_close(captured(model, batch, RESID, edit), captured(model, batch, RESID, fewer))
    assert torch.equal(captured(model, batch, RESID, project_out(RESID, found)), captured(model, batch, RESID, edit))


def test_the_mean_is_that_of_all_real_tokens(model: Model, rows: Rows) -> None:
    batches = [
        rows(model.module, lengths, side) for lengths, side in (((6, 2), "left"), ((3, 4), "right"), ((7,), "left"))
    ]
    for site in (RESID, HEAD, NEURON):
        values = [captured(model, batch, site).double() for batch in batches]
        kept = [row[real] for batch, value in zip(batches, values, strict=True)
                for row, real in zip(value, batch.attention_mask.bool(), strict=True)]  # fmt: skip
        found = mean_value(model, batches, site)
        assert int(found.n) == 22
        torch.testing.assert_close(found.value, torch.cat(kept).mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.std, torch.cat(kept).std(0, correction=0), rtol=1e-10, atol=1e-12)
        places = mean_value(model, iter(batches), site, per_position=True)
        assert places.n.tolist() == [5, 5, 4, 3, 2, 2, 1]
        for place in range(7):
            there = torch.stack([row[place] for row in kept if len(row) > place])
            torch.testing.assert_close(places.value[place], there.mean(0), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(places.std[place], there.std(0, correction=0), rtol=1e-10, atol=1e-9)
        edited = captured(model, batches[0], site, mean(site, places))
        real = batches[0].attention_mask.bool()
        assert torch.equal(edited[real], places.value.float()[batches[0].position_ids][real])


def test_the_mean_of_what_cross_attention_takes_off_the_encoder_runs_over_its_tokens() -> None:
    model = Model.open(OTHERS["t5"]())
    encoder = Batch.from_rows([[5, 6, 7, 8], [9, 10]])
    batch = Batch(
        encoder.input_ids, encoder.attention_mask, {"decoder_input_ids": torch.tensor([[0, 7, 8], [0, 9, 8]])}
    )
    real = batch.attention_mask.bool()
    for name, mask in (("cross_k:1", real), ("encoder.z:1", real), ("cross_z:1", torch.ones(2, 3, dtype=torch.bool))):
        site = model.site(name)
        found = mean_value(model, [batch], site)
        assert int(found.n) == int(mask.sum())
        told = captured(model, batch, site)[mask].double().mean(dim=0)
        torch.testing.assert_close(found.value, told, rtol=1e-12, atol=1e-12)
    assert mean_value(model, [batch], model.site("cross_v:1"), per_position=True).n.tolist() == [2, 2, 1, 1]


def test_noise_has_its_scale_and_depends_on_the_row_alone(model: Model, rows: Rows) -> None:
    batch = rows(model.module, (6, 4, 5), "left")
    drawn = noise(RESID, 0.5, seed=1)
    change = captured(model, batch, RESID, drawn) - captured(model, batch, RESID)
    order = [2, 0, 1]
    shuffled = Batch(batch.input_ids[order], batch.attention_mask[order])
    again = captured(model, shuffled, RESID, drawn) - captured(model, shuffled, RESID)
    torch.testing.assert_close(again, change[order], rtol=0, atol=1e-5)
    assert torch.equal(captured(model, batch, RESID, drawn), captured(model, batch, RESID, drawn))
    assert not bool(change[~batch.attention_mask.bool()].any())
    blank = torch.zeros(50, 20, 64)
    tokens = torch.arange(1000).reshape(50, 20)
    many = Batch(tokens, torch.ones_like(tokens))
    wide = noise(RESID, 0.5, seed=1).apply(blank.clone(), many)  # 64,000 draws: 5 standard errors
    assert abs(float(wide.mean())) < 5 * 0.5 / 64000**0.5
    assert abs(float(wide.std()) / 0.5 - 1) < 5 / (2 * 64000) ** 0.5
    assert not torch.equal(wide, noise(RESID, 0.5, seed=2).apply(blank.clone(), many))
    assert not torch.equal(wide, noise(HEAD, 0.5, seed=1).apply(blank.clone(), many))
    assert len({tuple(row) for row in wide.flatten(0, 1).tolist()}) == 1000
    units = noise(RESID, 1.0, seed=1).apply(blank.clone(), many)
    spread = 3 * random(50, 20, 64)
    relative = noise(RESID, 0.5, seed=1, relative=True).apply(spread.clone(), many)
    torch.testing.assert_close(relative, spread + units * 0.5 * spread.std(correction=0))
    sizes = torch.linspace(0, 1, 64)
    torch.testing.assert_close(noise(RESID, sizes, seed=1).apply(blank.clone(), many), units * sizes)


def test_a_swap_pairs_positions_in_order(model: Model, rows: Rows) -> None:
    target, other = rows(model.module, (6, 4, 5), "left"), rows(model.module, (5, 6, 7), "right")
    value, source = captured(model, target, RESID), Source(captured(model, other, RESID), other)
    edit = swap(RESID, source, at=from_right(1, 0), source_at=span(0, 2))
    wanted = value.clone()
    for row in range(3):
        wanted[row, -2:] = source.values[row, :2]
    assert torch.equal(captured(model, target, RESID, edit), wanted)
    last = swap(RESID, source, at=from_right(0))
    ends = torch.stack([source.values[row, length - 1] for row, length in enumerate((5, 6, 7))])
    assert torch.equal(captured(model, target, RESID, last)[:, -1], ends)
    turned = swap(RESID, [2, 0, 1], at=from_right(0, 1))
    assert torch.equal(captured(model, target, RESID, turned)[:, -2:], value[[2, 0, 1], -2:])
    with pytest.raises(UsageError, match="row 0 at resid_post:1: 6 positions to write and 5 to take them from"):
        model.logits(target, edits=[swap(RESID, source)])


def test_a_resampled_row_is_another_one_place_by_place(model: Model, rows: Rows) -> None:
    batch = rows(model.module, (6, 4, 5), "left")
    value = captured(model, batch, RESID)
    source = Source(value, batch)
    real = batch.attention_mask.bool()
    alone = [row[kept] for row, kept in zip(value, real, strict=True)]
    seen: set[tuple[int, ...]] = set()
    for seed in range(12):
        for align, at, cut in (("left", from_left(0, 1), slice(0, 2)), ("right", from_right(0, 1), slice(-2, None))):
            edit = resample(RESID, source, seed=seed, align=align, at=at)  # type: ignore[arg-type]
            edited = captured(model, batch, RESID, edit)
            assert torch.equal(edited[~at.mask(batch)], value[~at.mask(batch)])
            rows_drawn = []
            for index in range(3):
                new = edited[index][real[index]][cut]
                (found,) = [other for other in range(3) if torch.equal(new, alone[other][cut])]
                rows_drawn.append(found)
            assert all(found != index for index, found in enumerate(rows_drawn))
            seen.add(tuple(rows_drawn))
        single = Batch.from_rows([batch.input_ids[1][real[1]].tolist()])
        edit = resample(RESID, source, seed=seed, at=from_left(0, 1))
        torch.testing.assert_close(
            captured(model, single, RESID, edit)[0, :2], captured(model, batch, RESID, edit)[1, 2:4]
        )
    assert len(seen) > 4
    with pytest.raises(UsageError, match="no row to draw for row 0 at resid_post:1 among 3"):
        model.logits(batch, edits=[resample(RESID, source, seed=0)])


def test_splices_are_reconstructions_of_the_positions_edited(model: Model, batch: Batch) -> None:
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=32, n_features=64, k=6), seed=0)
    value, real = captured(model, batch, RESID), batch.attention_mask.bool()
    at = from_right(0, 1)
    edited = captured(model, batch, RESID, splice(RESID, dictionary, at=at))
    assert torch.equal(edited[at.mask(batch)], dictionary.reconstruct(value[at.mask(batch)]))
    assert torch.equal(edited[~at.mask(batch)], value[~at.mask(batch)])
    codes = dictionary.encode(value[real])
    feature = int(codes.features[0])
    kept = codes.features != feature
    ablated = splice(
        RESID, dictionary, with_error=True, edit_features=lambda c: c.with_values(c.values * (c.features != feature))
    )
    wanted = value[real] - (codes.to_dense()[:, feature, None] * dictionary.W_dec[feature]).detach()
    torch.testing.assert_close(captured(model, batch, RESID, ablated)[real], wanted, rtol=0, atol=1e-5)
    assert not bool(kept.all())
    heads = splice(Z, dictionary)
    flat = captured(model, batch, Z)[real].flatten(1)
    torch.testing.assert_close(captured(model, batch, Z, heads)[real].flatten(1), dictionary.reconstruct(flat))


def test_patterns_are_swapped_between_rows_of_the_same_padding(model: Model, rows: Rows) -> None:
    site = LayerComponent(kind="pattern", layer=1)
    even = rows(model.module, (5, 5), "left")
    value = captured(model, even, site)
    edited = captured(model, even, site, swap(site, [1, 0], at=from_right(0)))
    assert torch.equal(edited[:, :, -1], value.flip(0)[:, :, -1])
    assert torch.equal(edited[:, :, :-1], value[:, :, :-1])
    with pytest.raises(UsageError, match="a pattern for pattern:1 from rows of other lengths"):
        model.logits(rows(model.module, (5, 3), "left"), edits=[swap(site, [1, 0])])


def test_bfloat16_and_float64_values_keep_their_dtype(batch: Batch) -> None:
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=32, n_features=64, k=6), seed=0)
    for dtype in (torch.bfloat16, torch.float64):
        value = random(3, 6, 32).to(dtype)
        edits = [
            steer(RESID, random(32), coefficient=1.0),
            noise(RESID, 1.0, seed=0),
            project_out(RESID, random(2, 32)),
        ]
        edits += [zero(RESID), mean(RESID, random(32).double()), scale(RESID, 2.0), splice(RESID, dictionary)]
        for edit in edits:
            assert edit.apply(value.clone(), batch).dtype == dtype
        same = splice(RESID, dictionary, with_error=True, edit_features=lambda codes: codes)
        for null in (same, noise(RESID, 0.0, seed=0)):
            assert torch.equal(null.apply(value.clone(), batch), value)


BAD: dict[str, tuple[Callable[[], Edit], str]] = {
    "other width": (lambda: set_value(RESID, torch.ones(31)), r"a value of shape \[31\] at resid_post:1"),
    "batch or pos": (lambda: set_value(RESID, torch.ones(6, 32)), r"a value of shape \[6, 32\].*\nexpected: a number"),
    "factor": (lambda: scale(HEAD, torch.ones(3)), r"a factor of shape \[3\] at z:1.h2"),
    "change": (lambda: add(RESID, torch.ones(2, 6, 32)), r"a change of shape \[2, 6, 32\]"),
    "direction": (
        lambda: steer(RESID, torch.ones(1), coefficient=1.0),
        r"a direction of shape \[1\].*\nexpected: \[32\]",
    ),
    "directions": (lambda: project_out(Z, torch.ones(1, 32)), r"directions of shape \[32\] at z:1\nexpected: \[4, 8\]"),
    "mean": (lambda: mean(RESID, torch.ones(33)), r"a mean of shape \[33\]"),
    "places": (lambda: mean(RESID, torch.ones(5, 32)), r"means of 5 places at resid_post:1 for a row of 6 tokens"),
    "noise": (lambda: noise(RESID, torch.ones(3), seed=0), r"a scale of noise of shape \[3\]"),
    "rows": (lambda: swap(RESID, [0, 1]), r"source rows \[0, 1\] at resid_post:1 for a batch of 3 rows"),
    "row": (lambda: swap(RESID, [0, 1, 3]), r"source rows \[0, 1, 3\]"),
    "reconstruction": (lambda: splice(RESID, Shrinking()), r"a reconstruction of shape \[15, 31\] at resid_post:1"),
}


class Shrinking:
    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, codes: Tensor) -> Tensor:
        return codes[:, 1:]


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_the_site_is_refused_there(name: str, model: Model, batch: Batch) -> None:
    make, message = BAD[name]
    with pytest.raises(UsageError, match=message):
        model.logits(batch, edits=[make()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: set_value(RESID, float("nan")),
        lambda: add(RESID, float("inf")),
        lambda: steer(RESID, torch.zeros(32), coefficient=1.0, normalise=True),
        lambda: steer(RESID, torch.full((32,), torch.nan), coefficient=1.0),
        lambda: subspace(torch.zeros(2, 32)),
        lambda: subspace(torch.ones(32)),
        lambda: noise(RESID, -1.0, seed=0),
        lambda: noise(LayerComponent(kind="pattern", layer=0), 1.0, seed=0),
        lambda: Source(torch.ones(2, 3, 4), Batch.from_rows([[1, 2, 3]])),
        lambda: swap(LayerComponent(kind="pattern", layer=0), [0], source_at=every()),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match="to do: "):
        make()


def test_means_of_other_sites_and_of_nothing_are_refused(model: Model, batch: Batch) -> None:
    with pytest.raises(UsageError, match="the mean of z:1 at resid_post:1"):
        mean(RESID, mean_value(model, [batch], Z))
    with pytest.raises(UsageError, match="the mean over no batch"):
        mean_value(model, [], RESID)
    with pytest.raises(UsageError, match="the mean of pattern:1"):
        mean_value(model, [batch], LayerComponent(kind="pattern", layer=1))
