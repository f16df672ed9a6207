from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.models import Model
from mechscope.models.loading import load_pretrained
from mechscope.models.remarks import quiet
from mechscope.testing.zoo.others import OTHERS


@pytest.fixture
def folder(bare: Callable[[str], nn.Module], tmp_path: Path) -> Path:
    module = bare("gpt2")
    assert isinstance(module, PreTrainedModel)
    with quiet():
        module.save_pretrained(tmp_path)
    return tmp_path


def load(folder: Path) -> nn.Module:
    return load_pretrained(str(folder), dtype=torch.float32).module


def test_a_hub_id_without_a_network_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError) as caught:
        load_pretrained("nobody-at-all/no-such-model", dtype=torch.float32, known_names=["agreement"])
    told = str(caught.value)
    assert "nobody-at-all/no-such-model" in told
    assert "the local hub cache and the hub" in told
    assert "agreement" in told


def test_damaged_and_incomplete_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = load_file(path)
    save_file({name: whole[name] for name in whole if "h.1.mlp" not in name}, path, metadata={"format": "pt"})
    with pytest.raises(BadDataError, match=r"lack 'transformer\.h\.1\.mlp\.c_fc\.bias'"):
        load(folder)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadDataError, match="cannot be loaded"):
        load(folder)
    path.unlink()
    with pytest.raises(NotFoundError, match=r"(?s)holds a config and no weights.*model\.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n_embd": "wide"}, "Field 'n_embd' expected int, got str"),
        ({"n_head": 7}, "divisible by num_heads"),
        ({"activation_function": "nope"}, "KeyError: 'nope'"),
    ],
)
def test_a_config_from_which_nothing_can_be_built_says_why(folder: Path, changes: dict[str, object], why: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(BadDataError, match="no model can be built from") as caught:
        load(folder)
    assert why in caught.value.seen
    assert "config.json" in caught.value.todo


def test_weights_that_the_config_has_no_place_for_are_noted(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_layer": 2}))
    (note,) = load_pretrained(str(folder), dtype=torch.float32).notes
    assert note.startswith("the weights hold 'transformer.h.2.attn.c_attn.weight' and 10 more, which GPT2LMHead")
    assert note in Model.open(folder).notes


def test_masks_and_tables_that_old_checkpoints_store_are_not_noted(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    old = {
        "transformer.h.0.attn.bias": torch.ones(1, 1, 24, 24),
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.0.attn.rotary_emb.inv_freq": torch.ones(4),
        "transformer.position_ids": torch.arange(24)[None],
    }
    save_file({**whole, **old}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_pretrained(str(folder), dtype=torch.float32).notes == ()
    save_file({**whole, "extra.bias": torch.ones(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    (note,) = load_pretrained(str(folder), dtype=torch.float32).notes
    assert note.startswith("the weights hold 'extra.bias', which")


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (lambda_free_touch, ("touched",))


def lambda_free_touch(name: str) -> None:
    raise AssertionError(f"a pickle ran code: {name}")


def test_a_pickle_loads_only_when_it_holds_nothing_but_tensors(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    told = load(folder).get_parameter("transformer.ln_f.weight")
    assert torch.equal(told, weights["transformer.ln_f.weight"])
    torch.save({**weights, "more": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(BadDataError, match="cannot be loaded"):
        load(folder)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [
        ("gpt2", "GPT2ForSequenceClassification"),
        ("gpt2", "GPT2ForConditionalGeneration"),
        ("gemma3", "Gemma3ForConditionalGeneration"),  # its name ends as an encoder-decoder's, its config is none
        ("electra", "ElectraForPreTraining"),
    ],
)
def test_architectures_without_a_head_that_we_know_are_refused(
    folder: Path, model_type: str, architecture: str
) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": [architecture]}))
    with pytest.raises(UsageError, match=f"{architecture!r}\nexpected: a language model"):
        load(folder)


@pytest.mark.parametrize("name", ["roberta", "t5", "t5-gated", "vit", "mamba"])
def test_a_saved_model_comes_back_with_every_weight(name: str, tmp_path: Path) -> None:
    saved = OTHERS[name]()
    with quiet():
        saved.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert type(loaded) is type(saved)
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    for key, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_the_settings_of_transformers_come_back() -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(ZeroDivisionError), quiet():
        assert not logging.is_progress_bar_enabled()
        raise ZeroDivisionError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
