"""The last block at one position: it does run there only, and whole wherever something behind it looks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models import Batch, Edit, Model
from mechscope.models.positions import from_left
from mechscope.models.sweeps import SweepSettings, sweep
from mechscope.testing.zoo import DECODERS

BATCH = Batch.from_rows([[3, 9, 4, 7, 5, 11, 2]])
SETTINGS = SweepSettings(forward_tokens=1000)  # all in one forward


def mixed(value: Tensor, batch: Batch) -> Tensor:
    """Each position takes that of the one before it."""
    return value.roll(1, 1)


def lengths_run(model: Model, path: str, variants: list[list[Edit]]) -> list[int]:
    """Positions given to a module of the last block, forward by forward of the groups."""
    seen: list[int] = []
    part = model.module.get_submodule(f"{model.component_map.blocks}.{model.n_layers - 1}.{path}")
    handle = part.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[1]))
    try:
        sweep(model._network, BATCH, variants, settings=SETTINGS.model_copy(update={"n_checks": 0}))
    finally:
        handle.remove()
    return seen[1:]  # the clean run is whole


@pytest.mark.parametrize("path", ["mlp", "self_attn.o_proj", "self_attn.q_proj"])
def test_only_the_wanted_position_runs_behind_keys_and_values(path: str) -> None:
    model = Model.open(DECODERS["llama"](), verify=False)
    early = [Edit(LayerComponent(kind="resid_pre", layer=1), lambda value, _: -value, from_left(2))]
    late = [Edit(LayerComponent(kind="attn_out", layer=model.n_layers - 1), mixed)]
    assert lengths_run(model, path, [early]) == [1]
    assert lengths_run(model, path, [early, late]) == [7]


@pytest.mark.parametrize(
    "kind", ["resid_pre", "q", "k", "z", "attn_out", "resid_mid", "mlp_pre", "mlp_out", "resid_post"]
)
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "mixtral", "bloom", "opt", "falcon"])
def test_edits_of_the_last_block_that_look_at_other_positions(name: str, kind: str) -> None:
    model = Model.open(DECODERS[name](), verify=False)
    site = LayerComponent(kind=kind, layer=model.n_layers - 1)
    if site not in model.sites():
        pytest.skip(f"{name} has no {kind}")
    variants = [[Edit(LayerComponent(kind="embed"), lambda value, _: -value, from_left(1))], [Edit(site, mixed)]]
    found = sweep(model._network, BATCH, variants, settings=SETTINGS).logits
    assert found is not None
    for index, edits in enumerate(variants):
        full = model.logits(BATCH, edits=edits)[:, -1]
        assert (found[index] - full).abs().max() <= 1e-5 * full.abs().max()


def test_a_final_norm_that_is_read_is_whole() -> None:
    model = Model.open(DECODERS["gpt2"](), verify=False)
    site = LayerComponent(kind="final_norm")
    variants = [[Edit(LayerComponent(kind="embed"), lambda value, _: -value, from_left(1))]]
    result = sweep(model._network, BATCH, variants, reads=[site, LayerComponent(kind="logits")], settings=SETTINGS)
    full = model.capture(BATCH, [site], edits=variants[0]).values[site]
    torch.testing.assert_close(result.values[site][0], full)
