"""A model that is run inside an edit's function gives what it gives by itself, and so does the run around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.models import Batch, Edit, Model
from mechscope.models.interventions import set_value, zero
from mechscope.models.sweeps import SweepSettings

Bare = Callable[[str], nn.Module]
BATCH = Batch.from_rows([[5, 9, 12, 7, 3], [5, 11, 7]])
OTHER = Batch.from_rows([[1, 2, 3, 4], [6, 5, 4, 3], [2, 2, 9, 8]])


def ways_to_run(model: Model, module: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Runs of every sort."""
    variants = [[zero(site)] for site in model.parse_sites("z:*.h1")]
    patterns = [[zero(model.site("pattern:1.h1"))], [zero(model.site("z:2.h1"))]]

    def swept(variants: list[list[Edit]]) -> Tensor:
        found = model.sweep(OTHER, variants, settings=SweepSettings(n_checks=1)).logits
        assert found is not None
        return found

    def run_bare() -> Tensor:
        with torch.no_grad():
            found: Tensor = module(OTHER.input_ids).logits
        return found

    return {
        "plain": lambda: model.logits(OTHER),
        "bare": run_bare,
        "captured": lambda: model.capture(OTHER, "z:2")["z:2"],
        "pattern": lambda: model.capture(OTHER, "pattern:2")["pattern:2"],
        "swept": lambda: swept(variants),
        "swept patterns": lambda: swept(patterns),
        "generated": lambda: model.generate(OTHER, max_new_tokens=2, sites="z:1", stops_at=()).values[
            model.site("z:1")
        ],
        "gradients": lambda: model.gradients(
            OTHER, "z:1", lambda capture: capture.values[model.site("resid_post:1")], reads="resid_post:1"
        ).gradients[model.site("z:1")],
    }


class Nesting:
    """An edit's function that runs the model and keeps what that gave; the edit itself turns the value round."""

    def __init__(self, ways: dict[str, Callable[[], Tensor]]) -> None:
        self.ways = ways
        self.found: dict[str, list[Tensor]] = {name: [] for name in ways}

    def __call__(self, value: Tensor, batch: Batch) -> Tensor:
        for name, way in self.ways.items():
            self.found[name].append(way())
        return -value

    def require_same(self, told: dict[str, Tensor], *, apart_from: tuple[str, ...] = ()) -> None:
        """Bit for bit."""
        wrong = {
            name
            for name, found in self.found.items()
            if name not in apart_from and not (found and all(torch.equal(one, told[name]) for one in found))
        }
        assert wrong == set()


@pytest.mark.parametrize(
    ("name", "kind"), [("gpt2", "resid_post:1"), ("gpt2", "final_norm"), ("llama", "resid_pre:0"), ("llama", "z:2")]
)
def test_runs_inside_a_sweep(name: str, kind: str, bare: Bare) -> None:
    """In front of the blocks, between them, in the last one, and behind it."""
    module = bare(name)
    model = Model.open(module)
    ways = ways_to_run(model, module)
    told = {name: way() for name, way in ways.items()}
    edit = Nesting(ways)
    site = model.site(kind)
    others: list[list[Edit]] = [[zero(model.site("z:0.h1"))], [set_value(model.site("z:2.h0"), 0.5)]]
    result = model.sweep(BATCH, [[Edit(site, edit)], *others], settings=SweepSettings(n_checks=0))
    edit.require_same(told)
    assert result.logits is not None
    plain: list[list[Edit]] = [[Edit(site, lambda value, batch: -value)], *others]
    again = model.sweep(BATCH, plain).logits
    assert again is not None
    assert torch.equal(result.logits, again)


def test_runs_inside_one_that_needs_eager_attention(bare: Bare) -> None:
    module = bare("llama")
    model = Model.open(module)
    config: Any = module.config
    ways = ways_to_run(model, module)
    told = {name: way() for name, way in ways.items()}
    site = model.site("resid_post:1")
    single = Batch.from_rows([[1, 2, 3]])
    runs: list[Callable[[Nesting], Any]] = [
        lambda edit: model.capture(BATCH, "pattern:2", edits=[Edit(site, edit)]),
        lambda edit: model.logits(BATCH, edits=[Edit(model.site("pattern:1"), edit)]),
        lambda edit: model.sweep(BATCH, [[Edit(site, edit)], [zero(model.site("pattern:2.h1"))]]),
        lambda edit: model.generate(single, max_new_tokens=2, edits=[Edit(model.site("pattern:1"), edit)]),
    ]
    for run in runs:
        edit = Nesting(ways)
        run(edit)
        edit.require_same(told, apart_from=("bare",))  # which no run of ours guards: it is called as it stands
        assert config._attn_implementation == "sdpa"


def test_an_error_inside_leaves_the_attention_as_it_was(bare: Bare) -> None:
    module = bare("llama")
    model = Model.open(module)
    config: Any = module.config
    told = model.logits(OTHER)

    def fails(value: Tensor, batch: Batch) -> Tensor:
        raise KeyboardInterrupt

    def nests(value: Tensor, batch: Batch) -> Tensor:
        with pytest.raises(KeyboardInterrupt):
            model.logits(OTHER, edits=[Edit(model.site("z:1"), fails)])
        assert config._attn_implementation == "eager"
        return fails(value, batch)

    with pytest.raises(KeyboardInterrupt):
        model.capture(BATCH, "pattern:2", edits=[Edit(model.site("z:0"), nests)])
    assert config._attn_implementation == "sdpa"
    assert torch.equal(model.logits(OTHER), told)
