"""Wrong calls, through `Model`: each is refused with what was seen, what was expected and what to do, and leaves
nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2LMHeadModel, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from mechscope.core import BadDataError, LayerComponent, NotFoundError, UsageError, UserError
from mechscope.models import Batch, Capture, ComponentMap, Edit, Model
from mechscope.models.lens import direct_logit_attribution, logit_lens
from mechscope.models.positions import from_left, from_right, span
from mechscope.models.remarks import quiet
from mechscope.testing.zoo import DECODERS, OTHERS

BATCH = Batch.from_rows([[5, 6, 7, 8], [9, 10, 11]])


def site(text: str) -> LayerComponent:
    kind, _, rest = text.partition(":")
    layer, _, head = rest.partition(".h")
    return LayerComponent(kind=kind, layer=int(layer) if layer else None, head=int(head) if head else None)


def zeroed(text: str, at: object = None) -> Edit:
    return Edit(site(text), lambda value, batch: value * 0, at=at)  # type: ignore[arg-type]


def n_hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def attention_of(model: Model) -> str | None:
    return getattr(getattr(model.module, "config", None), "_attn_implementation", None)


def metric(capture: Capture) -> Tensor:
    assert capture.logits is not None
    return capture.logits[:, -1, 3]


def refused(model: Model, run: Callable[[], object], error: type[UserError], *said: str) -> None:
    """`run` raises with all three parts and the words `said`; the model is afterwards as it was before."""
    before = model.logits(BATCH)
    choice = attention_of(model)
    with pytest.raises(error) as caught:
        run()
    for part in (caught.value.seen, caught.value.expected, caught.value.todo):
        assert part.strip()
    for words in said:
        assert words in str(caught.value)
    assert n_hooks(model.module) == 0
    assert attention_of(model) == choice
    assert torch.equal(model.logits(BATCH), before)
    assert not any(parameter.grad is not None for parameter in model.module.parameters())


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.open(DECODERS["gpt2"]())


def saved(module: PreTrainedModel, folder: Path, **config: object) -> Path:
    with quiet():
        module.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


@pytest.mark.parametrize(("model_type", "near"), [("zorblax", ""), ("gpt2x", "the nearest is 'gpt2'")])
def test_an_unknown_architecture_is_named(model_type: str, near: str, tmp_path: Path) -> None:
    folder = saved(DECODERS["gpt2"](), tmp_path, model_type=model_type)
    with pytest.raises(UsageError) as caught:
        Model.open(folder)
    assert f"{folder} holds the model type {model_type!r}, which transformers" in caught.value.seen
    assert near in caught.value.expected
    assert "Model.open(module, component_map=...)" in caught.value.todo


def test_code_that_lies_in_a_model_folder_is_not_run(tmp_path: Path) -> None:
    automatic = {"AutoConfig": "harm.Config", "AutoModelForCausalLM": "harm.Net"}
    folder = saved(DECODERS["gpt2"](), tmp_path, model_type="harmful", auto_map=automatic)
    (folder / "harm.py").write_text(f"open({str(folder / 'touched')!r}, 'w')")
    with pytest.raises(UsageError, match="'harmful'"):
        Model.open(folder)
    assert not (folder / "touched").exists()


class Nameless(nn.Module):
    """A network of nobody's family."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        raise NotImplementedError


def test_a_module_without_a_map_is_refused_with_the_families_known() -> None:
    with pytest.raises(UsageError, match="a Nameless without a component map") as caught:
        Model.open(Nameless())
    assert "gpt2" in caught.value.expected
    assert "component_map=ComponentMap(" in caught.value.todo


def test_text_for_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    model = Model.open(saved(DECODERS["gpt2"](), tmp_path / "mine"))
    refused(model, lambda: model.tokenize(["a text"]), UsageError, "mine, which came without a tokenizer", "from_rows")


