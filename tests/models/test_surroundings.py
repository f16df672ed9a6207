"""What happens around a model while it runs: other threads, calls inside edits, modes, tensors that are shared."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import LayerComponent, NotFoundError, UsageError
from mechscope.models import Batch, Edit, Model
from mechscope.models.interventions import set_value, zero
from mechscope.models.positions import from_right
from mechscope.testing.zoo import DECODERS

Bare = Callable[[str], nn.Module]
ROWS = [[5, 9, 12, 7, 3], [5, 11, 7, 1, 2]]


@pytest.fixture
def busy_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("busy_switching")
def test_threads_do_not_see_each_others_edits(bare: Bare) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    batch = Batch.from_rows(ROWS)
    edit = zero(model.site("resid_post:0"))
    told = {"plain": model.logits(batch), "edited": model.logits(batch, edits=[edit])}
    told["bare"] = told["plain"]
    works: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: model.logits(batch),
        "edited": lambda: model.logits(batch, edits=[edit]),
        "stopped": lambda: model.capture(batch, "resid_post:0")["resid_post:0"],
        "bare": lambda: module(batch.input_ids).logits,
    }
    told["stopped"] = works["stopped"]()
    wrong: list[str] = []

    def work(name: str) -> None:
        with torch.no_grad():
            for _ in range(30):
                try:
                    same = torch.equal(works[name](), told[name])
                except BaseException as error:  # a private exception of another thread's run is looked for
                    wrong.append(f"{name}: {error!r}")
                    return
                if not same:
                    wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_can_be_called_inside_an_edit(bare: Bare) -> None:
    module = bare("llama")
    model = Model.open(module)
    batch = Batch.from_rows(ROWS)
    site = model.site("resid_post:1")
    other = Batch.from_rows([[1, 2, 3, 4, 6], [6, 5, 4, 3, 2]])

    def from_the_other(value: Tensor, batch: Batch) -> Tensor:
        module(batch.input_ids)
        return model.capture(other, [site]).values[site]

    told = model.logits(batch, edits=[set_value(site, model.capture(other, [site]).values[site])])
    assert torch.equal(model.logits(batch, edits=[Edit(site, from_the_other)]), told)


def test_inference_mode_changes_nothing(bare: Bare) -> None:
    module = bare("gpt_neox")
    batch = Batch.from_rows(ROWS)
    told = Model.open(module).capture(batch, "resid_post:1, z:0.h2", logits=True)
    other = bare("gpt_neox")
    with torch.inference_mode():
        model = Model.open(other, verify="anew")
        seen = model.capture(batch, "resid_post:1, z:0.h2", logits=True)
        model.generate(batch, max_new_tokens=2, sites="z:0")
        model.sweep(batch, [[zero(model.site("z:1.h1"))]])
    for site, value in told.values.items():
        assert torch.equal(seen.values[site], value)
    found = model.gradients(
        batch, "z:1", lambda capture: capture.values[model.site("resid_post:2")], reads="resid_post:2"
    )
    assert found.gradients[model.site("z:1")].abs().max() > 0


def test_training_mode_is_refused(bare: Bare) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    module.get_submodule("transformer.h.1").train()
    with pytest.raises(UsageError, match="in training mode"):
        model.logits(Batch.from_rows(ROWS))


def test_a_network_that_writes_in_place_leaves_the_edits_tensor_alone() -> None:
    model = Model.open(DECODERS["falcon"]())
    site = model.site("mlp_out:1")
    value = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    kept = value.clone()
    batch = Batch.from_rows(ROWS)
    for edit in (set_value(site, value), Edit(site, lambda old, batch: value), set_value(site, 0.5)):
        assert torch.equal(model.logits(batch, edits=[edit]), model.logits(batch, edits=[edit]))
    assert torch.equal(value, kept)


def test_one_place_under_two_names_is_one_place(bare: Bare) -> None:
    model = Model.open(bare("llama"))
    batch = Batch.from_rows(ROWS)
    first, second = zero(model.site("resid_post:0")), set_value(model.site("resid_pre:1"), 1.0)
    with pytest.raises(UsageError, match="two edits write at one place"):
        model.logits(batch, edits=[first, second])
    apart = set_value(model.site("resid_pre:1"), 1.0, at=from_right(0))
    with pytest.raises(UsageError, match="two edits write at one place"):
        model.logits(batch, edits=[first, apart])
    both = [zero(model.site("resid_post:0"), at=from_right(1)), apart]
    value = model.capture(batch, "resid_post:0")["resid_post:0"]
    value[:, -2], value[:, -1] = 0, 1
    assert torch.equal(
        model.logits(batch, edits=both), model.logits(batch, edits=[set_value(model.site("resid_post:0"), value)])
    )
    for path, kind in (("self_attn.q_proj", "q"), ("mlp", "mlp_out")):
        with pytest.raises(UsageError, match="two edits write at one place"):
            model.logits(batch, edits=[zero(model.site(f"{path}:1")), zero(model.site(f"{kind}:1"))])


def test_a_misspelt_scope_and_a_lone_edit_are_refused(bare: Bare) -> None:
    model = Model.open(bare("gpt2"))
    site = model.site("resid_post:0")
    scope: Any = "promt"
    edits: Any = zero(site)
    # the types are checked before the package's own checks while tests run, so the checks are called without them
    with pytest.raises(NotFoundError, match="did you mean 'prompt'"):
        inspect.unwrap(Edit.__post_init__)(SimpleNamespace(site=site, scope=scope, at=None))
    with pytest.raises(UsageError, match="an edit by itself"):
        inspect.unwrap(Model._required)(model, [], edits)


def test_a_part_of_a_fused_projection_holds_no_more_than_itself(bare: Bare) -> None:
    model = Model.open(bare("gpt2"))
    capture = model.capture(Batch.from_rows(ROWS), "q:0, v:1, z:0.h1, mlp_post:0.n3")
    for value in capture.values.values():
        assert value.untyped_storage().nbytes() == value.nbytes


def test_a_selector_of_every_neuron_is_quick_to_read(bare: Bare) -> None:
    model = Model.open(bare("gpt2"))
    sites = model.parse_sites("mlp_post:*.n*")
    assert len(sites) == len(set(sites)) == 3 * 128
    assert sites[0] == LayerComponent(kind="mlp_post", layer=0, neuron=0)
