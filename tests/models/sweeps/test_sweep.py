"""A sweep gives what the full runs give, variant by variant; and says so when it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent, UsageError
from mechscope.models import Batch, ComponentMap, Edit, Model
from mechscope.models.edits import Positions
from mechscope.models.interventions import noise, scale, swap, zero
from mechscope.models.network import LOGITS
from mechscope.models.positions import from_left, from_right, marked, span
from mechscope.models.sweeps import SweepResult, SweepSettings, sweep
from mechscope.models.sweeps.full_runs import relative_error
from mechscope.testing.zoo import DECODERS, OTHERS

TOLERANCE = 1e-5
KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "head_out", "q", "k", "v", "mlp_pre")
LENGTHS = (7, 4)
CAUSAL = (
    *("gpt2", "gpt_neo", "gptj", "gpt_neox", "llama", "gemma2", "gemma3_text", "mixtral", "falcon", "falcon-alibi"),
    *("bloom", "mpt", "opt", "cohere", "granite", "deepseek_v3"),
)


def made(model: Model, side: str, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, 50, (length,), generator=generator).tolist() for length in LENGTHS]
    batch = Batch.from_rows(rows, side="left" if side == "left" else "right", pad_id=1)
    if model.component_map.encoder is None:
        return batch
    decoder = Batch.from_rows([row[::-1] for row in rows[::-1]])
    extra = {"decoder_input_ids": decoder.input_ids, "decoder_attention_mask": decoder.attention_mask}
    return Batch(batch.input_ids, batch.attention_mask, extra)


def writing(site: LayerComponent, value: Tensor, at: Positions | None = None) -> Edit:
    return Edit(site, lambda old, batch: value.clone(), at)


def variants_of(model: Model, source: Batch) -> list[list[Edit]]:
    """Every kind of site in two layers at several positions; heads; and edits of several sites."""
    sites = [site for site in model.sites() if site.kind in KINDS and site.layer in (0, 1) and site.stack is None]
    values = model.capture(source, sites).values
    found = [[writing(site, values[site], at)] for site in sites for at in (from_right(0), from_left(2), None)]
    for site in sites:
        if site.kind == "z":
            head = LayerComponent(kind="z", layer=site.layer, head=2)
            found.append([writing(head, values[site][:, :, 2], span(1, 3))])
    late, early = [site for site in sites if site.layer == 1], [site for site in sites if site.layer == 0]
    for first, second in zip(early, reversed(late), strict=False):
        found.append([writing(first, values[first], from_right(1)), Edit(second, lambda v, _: 1.5 * v, from_left(1))])
    return found


def require_equal(model: Model, batch: Batch, variants: Sequence[Sequence[Edit]], result: SweepResult) -> None:
    side = batch.decoder if model.component_map.encoder is not None else batch
    columns = from_right(0).mask(side).int().argmax(dim=1)
    assert result.logits is not None
    moved = 0.0
    for index, edits in enumerate(variants):
        full = model.capture(batch, [*result.values, LOGITS], edits=edits).values
        wanted = full[LOGITS] if full[LOGITS].ndim == 2 else full[LOGITS][torch.arange(batch.n_rows), columns]
        assert (result.logits[index] - wanted).abs().max() <= TOLERANCE * wanted.abs().max()
        assert result.clean_logits is not None
        moved += float((result.logits[index] - result.clean_logits).abs().max())
        for site, value in result.values.items():
            assert relative_error(value[index], full[site], site, batch) <= TOLERANCE
    assert moved > 0.1  # the edits do something


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "name",
    CAUSAL,
)
def test_causal_models_reuse_the_past_and_equal_full_runs(name: str, side: str) -> None:
    model = Model.open(DECODERS[name](), verify=False)  # verified in tests/models/families
    batch, variants = made(model, side, 1), variants_of(model, made(model, side, 2))
    result = sweep(model._network, batch, variants, settings=SweepSettings(forward_tokens=2))
    assert result.reused_past
    assert result.error is not None
    require_equal(model, batch, variants, result)
    assert result.cost.n_run < 0.7 * result.cost.n_full


@pytest.mark.parametrize("name", ["bert", "distilbert", "t5"])
def test_other_models_run_whole_rows_and_equal_full_runs(name: str) -> None:
    model = Model.open(OTHERS[name](), verify=False)
    batch, variants = made(model, "right", 1), variants_of(model, made(model, "right", 2))
    result = sweep(model._network, batch, variants)
    assert not result.reused_past
    require_equal(model, batch, variants, result)


@pytest.mark.parametrize("name", ["set", "plain"])
def test_networks_without_heads_or_maps_of_their_own(
    name: str, bare: Callable[[str], nn.Module], rows: Callable[..., Batch], plain_map: ComponentMap
) -> None:
    module = bare(name)
    model = Model.open(module, component_map=plain_map if name == "plain" else None)
    batch = rows(module) if name == "plain" else rows(module, lengths=(6, 4))
    sites = [site for site in model.sites() if site.layer is not None or site.kind in ("embed", "pooled")]
    variants = [[Edit(site, lambda value, batch: 1.7 * value)] for site in sites]
    require_equal(model, batch, variants, sweep(model._network, batch, variants))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_reads_are_those_of_full_runs(name: str) -> None:
    model = Model.open({**DECODERS, **OTHERS}[name](), verify=False)
    batch, variants = made(model, "left", 1), variants_of(model, made(model, "left", 2))[::4]
    reads = [site for site in model.sites() if site.layer == 1 or site.kind == "final_norm"]
    reads.append(LayerComponent(kind="z", layer=1, head=1))
    require_equal(model, batch, variants, sweep(model._network, batch, variants, reads=[*reads, LOGITS]))


def test_patterns_are_edited_in_eager_runs() -> None:
    model = Model.open(DECODERS["llama"]())
    batch = made(model, "left", 1)
    sites = model.parse_sites("pattern")
    variants = [[Edit(site, lambda value, _: value.roll(1, 1), at)] for site in sites for at in (None, from_left(2))]
    require_equal(model, batch, variants, sweep(model._network, batch, variants, reads=[*sites, LOGITS]))


def test_without_logits_the_forward_stops_at_the_last_read() -> None:
    model = Model.open(DECODERS["gpt2"]())
    batch, site = made(model, "right", 1), LayerComponent(kind="resid_post", layer=0)
    ran: list[str] = []
    variants = [[Edit(LayerComponent(kind="embed"), lambda value, _: 2 * value, from_left(1))]] * 3
    settings = SweepSettings(n_checks=0)
    clean_only = model.module.get_submodule("transformer.h.1").register_forward_hook(lambda *_: ran.append("block 1"))
    result = sweep(model._network, batch, variants, reads=[site], settings=settings)
    clean_only.remove()
    assert result.logits is None
    assert len(ran) == batch.n_rows  # the clean runs, for the past; no group came so far
    full = model.capture(batch, [site], edits=variants[0]).values[site]
    assert relative_error(result.values[site][2], full, site, batch) <= TOLERANCE


def test_portions_and_chunks_change_nothing() -> None:
    model = Model.open(DECODERS["gpt_neox"]())
    batch, variants = made(model, "left", 1), variants_of(model, made(model, "left", 2))
    whole = sweep(model._network, batch, variants).logits
    for settings in (
        SweepSettings(max_tokens=5, forward_tokens=0),
        SweepSettings(max_logits=3 * 2 * model.d_vocab, forward_tokens=500),
        SweepSettings(reuses_past=False),
    ):
        cut = sweep(model._network, batch, variants, settings=settings).logits
        assert whole is not None
        assert cut is not None
        assert (whole - cut).abs().max() <= TOLERANCE * whole.abs().max()


def test_a_metric_takes_the_place_of_the_logits() -> None:
    model = Model.open(DECODERS["gpt2"]())
    batch, variants = made(model, "left", 1), variants_of(model, made(model, "left", 2))
    logits = sweep(model._network, batch, variants)
    result = sweep(model._network, batch, variants, metric=lambda found: found[:, 7] - found[:, 3])
    assert result.logits is None
    assert result.metric is not None
    assert logits.logits is not None
    assert logits.clean_logits is not None
    assert result.clean_metric is not None
    torch.testing.assert_close(result.metric, logits.logits[:, :, 7] - logits.logits[:, :, 3])
    torch.testing.assert_close(result.clean_metric, logits.clean_logits[:, 7] - logits.clean_logits[:, 3])


def test_logits_at_another_position_and_edits_behind_it() -> None:
    model = Model.open(DECODERS["llama"]())
    batch, site = made(model, "left", 1), LayerComponent(kind="resid_pre", layer=1)
    variants = [[Edit(site, lambda value, _: -value, from_left(place))] for place in range(4)]
    found = sweep(model._network, batch, variants, at=from_left(2)).logits
    assert found is not None
    columns = from_left(2).mask(batch).int().argmax(dim=1)
    for index, edits in enumerate(variants):
        full = model.logits(batch, edits=edits)[torch.arange(2), columns]
        assert (found[index] - full).abs().max() <= TOLERANCE * full.abs().max()
    clean = sweep(model._network, batch, variants, at=from_left(2)).clean_logits
    assert clean is not None
    assert torch.equal(found[3], clean)


def test_an_edit_of_one_row_leaves_the_others_clean() -> None:
    model = Model.open(DECODERS["gpt2"]())
    batch, site = made(model, "right", 1), LayerComponent(kind="resid_pre", layer=1)
    mask = torch.zeros(batch.input_ids.shape, dtype=torch.bool)
    mask[0, 3] = True
    result = sweep(model._network, batch, [[Edit(site, lambda value, _: -value, marked(mask))]])
    assert result.logits is not None
    assert result.clean_logits is not None
    assert torch.equal(result.logits[0, 1], result.clean_logits[1])
    assert not torch.equal(result.logits[0, 0], result.clean_logits[0])


def test_an_edit_that_gives_other_values_each_time_is_caught() -> None:
    model = Model.open(DECODERS["gpt2"]())
    calls: list[int] = []

    def impure(value: Tensor, batch: Batch) -> Tensor:
        calls.append(1)
        return value + len(calls)

    with pytest.raises(BadDataError, match="differs at logits from its full run"):
        sweep(model._network, made(model, "right", 1), [[Edit(LayerComponent(kind="z", layer=1), impure)]])


def test_the_model_is_untouched_after_an_edit_that_fails() -> None:
    model = Model.open(DECODERS["gpt2"]())
    batch = made(model, "left", 1)
    before, digest = model.logits(batch), model.weights_digest

    def failing(value: Tensor, batch: Batch) -> Tensor:
        raise ZeroDivisionError("an edit of the caller's")

    with pytest.raises(ZeroDivisionError, match="of the caller's"):
        sweep(model._network, batch, [[Edit(LayerComponent(kind="z", layer=1), failing, from_right(0))]])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())
    assert torch.equal(model.logits(batch), before)
    assert model.weights_digest == digest == Model.open(model.module).weights_digest


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([], "a sweep of no variant"),
        ([[]], "variant 0 has no edit"),
        ([[Edit(LOGITS, lambda value, _: value)]], "edits the logits"),
        ([[Edit(LayerComponent(kind="embed"), lambda value, _: value, scope="generated")]], "scope 'generated'"),
        ([[Edit(LayerComponent(kind="embed"), lambda value, _: value[:, :1])]], "the edit at embed returned"),
    ],
)
def test_what_a_sweep_refuses(variants: list[list[Edit]], message: str) -> None:
    model = Model.open(DECODERS["gpt2"]())
    with pytest.raises(UsageError, match=message):
        sweep(model._network, made(model, "right", 1), variants)


def test_refusals_of_metrics_and_positions() -> None:
    model = Model.open(DECODERS["gpt2"]())
    batch = made(model, "right", 1)
    variants = [[Edit(LayerComponent(kind="embed"), lambda value, _: 2 * value)]]
    with pytest.raises(UsageError, match=r"a metric that gives \[\] for logits"):
        sweep(model._network, batch, variants, metric=lambda logits: logits.mean())
    with pytest.raises(UsageError, match="2 positions of row 0 for the logits"):
        sweep(model._network, batch, variants, at=span(0, 2))


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_of_cross_keys_and_values_are_the_encoders(side: str) -> None:
    model = Model.open(OTHERS["t5"]())
    longer = made(model, side, 1)
    shorter = {name: value[:, :6] for name, value in longer.extra.items()}
    for batch in (longer, Batch(longer.input_ids, longer.attention_mask, shorter)):
        sites = [LayerComponent(kind=kind, layer=1) for kind in ("cross_k", "cross_v")]
        variants = [[scale(site, -2.0, at=at)] for site in sites for at in (from_right(0), from_left(1), span(1, 3))]
        variants += [[noise(site, 1.0, seed=0)] for site in sites]
        require_equal(model, batch, variants, sweep(model._network, batch, variants))


def test_encoder_edits_are_refused() -> None:
    model = Model.open(OTHERS["t5"]())
    site = LayerComponent(kind="resid_pre", layer=1, stack="encoder")
    with pytest.raises(UsageError, match="edits the encoder"):
        sweep(model._network, made(model, "right", 1), [[Edit(site, lambda value, _: value)]])


def test_an_edit_that_sees_other_rows_behind_another_is_caught_among_many() -> None:
    """A sweep gives each variant clean neighbours; a full run of one of each combination shows where that fails."""
    model = Model.open(DECODERS["gpt2"]())
    batch = Batch.from_rows([[5, 9, 12, 7, 3], [5, 11, 7, 1, 2]])
    many = [[zero(head)] for head in model.parse_sites("z:*.h*")]
    mixed = [scale(model.site("resid_post:0"), 2.0), swap(model.site("resid_post:1"), [1, 0])]
    alone = [scale(model.site("resid_post:0"), 2.0), zero(model.site("z:1.h2"))]
    model.sweep(batch, [*many, alone])
    with pytest.raises(BadDataError):
        model.sweep(batch, [*many, alone, mixed])
