from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.core.kinds import FAMILIES
from mechscope.models import Batch, ComponentMap, Model, opening
from mechscope.models.family import LoadingFamily
from mechscope.models.remarks import quiet
from mechscope.store.atomic import write_json

Bare = Callable[[str], nn.Module]


def saved(module: nn.Module, folder: Path) -> Path:
    assert isinstance(module, PreTrainedModel)
    with quiet():
        module.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(bare: Bare, tmp_path: Path) -> Path:
    return saved(bare("gpt_neox"), tmp_path / "mine")


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "bert"])
def test_a_folder_opens_as_the_module_that_was_saved(name: str, bare: Bare, tmp_path: Path) -> None:
    module = bare(name)
    model = Model.open(saved(module, tmp_path / "mine"))
    assert model.name == "mine"
    assert model.weights_digest == Model.open(module).weights_digest
    assert model.tokenizer is None
    assert model.vocabulary is None
    assert any("no tokenizer" in note for note in model.notes)
    assert Model.open(str(tmp_path / "mine")).weights_digest == model.weights_digest


def test_half_precision_weights_open_as_float32(folder: Path) -> None:
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    model = Model.open(folder)
    assert model.dtype == torch.float32
    assert model.verification.failed == {}
    told = weights["gpt_neox.embed_in.weight"].float()
    assert torch.equal(model.module.get_parameter("gpt_neox.embed_in.weight"), told)
    half = Model.open(folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.verification.failed == {}


def test_a_tokenizer_beside_the_weights_gives_the_vocabulary(folder: Path) -> None:
    words = {"<pad>": 0, "the": 1, "cats": 2, "sleep": 3}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")))
    tokenizer.save_pretrained(folder)
    model = Model.open(folder)
    assert model.tokenizer is not None
    assert model.vocabulary is not None
    assert model.vocabulary[:5] == ("<pad>", "the", "cats", "sleep", "<4>")
    assert len(model.vocabulary) == model.d_vocab


def test_a_set_model_opens_with_its_tokens(bare: Bare, tmp_path: Path) -> None:
    module = bare("set")
    write_json(tmp_path / "config.json", module.config.to_json())  # type: ignore[union-attr,operator]
    save_file({name: tensor.half() for name, tensor in module.state_dict().items()}, tmp_path / "model.safetensors")
    assert Model.open(tmp_path).vocabulary is None
    write_json(tmp_path / "vocab.json", {f"ability {19 - index}": index for index in range(20)})
    model = Model.open(tmp_path)
    assert model.kind == "set"
    assert model.vocabulary is not None
    assert model.vocabulary[0] == "ability 19"
    assert model.verification.failed == {}
    assert {model.site_shape(site) for site in model.parse_sites("pooled,masked_mean,resid_post:*")} == {(16,)}


def test_shipped_models_open_by_name_and_the_nearest_is_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "shipped" / "agreement")
    monkeypatch.setattr(opening, "SHIPPED", tmp_path / "shipped")
    assert list(opening.shipped_models()) == ["agreement"]
    assert Model.open("agreement").name == "agreement"
    with pytest.raises(NotFoundError, match="did you mean 'agreement'"):
        Model.open("agrement")


