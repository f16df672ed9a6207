"""Tiny models of every family whose head is linear, each with a batch that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from mechscope.core import BadDataError, UsageError
from mechscope.models import Batch, ComponentMap, Model
from mechscope.models.set_transformer import SetTransformerConfig, build_from_config
from mechscope.testing.zoo import DECODERS, perturb
from mechscope.testing.zoo.others import OTHERS

WITH_HEADS = [*DECODERS, "t5", "t5-gated", "vit", "set"]
LINEAR = [*WITH_HEADS, "mamba"]
NOT_LINEAR = ["bert", "roberta", "xlm_roberta", "camembert", "distilbert", "electra"]


@dataclass(frozen=True, eq=False)
class Case:
    """A model, a batch of two rows of one length for it, and two of its output ids."""

    name: str
    model: Model
    batch: Batch
    target: int = 1
    against: int = 3

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The batch as the bare module takes it."""
        if self.name == "vit":
            return dict(self.batch.extra)
        return {
            "input_ids": self.batch.input_ids,
            **({} if self.name == "mamba" else {"attention_mask": self.batch.attention_mask}),
            **self.batch.extra,
        }


def _set_module() -> nn.Module:
    sizes = SetTransformerConfig(d_vocab=20, n_weapons=5, d_model=16, d_mlp=24, n_inducing=4, pad_token_id=19)
    module = build_from_config(sizes)
    perturb(module, torch.Generator().manual_seed(3))
    return module.eval()


def _batch(name: str, generator: torch.Generator) -> Batch:
    rows = torch.randint(2, 19, (2, 6), generator=generator).tolist()
    batch = Batch.from_rows(rows)
    if name == "vit":
        return Batch.from_values({"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)})
    if name.startswith("t5"):
        more = {"decoder_input_ids": torch.randint(2, 60, (2, 4), generator=generator)}
    else:
        more = {"weapon_ids": torch.tensor([1, 4])} if name == "set" else {}
    return Batch(batch.input_ids, batch.attention_mask, more)


@cache
def _opened(name: str) -> Model:
    module = _set_module() if name == "set" else {**DECODERS, **OTHERS}[name]()
    return Model.open(module, verify=False)  # the lens measures for itself what it needs


@pytest.fixture(scope="session")
def opened() -> Callable[[str], Case]:
    """A case by the name that the zoo has for its model."""

    def make(name: str) -> Case:
        return Case(name, _opened(name), _batch(name, torch.Generator().manual_seed(11)))

    return make


@pytest.fixture(params=LINEAR)
def case(request: pytest.FixtureRequest, opened: Callable[[str], Case]) -> Case:
    """Each family with a linear head in turn."""
    return opened(request.param)


@pytest.fixture(params=WITH_HEADS)
def headed_case(request: pytest.FixtureRequest, opened: Callable[[str], Case]) -> Case:
    """Each family with a linear head and attention in turn."""
    return opened(request.param)


@pytest.fixture(params=NOT_LINEAR)
def nonlinear_case(request: pytest.FixtureRequest, opened: Callable[[str], Case]) -> Case:
    """Each family with a head that is not linear in turn."""
    return opened(request.param)


class AffineBlock(nn.Module):
    """A block that adds an affine image of the stream to it, so that the stream after it is an affine image too."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.mlp = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.mlp(x)
        return found


class AffineNet(nn.Module):
    """Embedding, affine blocks, final norm, unembedding: every stream is an affine image of every later one."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(13, 8)
        self.layers = nn.ModuleList(AffineBlock(8) for _ in range(2))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 13)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.head(self.norm(x))
        return found


AFFINE_MAP = ComponentMap(
    kind="causal_lm", blocks="layers", embedding="table", mlp="mlp", mlp_projection="mlp",
    final_norm="norm", unembedding="head",
)  # fmt: skip


@pytest.fixture
def affine_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        module = AffineNet()
    perturb(module, torch.Generator().manual_seed(2))
    return module.eval()


@pytest.fixture
def affine_map() -> ComponentMap:
    return AFFINE_MAP


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """Assert that a call is refused as the caller's or the data's fault, with some words."""

    def check(words: str, call: Callable[[], object]) -> None:
        with pytest.raises((UsageError, BadDataError), match=words):
            call()

    return check
