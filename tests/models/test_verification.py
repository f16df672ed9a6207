from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from mechscope.core import LayerComponent, NotFoundError, UsageError
from mechscope.models import Batch, ComponentMap, Model, Tap, Verification
from mechscope.models.lens import logit_lens
from mechscope.testing.zoo import OTHERS

Bare = Callable[[str], nn.Module]


def wrong(module: nn.Module, **changes: Any) -> Model:
    right = Model.open(module).component_map
    return Model.open(module, component_map=right.updated(**changes))


def failed_kinds(model: Model) -> set[str]:
    return {site.partition(":")[0] for site in model.verification.failed}


def test_rows_say_what_was_measured(bare: Bare) -> None:
    verification = Model.open(bare("gpt2")).verification
    names = {check.name for check in verification.checks}
    identities = {"heads", "neurons", "middle", "stream", "chain", "norm", "output", "apart", "weights", "mix", "eager"}
    assert names == identities | {"padding", "null", "live"}
    measured = [check for check in verification.checks if check.tolerance is not None]
    assert all(check.error is not None and check.error <= 1e-5 == check.tolerance for check in measured)
    assert Verification.parse(verification.to_json()) == verification


@pytest.mark.parametrize(
    ("name", "changes", "refused", "standing"),
    [
        (
            "gpt_neox",
            {"parallel_blocks": False},
            {"resid_mid", "attn_out", "head_out"},
            {"resid_post", "mlp_post", "z"},
        ),
        ("gpt2", {"mlp": "ln_2"}, {"mlp_out", "mlp_post"}, {"attn_out", "head_out", "resid_mid", "resid_post"}),
        ("gpt2", {"attention": "ln_1"}, {"attn_out", "head_out"}, {"mlp_out", "mlp_post", "resid_post"}),
        ("gpt2", {"attention_projection": "mlp.c_fc"}, {"head_out"}, {"attn_out", "mlp_out"}),
        ("gpt2", {"final_norm": "transformer.drop"}, {"final_norm"}, {"attn_out", "mlp_out", "z"}),
        ("gpt2", {"unembedding": "transformer.wte"}, {"final_norm"}, {"attn_out", "mlp_out", "logits"}),
        ("gpt2", {"mlp": "mlp.c_fc"}, {"mlp_out"}, {"attn_out", "z", "resid_post"}),
        ("llama", {"mlp_projection": "mlp.up_proj"}, {"mlp_post"}, {"mlp_out", "z"}),
        ("bert", {"attention_norm_after": "output.LayerNorm"}, {"head_out"}, {"attn_out", "mlp_out"}),
        (
            "bert",
            {"attention_returns_stream": False, "mlp_returns_stream": False},
            {"attn_out", "mlp_out"},
            {"resid_post"},
        ),
        ("set", {"pooled": {"module": "token_embedding"}}, {"pooled"}, {"resid_post", "attn_out"}),
        ("set", {"attention_projection": "attention.gather_output"}, {"head_out"}, {"attn_out"}),
    ],
)
def test_a_wrong_map_is_caught_and_the_rest_stays(
    name: str, changes: dict[str, Any], refused: set[str], standing: set[str], bare: Bare
) -> None:
    model = wrong(bare(name), **changes)
    assert refused <= failed_kinds(model)
    assert not standing & failed_kinds(model)
    assert not refused & {site.kind for site in model.sites()}