def test_a_tokenizer_without_a_pad_token_pads_only_when_told_with_what(tmp_path: Path) -> None:
    folder = saved(DECODERS["gpt2"](), tmp_path)
    words = WordLevel({"the": 0, "cats": 1, "sleep": 2}, unk_token="the")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words)).save_pretrained(folder)
    model = Model.open(folder)
    assert model.tokenizer is not None
    assert model.tokenizer.pad_token_id is None
    refused(model, lambda: model.tokenize(["cats", "the", ""]), UsageError, "text 2 has no token")
    refused(model, lambda: model.tokenize("cats"), UsageError, "the text 'cats' by itself", "[text]")
    model.tokenizer.add_tokens(["dogs"])
    long, short = "cats dogs cats", "sleep"
    refused(model, lambda: model.tokenize([long, short]), UsageError, "without a pad token", "pad_id=0")
    assert len(model.tokenize([short, short]).input_ids[0]) == 1
    seven, nine = (model.logits(model.tokenize([long, short], pad_id=pad)) for pad in (7, 9))
    assert torch.equal(seven[:, -1], nine[:, -1])


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_the_meta_device_is_refused(device: str | torch.device) -> None:
    with pytest.raises(UsageError, match="device 'meta'"):
        Model.open("agreement", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="'cpu' is always there"):
        Model.open("agreement", device="cuda")


@pytest.mark.parametrize("part", ["transformer.h.1.mlp.c_fc", "transformer.wte"])
def test_a_module_with_weights_on_the_meta_device_is_refused_by_the_first(part: str) -> None:
    module = DECODERS["gpt2"]()
    module.get_submodule(part).to("meta")
    with pytest.raises(BadDataError, match=f"{part}.weight is on the meta device") as caught:
        Model.open(module)
    assert "from_pretrained" in caught.value.todo
    assert n_hooks(module) == 0


