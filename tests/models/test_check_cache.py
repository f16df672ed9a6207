"""What is remembered of a check, and what is measured anew because it may be otherwise by now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from mechscope.core.kinds import FAMILIES
from mechscope.models import Batch, Model, check_cache
from mechscope.models.check_cache import verified
from mechscope.models.checks import CheckResult
from mechscope.models.network import Network
from mechscope.models.verification import verify
from mechscope.testing.zoo import DECODERS, OTHERS

Bare = Callable[[str], nn.Module]


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test remembers by itself."""
    monkeypatch.setenv(check_cache.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(check_cache, "_KNOWN", {})


def reopened(module: nn.Module) -> Model:
    """The module opened as a process does that starts now: what is known lies on disk."""
    check_cache._KNOWN.clear()
    return Model.open(module)


def without_output(module: nn.Module, path: str) -> nn.Module:
    """The module with zeros for the weights of one part."""
    with torch.no_grad():
        for weight in module.get_submodule(path).parameters():
            weight.zero_()
    return module


def test_a_check_is_remembered_by_architecture_sizes_and_versions(
    bare: Bare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bare("llama")
    config = module.config.to_dict()  # type: ignore[union-attr,operator]
    network = Network(module, FAMILIES.get("llama")().component_map(config))
    calls: list[Network] = []

    def counted(network: Network, *, should_check: bool) -> CheckResult:
        calls.append(network)
        return verify(network, should_check=should_check)

    monkeypatch.setattr("mechscope.models.check_cache.verify", counted)

    def is_measured(*, forgets: bool = False, may_recall: bool = True, **changes: Any) -> tuple[bool, CheckResult]:
        calls.clear()
        if forgets:
            check_cache._KNOWN.clear()
        result = verified(network, config={**config, **changes}, should_check=True, may_recall=may_recall)
        return bool(calls), result

    was_first_measured, first = is_measured(forgets=True)
    was_measured, recalled = is_measured(forgets=True)
    assert was_first_measured
    assert not was_measured
    assert not is_measured()[0]
    assert recalled.verification == first.verification.updated(remembered=True)
    assert (recalled.shapes, recalled.habits) == (first.shapes, first.habits)
    assert is_measured(may_recall=False)[0]
    assert is_measured(rms_norm_eps=0.1)[0]
    for path in tmp_path.glob("checks/*.json"):
        path.write_bytes(path.read_bytes()[:100])
    assert is_measured(forgets=True)[0], "a damaged file is measured over"


def test_a_refusal_is_measured_in_every_open(bare: Bare) -> None:
    broken, good = without_output(bare("llama"), "model.layers.1.self_attn.o_proj"), bare("llama")
    assert "attn_out:1" not in reopened(broken).verification.failed
    assert "z:1" in reopened(broken).verification.failed
    assert reopened(good).verification.failed == {}
    assert reopened(good).verification.remembered
    assert "z:1" in reopened(broken).verification.failed, "a check that passed says nothing of weights that are zero"


def test_what_passed_is_forgotten_where_it_fails(bare: Bare, tmp_path: Path) -> None:
    module = bare("gpt2")
    assert reopened(module).verification.failed == {}
    with torch.no_grad():
        weight = module.get_parameter("transformer.h.1.attn.c_proj.weight").zero_()
        weight[0, 0] = 1e-44  # so small that it moves no bit, and yet not zero
    assert not Model.open(module, verify="anew").verification.remembered
    assert list(tmp_path.glob("checks/*.json")) == []
    assert "q:1" in reopened(module).verification.failed


def test_positions_that_do_nothing_here_may_do_something_elsewhere() -> None:
    batch = Batch.from_rows([[5, 6, 7, 8], [9, 10, 11, 12]])
    blind, seeing = without_output(OTHERS["roberta"](), "roberta.embeddings.position_embeddings"), OTHERS["roberta"]()
    assert reopened(blind).verification.was_run
    with torch.no_grad():
        told = seeing(batch.input_ids).logits
    assert torch.equal(reopened(seeing).logits(batch), told)


def test_what_the_map_cannot_reach_does_not_keep_the_rest_from_being_remembered() -> None:
    module = DECODERS["deepseek_v3"]()
    refused = Model.open(module).verification.failed
    assert refused
    assert all(reason.startswith("reached") for reason in refused.values())
    assert reopened(module).verification.remembered
    assert reopened(module).verification.failed == refused


@pytest.mark.parametrize("order", [("eager", "sdpa"), ("sdpa", "eager")])
def test_each_attention_is_checked_by_itself(order: tuple[str, str]) -> None:
    module = DECODERS["falcon-alibi"]()
    config: Any = module.config
    refused = {}
    for choice in order:
        config._attn_implementation = choice
        refused[choice] = {site.partition(":")[0] for site in reopened(module).verification.failed}
    assert refused == {"eager": set(), "sdpa": {"pattern"}}, "sdpa rounds the slopes of alibi otherwise"


def test_a_module_with_hooks_is_measured(bare: Bare, tmp_path: Path) -> None:
    module = bare("gpt2")
    block = module.get_submodule("transformer.h.1")
    handle = block.register_forward_hook(lambda block, args, output: None)
    assert reopened(module).verification.failed == {}
    assert list(tmp_path.glob("checks/*.json")) == [], "nothing is said of the bare module"
    handle.remove()
    assert not reopened(module).verification.remembered
    handle = block.register_forward_hook(lambda block, args, output: output * 2)
    model = reopened(module)
    assert not model.verification.remembered
    assert "resid_post:1" in model.verification.failed or "mlp_out:1" in model.verification.failed
    handle.remove()
    assert reopened(module).verification.remembered
    handle = register_module_forward_pre_hook(lambda module, args: None)
    assert not reopened(module).verification.remembered
    handle.remove()


def test_a_forward_that_was_replaced_is_measured(bare: Bare) -> None:
    module = bare("gpt2")
    assert Model.open(module).verification.failed == {}
    mlp = module.get_submodule("transformer.h.1.mlp")
    right = mlp.forward
    mlp.forward = lambda hidden: right(hidden).cumsum(dim=1).flip(1)
    assert not Model.open(module).verification.remembered
    assert "mlp_post:1" in Model.open(module).verification.failed


def test_a_cache_that_cannot_be_written_costs_only_time(
    bare: Bare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(check_cache.FOLDER_VARIABLE, str(tmp_path / "file"))
    assert Model.open(bare("gpt2")).verification.failed == {}