def test_places_that_hold_no_model_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="no model folder at"):
        Model.open(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="no model folder at"):
        Model.open("./nowhere")
    with pytest.raises(BadDataError, match=r"has no config\.json"):
        Model.open(tmp_path)
    with pytest.raises(NotFoundError, match="is a file"):
        Model.open(str(folder / "config.json"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadDataError, match="names no model_type"):
        Model.open(tmp_path)


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (b'{"model_type": "gpt2", ', "is not JSON: Expecting property"),
        (b"[1]", "holds a list"),
        (b"\xff\x00", "is not JSON"),
    ],
)
def test_a_broken_config_is_told_as_such(folder: Path, written: bytes, seen: str) -> None:
    (folder / "config.json").write_bytes(written)
    with pytest.raises(BadDataError, match=rf"config\.json {seen}"):
        Model.open(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_a_dtype_that_is_no_float_is_refused_before_anything_else(folder: Path, bare: Bare, dtype: torch.dtype) -> None:
    for source in (folder, "splatoon", bare("gpt2")):
        with pytest.raises(UsageError, match=rf"(?s)dtype {dtype}\n.*torch\.bfloat16"):
            Model.open(source, dtype=dtype)


def test_a_module_is_not_converted(bare: Bare) -> None:
    module = bare("gpt2")
    with pytest.raises(UsageError, match=r"dtype=torch\.bfloat16 for a GPT2LMHeadModel of torch\.float32"):
        Model.open(module, dtype=torch.bfloat16)
    assert Model.open(module.bfloat16(), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_maps_that_are_missing_or_wrong_say_how_to_pass_one(bare: Bare) -> None:
    with pytest.raises(UsageError, match="Linear without a component map"):
        Model.open(nn.Linear(2, 2))
    module = bare("gpt2")
    right = Model.open(module).component_map
    with pytest.raises(UsageError, match=r"(?s)n_heads=8.*4, as the model's config says"):
        Model.open(module, component_map=right.updated(n_heads=8))
    with pytest.raises(NotFoundError, match=r"did you mean 'transformer\.h\.0\.attn'"):
        Model.open(module, component_map=right.updated(attention="atn"))
    with pytest.raises(UsageError, match="Embedding with 0 children"):
        Model.open(module, component_map=right.updated(blocks="transformer.wte"))


def test_a_misspelt_field_of_a_map_offers_the_nearest(bare: Bare) -> None:
    with pytest.raises(UsageError, match="unknown field 'embeding' in a component map") as caught:
        ComponentMap(blocks="h", embeding="wte")  # type: ignore[call-arg]
    assert caught.value.todo == "did you mean 'embedding'?"
    assert "attention_projection" in caught.value.expected
    right = Model.open(bare("gpt2")).component_map
    with pytest.raises(UsageError, match=r"(?s)'zzz'.*remove the field"):
        right.updated(zzz=1)
    with pytest.raises(UsageError, match="did you mean 'mlp'"):
        right.updated(encoder={"blocks": "h", "mpl": "mlp"})
    assert ComponentMap.parse(right.to_json()) == right


@pytest.mark.parametrize("source", [None, {}, 3, ["gpt2"]])
def test_what_is_no_model_is_refused(source: object) -> None:
    opens = inspect.unwrap(opening.open_source)
    with pytest.raises(UsageError, match=f"a {type(source).__name__} .* where a model is wanted") as caught:
        opens(source, component_map=None, device="cpu", dtype=None)
    assert "agreement" in caught.value.expected


def test_a_module_is_left_as_it_was(bare: Bare) -> None:
    module = bare("gpt2")
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    Model.open(module)
    assert all(torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert module.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def test_weights_on_the_meta_device_are_refused(bare: Bare) -> None:
    with pytest.raises(BadDataError, match=r"(?s)transformer\.wte\.weight is on the meta device.*from_pretrained"):
        Model.open(bare("gpt2").to("meta"))


def test_weights_with_nan_are_refused_by_name(bare: Bare) -> None:
    module = bare("llama")
    module.get_parameter("model.layers.1.mlp.up_proj.weight").data[0, :3] = float("nan")
    with pytest.raises(BadDataError, match=r"model\.layers\.1\.mlp\.up_proj\.weight has 3 NaN"):
        Model.open(module)


def test_every_registered_family_keeps_the_contract(bare: Bare) -> None:
    configs = {
        "mechscope_set": bare("set").config.to_json(),  # type: ignore[union-attr,operator]
        **{name: bare(name).config.to_dict() for name in ("gpt2", "gpt_neox", "llama", "bert")},  # type: ignore[union-attr,operator]
    }
    assert set(configs) <= set(FAMILIES.names())
    for name, config in configs.items():
        family = FAMILIES.get(name)()
        assert isinstance(family.component_map(config), ComponentMap)
        assert isinstance(family, LoadingFamily) == (name == "mechscope_set")


def test_opened_models_run(folder: Path) -> None:
    model = Model.open(folder)
    batch = Batch.from_rows([[1, 2, 3], [4]], side="left")
    assert model.logits(batch).shape == (2, 3, 50)
    assert model.loss(batch, model.logits(batch)).shape == (2,)