class Int8Projection(nn.Module):
    """A linear map whose weights are stored as int8, one scale an output."""

    def __init__(self, dense: Conv1D) -> None:
        super().__init__()
        matrix = dense.weight.detach()
        self.scale = nn.Parameter(matrix.abs().amax(dim=0) / 127)
        self.bias = dense.bias
        self.register_buffer("weight", (matrix / self.scale).round().to(torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.get_buffer("weight").to(x.dtype) * self.scale
        return functional.linear(x, matrix.T, self.bias)


@pytest.fixture
def quantised() -> Model:
    module = DECODERS["gpt2"]()
    assert isinstance(module, GPT2LMHeadModel)
    for block in module.transformer.h:
        block.attn.c_proj = Int8Projection(block.attn.c_proj)
    return Model.open(module)


def test_quantised_weights_cost_the_sites_that_need_them_and_no_others(quantised: Model) -> None:
    reason = "the weights of 'transformer.h.0.attn.c_proj' cannot be read: they are quantised (torch.int8)"
    assert quantised.verification.failed["head_out:0"] == f"reached: {reason}"
    assert set(quantised.verification.failed) == {f"head_out:{layer}" for layer in range(3)}
    refused(quantised, lambda: quantised.parse_sites("head_out:0"), NotFoundError, reason)
    refused(quantised, lambda: quantised.logits(BATCH, edits=[zeroed("head_out:0.h1")]), NotFoundError, reason)
    read = quantised.capture(BATCH, [site("z:0"), site("attn_out:0"), site("pattern:0")]).values
    projection = quantised.module.get_submodule("transformer.h.0.attn.c_proj")
    assert torch.equal(projection(read[site("z:0")].flatten(-2)), read[site("attn_out:0")])
    assert not torch.equal(quantised.logits(BATCH, edits=[zeroed("z:0.h1")]), quantised.logits(BATCH))


def test_a_quantised_unembedding_gives_no_directions() -> None:
    module = DECODERS["gpt2"]()
    assert isinstance(module, GPT2LMHeadModel)
    dense = Conv1D(module.lm_head.out_features, module.lm_head.in_features)
    dense.weight = nn.Parameter(module.lm_head.weight.detach().T.contiguous())
    module.lm_head = Int8Projection(dense)
    model = Model.open(module)
    directions = torch.eye(model.d_model)[:2]
    refused(model, lambda: model.output_directions(directions), UsageError, "they are quantised (torch.int8)")


class Scaled(nn.Linear):
    """A linear module with a scale of its own, which a weight in float8 needs and one in float32 may have."""

    def __init__(self, dense: nn.Linear, dtype: torch.dtype, scale: float) -> None:
        super().__init__(dense.in_features, dense.out_features, bias=False)
        self.weight = nn.Parameter((dense.weight.detach() / scale).to(dtype), requires_grad=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return functional.linear(input, self.weight.to(input.dtype)) * self.scale


def test_float8_weights_count_as_quantised() -> None:
    module = DECODERS["llama"]()
    assert isinstance(module, LlamaForCausalLM)
    for layer in module.model.layers:
        layer.self_attn.o_proj = Scaled(layer.self_attn.o_proj, torch.float8_e4m3fn, 0.01)
    module.lm_head = Scaled(module.lm_head, torch.float8_e4m3fn, 0.01)
    model = Model.open(module)
    told = "they are quantised (torch.float8_e4m3fn)"
    assert set(model.verification.failed) == {f"head_out:{layer}" for layer in range(3)}
    refused(model, lambda: model.capture(BATCH, "head_out:0"), NotFoundError, told, "without quantisation")
    refused(model, lambda: direct_logit_attribution(model, BATCH, 3, by="head"), NotFoundError, told)
    refused(model, lambda: model.output_directions(torch.eye(model.d_model)[:2]), UsageError, told)
    refused(model, lambda: direct_logit_attribution(model, BATCH, 3), UsageError, told)
    assert logit_lens(model, BATCH).output_error < 1e-5


def test_an_unembedding_with_a_scale_of_its_own_gives_no_directions() -> None:
    module = DECODERS["llama"]()
    assert isinstance(module, LlamaForCausalLM)
    module.lm_head = Scaled(module.lm_head, torch.float32, 0.5)
    model = Model.open(module)
    told = "a Scaled whose output is not x W + b: it is off by 5.0e-01"
    refused(model, lambda: model.output_directions(torch.eye(model.d_model)[:2]), UsageError, told)
    refused(model, lambda: direct_logit_attribution(model, BATCH, 3), UsageError, told)
    assert logit_lens(model, BATCH).output_error < 1e-5


@pytest.mark.parametrize("text", ["resid_post:1", "z:1.h2", "pattern:1", "logits"])
@pytest.mark.parametrize(
    ("at", "said"),
    [
        (from_left(3), "in row 1, which has 3 tokens"),
        (from_right(4), "in row 0, which has 4 tokens"),
        (span(1, 9), "in row 0, which has 4 tokens"),
    ],
)
def test_a_position_outside_a_row_is_refused_with_the_row(model: Model, text: str, at: object, said: str) -> None:
    refused(model, lambda: model.logits(BATCH, edits=[zeroed(text, at)]), UsageError, said)


@pytest.mark.parametrize("text", ["embed", "q:1", "k:1.h3", "pattern:1", "mlp_post:0", "resid_mid:2", "logits"])
def test_an_edit_must_keep_shape_dtype_and_kind(model: Model, text: str) -> None:
    wrongs: dict[str, Callable[[Tensor, Batch], object]] = {
        f"at {text} returned (": lambda value, batch: value[:1],
        "torch.float64": lambda value, batch: value.double(),
        "meta": lambda value, batch: value.to("meta"),
        "NoneType": lambda value, batch: None,
        "float": lambda value, batch: 0.0,
    }
    for said, apply in wrongs.items():
        edit = Edit(site(text), apply)  # type: ignore[arg-type]
        refused(model, lambda edit=edit: model.logits(BATCH, edits=[edit]), UsageError, said)  # type: ignore[misc]


def test_an_edit_that_raises_leaves_nothing_behind(model: Model) -> None:
    def fail(value: Tensor, batch: Batch) -> Tensor:
        raise ZeroDivisionError

    for text in ("resid_post:1", "pattern:1", "logits"):
        with pytest.raises(ZeroDivisionError):
            model.logits(BATCH, edits=[Edit(site(text), fail)])
        assert n_hooks(model.module) == 0
        assert attention_of(model) == "sdpa"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (zeroed("z:1"), zeroed("z:1")),
        (zeroed("z:1.h1"), zeroed("z:1")),
        (zeroed("z:1.h1"), zeroed("z:1.h1")),
        (zeroed("embed"), zeroed("resid_pre:0")),
        (zeroed("z:1.h1", from_left(0)), zeroed("z:1", span(0, 2))),
        (zeroed("resid_post:1", from_right(2)), zeroed("resid_post:1", from_left(0))),
        (zeroed("resid_post:1"), zeroed("resid_post:1", from_left(0))),
        (zeroed("logits"), zeroed("logits", from_left(0))),
    ],
)
def test_two_edits_of_one_place_are_refused_in_either_order(model: Model, one: Edit, other: Edit) -> None:
    for edits in ([one, other], [other, one]):
        said = ("two edits write at one place", str(one.site), str(other.site), "at=...")
        refused(model, lambda edits=edits: model.logits(BATCH, edits=edits), UsageError, *said)  # type: ignore[misc]


def test_edits_of_different_places_at_one_site_all_act(model: Model) -> None:
    whole = model.capture(BATCH, [site("resid_post:1"), site("z:1")]).values
    edits = [
        zeroed("resid_post:1", from_left(0)),
        zeroed("resid_post:1", from_right(0)),
        zeroed("z:1.h1"),
        zeroed("z:1.h2"),
    ]
    read = model.capture(BATCH, [site("resid_post:1"), site("z:1")], edits=edits).values
    assert not read[site("z:1")][:, :, 1:3].any()
    assert torch.equal(read[site("z:1")][:, :, [0, 3]], whole[site("z:1")][:, :, [0, 3]])
    is_zero = read[site("resid_post:1")].abs().sum(dim=-1) == 0
    assert is_zero.tolist() == [[True, False, False, True], [True, False, True, False]]


def test_capturing_a_pattern_runs_eagerly_for_that_run_only() -> None:
    module = DECODERS["llama"]()
    assert isinstance(module, LlamaForCausalLM)
    model = Model.open(module)
    seen: list[str] = []
    hook = module.model.layers[1].register_forward_hook(lambda *_: seen.append(module.config._attn_implementation))
    before = model.logits(BATCH)
    model.capture(BATCH, [site("pattern:1")], logits=True)
    assert torch.equal(model.logits(BATCH), before)
    hook.remove()
    assert seen == ["sdpa", "eager", "sdpa"]


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("output_attentions", "capture the site 'pattern'"),
        ("output_hidden_states", "capture the sites"),
        ("past_key_values", "model.generate"),
        ("use_cache", "model.generate"),
        ("input_ids", "Batch(input_ids, attention_mask)"),
        ("inputs_embeds", "edit the site 'embed'"),
        ("return_dict", "drop it"),
        ("weapons", "remove 'weapons'"),
    ],
)
def test_extra_inputs_that_decide_the_run_are_refused(model: Model, name: str, todo: str) -> None:
    batch = replace(BATCH, extra={name: torch.ones(2)})
    refused(model, lambda: model.logits(batch), UsageError, f"{name!r}", todo)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_model_whose_config_asks_for_attentions_opens_under_sdpa(name: str, tmp_path: Path) -> None:
    folder = saved(DECODERS[name](), tmp_path, output_attentions=True)
    model = Model.open(folder)
    assert isinstance(model.module, PreTrainedModel)
    assert model.module.config.output_attentions is True
    assert attention_of(model) == "sdpa"
    assert model.verification.failed == {}
    plain = DECODERS[name]()
    unpadded = Batch.from_rows([[5, 6, 7], [9, 10, 11]])
    assert torch.equal(model.logits(unpadded), plain(unpadded.input_ids).logits)
    assert model.capture(unpadded, [site("pattern:1")]).values[site("pattern:1")].shape == (2, 4, 3, 3)


