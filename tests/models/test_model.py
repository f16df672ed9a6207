from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent, NotFoundError, UsageError
from mechscope.models import Batch, Capture, ComponentMap, Edit, Model
from mechscope.models.inputs import output_logits

Rows = Callable[..., Batch]
Bare = Callable[[str], nn.Module]


def at(kind: str, layer: int | None = None) -> LayerComponent:
    return LayerComponent(kind=kind, layer=layer)


def write(told: Tensor) -> Callable[[Tensor, Batch], Tensor]:
    return lambda value, batch: told.clone()


def n_hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def fused_sites(model: Model) -> list[LayerComponent]:
    """All sites but the patterns, for which attention runs eagerly and rounds otherwise."""
    return [site for site in model.sites() if site.kind != "pattern"]


def bare_logits(module: nn.Module, batch: Batch) -> Tensor:
    with torch.no_grad():
        return output_logits(module(batch.input_ids, attention_mask=batch.attention_mask, **batch.extra))


def test_every_site_of_every_family_stands(family_module: nn.Module) -> None:
    model = Model.open(family_module)
    assert model.verification.was_run
    assert model.verification.failed == {}
    kinds = {site.kind for site in model.sites()}
    wanted = {"embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "z", "head_out", "mlp_post", "final_norm"}
    assert wanted | {"logits"} <= kinds
    assert ("resid_mid" in kinds) == (not model.component_map.parallel_blocks)
    assert ("pooled" in kinds) == (model.kind == "set")


def test_logits_equal_the_bare_module_bit_for_bit(family_module: nn.Module, rows: Rows) -> None:
    model = Model.open(family_module)
    batch = rows(family_module)
    assert torch.equal(model.logits(batch), bare_logits(family_module, batch))
    capture = model.capture(batch, fused_sites(model), logits=True)
    assert capture.logits is not None
    assert torch.equal(capture.logits, bare_logits(family_module, batch))
    assert torch.equal(capture.values[at("logits")], capture.logits)


def test_identities_hold_on_padded_rows_in_every_block(family_module: nn.Module, rows: Rows) -> None:
    model = Model.open(family_module)
    batch = rows(family_module, (6, 3), "left")
    values = model.capture(batch, model.sites()).values
    real = batch.attention_mask.bool()
    for layer in range(model.n_layers):
        pre, attention, mlp, post = (
            values[at(kind, layer)][real] for kind in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        torch.testing.assert_close(pre + attention + mlp, post, rtol=1e-5, atol=1e-5)
        if layer + 1 < model.n_layers:
            assert torch.equal(values[at("resid_pre", layer + 1)], values[at("resid_post", layer)])
        if at("resid_mid", layer) in values:
            torch.testing.assert_close(pre + attention, values[at("resid_mid", layer)][real], rtol=1e-5, atol=1e-5)
        heads = values[at("head_out", layer)][real]
        z = values[at("z", layer)][real]
        assert heads.shape[1:] == (model.n_heads, model.d_model)
        assert z.shape[1] == model.n_heads
    assert torch.equal(values[at("embed")], values[at("resid_pre", 0)])


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_one_head_at_a_time_gives_the_heads_sum(name: str, bare: Bare, rows: Rows) -> None:
    """Slow version: zero all heads but one in front of the projection; the difference to no head is its share."""
    module = bare(name)
    model = Model.open(module)
    batch = rows(module)
    shares = model.capture(batch, [at("head_out", 1)]).values[at("head_out", 1)]
    path = f"{model.component_map.blocks}.1.{model.component_map.attention_projection}"
    projection = module.get_submodule(path)
    z = model.capture(batch, [at("z", 1)]).values[at("z", 1)]
    total = torch.zeros(())
    for head in range(model.n_heads):
        alone = torch.zeros_like(z)
        alone[:, :, head] = z[:, :, head]
        with torch.no_grad():
            share = projection(alone.flatten(-2)) - projection(torch.zeros_like(z).flatten(-2))
        total = total + share
        if name != "bert":  # behind BERT's norm a head's share is scaled
            torch.testing.assert_close(shares[:, :, head], share, rtol=1e-5, atol=1e-5)
    if name != "bert":
        torch.testing.assert_close(shares.sum(dim=2), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_real_token(family_module: nn.Module, rows: Rows, side: str) -> None:
    model = Model.open(family_module)
    both = rows(family_module, (6, 4), side)
    short = rows(family_module, (6, 4), "right")
    alone = Batch(
        short.input_ids[1:, :4], short.attention_mask[1:, :4], {key: value[1:] for key, value in short.extra.items()}
    )
    padded = model.capture(both, fused_sites(model)).values
    unpadded = model.capture(alone, fused_sites(model)).values
    place = slice(2, 6) if side == "left" else slice(0, 4)
    for site, told in unpadded.items():
        seen = padded[site][1:] if site.kind == "pooled" or told.ndim == 2 else padded[site][1:, place]
        torch.testing.assert_close(seen, told, rtol=2e-5, atol=2e-5, msg=str(site))


def test_writing_back_what_was_read_changes_no_bit(family_module: nn.Module, rows: Rows) -> None:
    model = Model.open(family_module)
    batch = rows(family_module, (6, 4), "left")
    for sites in (fused_sites(model), [site for site in model.sites() if site.kind == "pattern"]):
        # one name for each place: `embed` is `resid_pre:0`, and a block's output is the next one's input
        sites = [site for site in sites if site.kind != "embed" and not (site.kind == "resid_pre" and site.layer)]
        if not sites:
            continue
        capture = model.capture(batch, sites, logits=True)
        assert capture.logits is not None
        edits = [Edit(site, write(capture.values[site])) for site in sites]
        assert torch.equal(model.logits(batch, edits=edits), capture.logits)


def test_an_edit_at_each_site_moves_only_the_edited_row(family_module: nn.Module, rows: Rows) -> None:
    model = Model.open(family_module)
    batch = rows(family_module)
    patterns = [site for site in model.sites() if site.kind == "pattern"]
    clean = model.logits(batch)
    eager = model.capture(batch, patterns[:1], logits=True).logits if patterns else clean

    def noise(value: Tensor, batch: Batch) -> Tensor:
        value[0] += torch.randn(value[0].shape, generator=torch.Generator().manual_seed(1))
        return value

    for site in model.sites():
        moved = model.logits(batch, edits=[Edit(site, noise)])
        told = eager if site.kind == "pattern" else clean
        assert told is not None
        assert not torch.allclose(moved[0], told[0], atol=1e-4), str(site)
        assert torch.equal(moved[1], told[1]), str(site)


def test_a_derived_site_holds_what_was_written_there(family_module: nn.Module, rows: Rows) -> None:
    """Set `attn_out` to a known tensor: the stream behind it, read off later modules, has it."""
    model = Model.open(family_module)
    batch = rows(family_module)
    wanted = torch.randn(2, 6, model.d_model, generator=torch.Generator().manual_seed(2))
    edit = Edit(at("attn_out", 1), lambda value, batch: wanted)
    reads = [at("resid_pre", 1), at("attn_out", 1), at("mlp_out", 1), at("resid_post", 1)]
    values = model.capture(batch, reads, edits=[edit]).values
    told = values[reads[0]] + wanted + values[reads[2]]
    torch.testing.assert_close(values[reads[3]], told, rtol=1e-5, atol=1e-5)
    assert torch.equal(values[reads[1]], wanted)


def test_the_forward_stops_at_the_last_site(family_module: nn.Module, rows: Rows) -> None:
    model = Model.open(family_module)
    batch = rows(family_module)
    calls: list[str] = []
    watched = [f"{model.component_map.blocks}.{layer}" for layer in range(model.n_layers)]
    watched.append(str(model.component_map.unembedding))
    handles = [
        module.register_forward_pre_hook(lambda module, args, path=path: calls.append(path))
        for path, module in family_module.named_modules()
        if path in watched
    ]
    before = n_hooks(family_module)
    model.capture(batch, [at("resid_post", 1), at("attn_out", 0)])
    assert calls == watched[:2]
    calls.clear()
    model.capture(batch, [at("embed")])
    assert calls == watched[:1]
    calls.clear()
    model.capture(batch, [at("final_norm")])
    assert calls == watched[:-1]
    calls.clear()
    model.capture(batch, [at("resid_post", 0)], logits=True)
    assert calls == watched
    assert n_hooks(family_module) == before
    for handle in handles:
        handle.remove()


def test_hooks_go_on_every_path_out(bare: Bare, rows: Rows) -> None:
    module = bare("gpt2")
    names = [name for name, _ in module.named_modules()]
    model = Model.open(module)
    batch = rows(module)

    def broken(value: Tensor, batch: Batch) -> Tensor:
        raise ZeroDivisionError("in the edit")

    with pytest.raises(ZeroDivisionError, match="in the edit"):
        model.logits(batch, edits=[Edit(at("z", 1), broken)])
    assert n_hooks(module) == 0
    model.capture(batch, [at("resid_post", 0)])
    assert n_hooks(module) == 0
    assert [name for name, _ in module.named_modules()] == names
    assert torch.equal(model.logits(batch), bare_logits(module, batch))


def test_captures_are_detached_and_outlive_later_edits(bare: Bare, rows: Rows) -> None:
    module = bare("gpt_neox")
    model = Model.open(module)
    batch = rows(module)
    site = at("resid_post", 0)
    clean = model.capture(batch, [site]).values[site]
    assert not clean.requires_grad

    def in_place(value: Tensor, batch: Batch) -> Tensor:
        return value.zero_()

    edited = model.capture(batch, [site, at("resid_pre", 1)], edits=[Edit(at("resid_pre", 1), in_place)]).values
    assert torch.equal(edited[site], clean)
    assert not edited[at("resid_pre", 1)].any()


def test_edits_that_collide_or_do_not_fit_are_refused(bare: Bare, rows: Rows) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    batch = rows(module)
    site = at("attn_out", 1)
    same = Edit(site, lambda value, batch: value)
    with pytest.raises(UsageError, match="two edits write at one place: attn_out:1"):
        model.logits(batch, edits=[same, same])
    first = Edit(at("resid_pre", 0), lambda value, batch: value)
    with pytest.raises(UsageError, match="two edits"):
        model.logits(batch, edits=[first, Edit(at("embed"), first.apply)])
    with pytest.raises(UsageError, match=r"attn_out:1 returned \(2, 32\)"):
        model.logits(batch, edits=[Edit(site, lambda value, batch: value[:, 0])])
    with pytest.raises(UsageError, match="float64"):
        model.logits(batch, edits=[Edit(site, lambda value, batch: value.double())])
    with pytest.raises(UsageError, match="returned NoneType"):
        model.logits(batch, edits=[Edit(site, lambda value, batch: None)])  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="no site"):
        model.capture(batch, [])


def test_unknown_sites_name_the_nearest(bare: Bare, rows: Rows) -> None:
    model = Model.open(bare("gpt_neox"))
    with pytest.raises(NotFoundError, match="did you mean 'resid_post'"):
        model.parse_sites("resid_pots:1")
    with pytest.raises(NotFoundError, match="resid_mid:1"):
        model.parse_sites("resid_post:1, resid_mid:1")
    with pytest.raises(NotFoundError, match="resid_post:9"):
        model.capture(rows(model.module), [at("resid_post", 9)])
    assert model.parse_sites("blocks.2.attn.hook_result") == [at("head_out", 2)]


def test_shapes_and_sizes_are_those_of_the_tensors(family_module: nn.Module, rows: Rows) -> None:
    model = Model.open(family_module)
    batch = rows(family_module)
    for site, value in model.capture(batch, model.sites()).values.items():
        n_leading = 1 if site.kind == "pooled" or (site.kind == "logits" and model.kind == "set") else 2
        told = value.shape[1:2] if site.kind == "pattern" else value.shape[n_leading:]
        assert model.site_shape(site) == tuple(told)
    assert model.site_shape(at("logits")) == (model.d_vocab,)
    assert model.site_shape(at("embed")) == (model.d_model,)


def test_grouped_query_heads_take_their_width_from_the_projection(bare: Bare) -> None:
    model = Model.open(bare("llama"))
    assert model.site_shape(at("z", 0)) == (4, 12)
    assert model.site_shape(at("head_out", 0)) == (4, 32)


def test_ones_own_network_with_a_five_line_map(bare: Bare, plain_map: ComponentMap, rows: Rows) -> None:
    module = bare("plain")
    model = Model.open(module, component_map=plain_map)
    batch = rows(module)
    assert model.verification.failed == {}
    assert (model.kind, model.d_model, model.n_layers, model.d_vocab) == ("module", 8, 2, 11)
    assert any("no attention_mask" in note for note in model.notes)
    with torch.no_grad():
        assert torch.equal(model.logits(batch), module(batch.input_ids))
    with pytest.raises(UsageError, match="takes no attention_mask"):
        model.logits(rows(module, (6, 2)))


def test_batches_that_do_not_fit_the_model_are_refused(bare: Bare, rows: Rows) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    with pytest.raises(BadDataError, match=r"token ids in 1\.\.50"):
        model.logits(Batch.from_rows([[1, 50]]))
    with pytest.raises(UsageError, match="a row of 25 tokens"):
        model.logits(Batch.from_rows([[1] * 25]))
    model.logits(Batch.from_rows([[1] * 24]))
    with pytest.raises(UsageError, match="remove 'weapon_ids'"):
        ids = rows(module).input_ids
        model.logits(Batch(ids, torch.ones_like(ids), {"weapon_ids": torch.zeros(2)}))
    completion = Model.open(bare("set"))
    with pytest.raises(UsageError, match="add 'weapon_ids'"):
        completion.logits(rows(module))
    with pytest.raises(BadDataError, match="weapon_ids in"):
        completion.logits(Batch(ids, torch.ones_like(ids), {"weapon_ids": torch.tensor([0, 5])}))


def test_sites_are_named_by_selectors_too(bare: Bare, rows: Rows) -> None:
    module = bare("llama")
    model = Model.open(module)
    batch = rows(module)
    capture = model.capture(batch, "resid_post:0-1, z:2.h3")
    assert [str(site) for site in capture.values] == ["resid_post:0", "resid_post:1", "z:2.h3"]
    mixed = model.capture(batch, ["resid_post:0", at("resid_post", 1), "z:2.h3"])
    assert all(torch.equal(mixed[site], value) for site, value in capture.values.items())
    whole = model.capture(batch, "z:2")["z:2"]
    assert torch.equal(capture["z:2.h3"], whole[:, :, 3])
    assert model.site("blocks.1.attn.hook_k") == at("k", 1)
    assert model.site_shape(model.site("k:1")) == (2, 12)
    with pytest.raises(NotFoundError, match="did you mean 'resid_post:0'"):
        capture["resid_pots:0"]
    with pytest.raises(NotFoundError, match="did you mean 'resid_post'"):
        model.capture(batch, ["resid_post:0", "resid_pots:1"])
    with pytest.raises(UsageError, match="names 3 sites"):
        model.site("resid_post")
    with pytest.raises(UsageError, match="head 7 of z:1"):
        model.capture(batch, [LayerComponent(kind="z", layer=1, head=7)])


def test_a_module_of_a_block_is_read_and_written_by_its_path(bare: Bare, rows: Rows) -> None:
    module = bare("llama")
    model = Model.open(module)
    batch = rows(module)
    seen = model.capture(batch, "self_attn.v_proj:1, v:1")
    assert torch.equal(seen["self_attn.v_proj:1"], seen["v:1"].flatten(-2))
    assert model.site_shape(model.site("self_attn.v_proj:1")) == (24,)
    zero = Edit(model.site("self_attn.v_proj:1"), lambda value, batch: value * 0)
    same = Edit(model.site("v:1"), lambda value, batch: value * 0)
    assert torch.equal(model.logits(batch, edits=[zero]), model.logits(batch, edits=[same]))
    with pytest.raises(NotFoundError, match=r"did you mean 'self_attn\.v_proj'"):
        model.site("self_attn.v_prok:1")


def test_a_capture_is_read_by_the_selector_that_it_was_asked_with(bare: Bare) -> None:
    model = Model.open(bare("llama"))
    batch = Batch.from_rows([[1, 2, 3]])
    selectors = ["layers_output:0", "k[1]", "z:-1.h2", "z:1.h-1", "blocks.1.hook_resid_pre", "mlp.act_fn:2", "logits"]
    capture = model.capture(batch, selectors)
    for selector in selectors:
        assert capture[selector] is capture.values[model.site(selector)]
    assert capture[model.site("k:1")] is capture["k:1"]
    with pytest.raises(UsageError, match=r"'z:\*\.h\*' names 12 sites"):
        capture["z:*.h*"]
    for unknown in ("resid_psot:1", "blocks.9.hook_resid_pre", "q:1"):
        with pytest.raises(NotFoundError, match=f"unknown site of this capture '{unknown}'"):
            capture[unknown]
    seen = model.gradients(batch, "z:1", lambda capture: capture["layers_output[-1]"], reads="resid_post:2")
    assert seen.gradients[at("z", 1)].abs().max() > 0


def test_a_capture_that_no_model_made_reads_plain_spellings() -> None:
    capture = Capture({at("resid_post", 2): torch.ones(1)})
    assert capture["layers_output:2"] is capture["blocks.2.hook_resid_post"] is capture["resid_post[2]"]
    with pytest.raises(NotFoundError, match="did you mean 'resid_post:2'"):
        capture["resid_post:-1"]


def test_what_names_no_site_is_refused(bare: Bare) -> None:
    model = Model.open(bare("llama"))
    for wrong in (None, 3, [3], [None, "z:1"]):
        with pytest.raises(UsageError, match="where a site is wanted\nexpected: a selector"):
            inspect.unwrap(Model.capture)(model, Batch.from_rows([[1, 2]]), wrong)