@pytest.mark.parametrize("seed", range(4))
def test_heads_that_add_little_beside_the_stream_are_told_from_rounding(seed: int) -> None:
    """An untrained post-norm model's attention adds 1/200 of the stream; float32 rounds at 1e-5 of so little."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(seed)
    module = BertForMaskedLM(BertConfig(vocab_size=50, max_position_embeddings=24, **sizes))
    right = Model.open(module)
    assert right.verification.failed == {}
    assert "head_out" in failed_kinds(wrong(module, attention_norm_after="output.LayerNorm"))
    assert "head_out" in failed_kinds(wrong(module, attention_projection="attention.self.value"))
    exact = Model.open(module.double()).verification
    assert exact.failed == {}
    assert max(check.error or 0 for check in exact.checks if check.name == "heads") < 1e-14


def test_a_refused_site_is_named_with_its_error(bare: Bare) -> None:
    model = wrong(bare("gpt2"), mlp="ln_2")
    with pytest.raises(NotFoundError, match=r"'mlp_out:1' of GPT2LMHeadModel failed.*relative error is \d"):
        model.parse_sites("mlp_out:1")
    assert model.parse_sites("resid_post:1") == [LayerComponent(kind="resid_post", layer=1)]


def test_a_module_that_is_never_called_is_refused_by_name(bare: Bare) -> None:
    module = bare("gpt2")
    module.spare = nn.LayerNorm(32)
    model = wrong(module, final_norm="spare")
    assert "'spare' was not called" in model.verification.failed["final_norm"]


class Scaled(nn.Module):
    """Adds half of what its sublayers give, overwrites the sum in place, and has learnt absolute positions."""

    def __init__(self, *, overwrites: bool = False, half: float = 1.0) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(9, 8), nn.Embedding(16, 8)
        self.blocks = nn.ModuleList(nn.ModuleDict({"mlp": nn.Linear(8, 8), "mix": nn.Linear(8, 8)}) for _ in range(2))
        for block in self.blocks:
            block.forward = self.block_forward(block, overwrites, half)
        self.head = nn.Linear(8, 9)

    def block_forward(self, block: nn.Module, overwrites: bool, half: float) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            attention = block.get_submodule("mix")(x)
            mlp = block.get_submodule("mlp")(torch.tanh(x))
            if overwrites:
                mlp += attention
                found: Tensor = x + mlp
                return found
            scaled: Tensor = x + half * attention + half * mlp
            return scaled

        return forward

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.table(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.head(x)
        return found


SCALED_MAP = ComponentMap(
    blocks="blocks", embedding="table", unembedding="head", attention="mix", mlp="mlp", parallel_blocks=True
)


def test_a_branch_that_is_scaled_before_it_is_added_is_refused() -> None:
    torch.manual_seed(0)
    model = Model.open(Scaled(half=0.5), component_map=SCALED_MAP)
    assert failed_kinds(model) >= {"attn_out", "mlp_out"}
    assert not failed_kinds(model) & {"resid_pre", "resid_post", "embed"}


def test_a_network_that_writes_in_place_is_found_and_its_captures_are_copied() -> None:
    torch.manual_seed(0)
    module = Scaled(overwrites=True)
    model = Model.open(module, component_map=SCALED_MAP)
    assert model.verification.failed == {}
    assert any("in place" in note for note in model.notes)
    batch = Batch.from_rows([[1, 2, 3]])
    sites = model.parse_sites("resid_pre:0,mlp_out:0")
    values = model.capture(batch, sites, logits=True).values
    with torch.no_grad():
        told = module.blocks[0].get_submodule("mlp")(torch.tanh(values[sites[0]]))
    assert torch.equal(values[sites[1]], told)


def test_left_padding_that_moves_values_is_measured_and_then_refused() -> None:
    torch.manual_seed(0)
    model = Model.open(Scaled(), component_map=SCALED_MAP)
    assert any("left padding moves values" in note for note in model.notes)
    model.logits(Batch.from_rows([[1, 2], [3]], side="right"))
    with pytest.raises(UsageError, match="left-padded batch for Scaled"):
        model.logits(Batch.from_rows([[1, 2], [3]], side="left"))


def test_without_checks_only_unreachable_sites_are_refused(bare: Bare) -> None:
    module = bare("gpt2")
    right = Model.open(module).component_map
    model = Model.open(module, component_map=right.updated(mlp="ln_2"), verify=False)
    assert not model.verification.was_run
    assert model.verification.failed == {}


def test_a_map_that_is_wrong_about_heads_is_caught(bare: Bare) -> None:
    """Each changes only where queries, keys, values or MLP inputs are looked for."""
    written = Model.open(bare("gpt2")).component_map
    assert written.query is not None
    assert written.key is not None
    assert written.value is not None
    swapped = {"query": written.key, "key": written.query}
    assert failed_kinds(wrong(bare("gpt2"), **swapped)) == {"q", "k"}
    exchanged = {"key": written.value, "value": written.key}
    assert "v" in failed_kinds(wrong(bare("gpt2"), **exchanged))
    mixed = {"query": written.query.updated(start=4, stop=36)}
    assert failed_kinds(wrong(bare("gpt2"), **mixed)) == {"q"}
    grouped = Model.open(bare("llama")).component_map
    assert grouped.key is not None
    assert "k" in failed_kinds(wrong(bare("llama"), key=grouped.key.updated(n_heads=4)))
    elsewhere = Tap(module="ln_2", at="output")
    assert failed_kinds(wrong(bare("gpt2"), mlp_pre=elsewhere)) == {"mlp_pre"}
    assert failed_kinds(wrong(bare("gpt2"), attention_core="mlp")) == {"pattern"}


class WithFloat32Logits(nn.Module):
    """A network whose last step is to put its logits into float32, as many do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.inner(tokens).float()
        return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_logits_of_a_coarser_network_are_held_to_its_own_rounding(
    dtype: torch.dtype, bare: Bare, plain_map: ComponentMap
) -> None:
    ends = ("blocks", "embedding", "final_norm", "unembedding")
    component_map = plain_map.updated(**{end: f"inner.{getattr(plain_map, end)}" for end in ends}, kind="causal_lm")
    module = WithFloat32Logits(bare("plain").to(dtype)).eval()
    model = Model.open(module, component_map=component_map)
    assert model.logits(Batch.from_rows([[1, 2, 3]])).dtype == torch.float32
    assert model.verification.failed == {}
    assert {check.tolerance for check in model.verification.checks} == {None, 4e-2 if dtype == torch.bfloat16 else 5e-3}
    assert logit_lens(model, Batch.from_rows([[1, 2, 3]])).output_error < 1e-2
    assert "mlp_out" in failed_kinds(Model.open(module, component_map=component_map.updated(mlp="norm2")))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_stream_in_float32_reaches_an_unembedding_in_another_dtype(dtype: torch.dtype) -> None:
    model = Model.open(OTHERS["mamba"]().to(dtype))
    batch = Batch.from_rows([[5, 6, 7]])
    assert model.capture(batch, "resid_post:0")["resid_post:0"].dtype == torch.float32
    assert model.verification.failed == {}
    assert logit_lens(model, batch).output_error < 1e-2


class PostNorm(nn.Module):
    """Blocks in which a norm follows each sum, by torch's own layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 50)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.head(self.stack(self.table(input_ids), src_key_padding_mask=attention_mask == 0))
        return found


def test_the_middle_of_a_block_falls_with_the_sum_where_nothing_else_checks_it() -> None:
    component_map = ComponentMap(
        kind="masked_lm", blocks="stack.layers", embedding="table", unembedding="head",
        attention="self_attn", mlp="linear2", mlp_projection="linear2", mlp_pre=Tap(module="linear1"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = Model.open(PostNorm(), component_map=component_map)
    assert failed_kinds(model) == {"attn_out", "mlp_out", "resid_mid"}
    with pytest.raises(NotFoundError, match=r"'resid_mid:0' of PostNorm failed its check: stream"):
        model.parse_sites("resid_mid:0")