def test_an_edit_at_a_site_that_failed_its_check_is_refused_with_its_error() -> None:
    module = DECODERS["gpt2"]()
    right = Model.open(module).component_map
    wrong: ComponentMap = right.updated(residual_multiplier=0.5)
    model = Model.open(module, component_map=wrong)
    for text in ("mlp_out:1", "head_out:1.h2", "resid_mid:0"):
        edit = zeroed(text)
        for run in (
            lambda edit=edit: model.logits(BATCH, edits=[edit]),
            lambda edit=edit: model.capture(BATCH, [edit.site]),
            lambda text=text: model.parse_sites(text),
            lambda edit=edit: model.gradients(BATCH, [edit.site], metric),
        ):
            refused(
                model, run, NotFoundError, f"site {text!r} of GPT2LMHeadModel failed its check", "relative error is"
            )
    assert model.capture(BATCH, [site("resid_post:1")]).values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("z:0.h4", "a head in 0..3"),
        ("k:0.h-5", "a head in 0..3"),
        ("mlp_post:0.n128", "a neuron in 0..127"),
        ("z:3", "a layer in 0..2"),
        ("z:0-3", "a layer in 0..2"),
        ("resid_post:1.h1", "resid_post has no heads"),
        ("z:1.n3", "z has no neurons"),
    ],
)
def test_selectors_out_of_range_are_refused(model: Model, text: str, said: str) -> None:
    refused(model, lambda: model.parse_sites(text), UsageError, text, said)


@pytest.mark.parametrize(
    "part", [{"kind": "z", "head": 4}, {"kind": "z", "head": -1}, {"kind": "mlp_post", "neuron": 128}]
)
def test_typed_sites_out_of_range_are_refused(model: Model, part: dict[str, object]) -> None:
    narrow = LayerComponent.parse({"layer": 0, **part})
    runs: list[Callable[[], object]] = [
        lambda: model.capture(BATCH, [narrow]),
        lambda: model.site_shape(narrow),
        lambda: model.logits(BATCH, edits=[Edit(narrow, lambda value, batch: value)]),
        lambda: model.generate(Batch.from_rows([[1, 2]]), max_new_tokens=1, sites=[narrow]),
    ]
    for run in runs:
        refused(model, run, UsageError, "0..")


def test_a_model_without_attention_says_so_when_asked_for_it() -> None:
    model = Model.open(OTHERS["mamba"]())
    assert model.n_heads == 0
    for text in ("z:0", "attn_out", "pattern:1", "head_out:0.h1", "blocks.1.attn.hook_pattern"):
        said = ("Mamba has no attention", "resid_post")
        refused(model, lambda text=text: model.parse_sites(text), NotFoundError, *said)  # type: ignore[misc]
    refused(model, lambda: model.capture(BATCH, [site("z:0")]), NotFoundError, "Mamba has no attention")
    refused(model, lambda: model.logits(BATCH, edits=[zeroed("pattern:0")]), NotFoundError, "Mamba has no attention")
    assert model.capture(BATCH, model.parse_sites("mixer:1")).values


@pytest.mark.parametrize(
    "site",
    [
        LayerComponent(kind="resid_post", layer=0, head=1),
        LayerComponent(kind="z", layer=0, neuron=1),
        LayerComponent(kind="attn.c_attn", layer=0, head=1),
    ],
    ids=str,
)
def test_a_part_that_a_site_has_not_is_refused(site: LayerComponent) -> None:
    model = Model.open(DECODERS["gpt2"]())
    with pytest.raises(UsageError, match=r"head|neuron"):
        model.capture(Batch.from_rows([[1, 2, 3]]), [site])
