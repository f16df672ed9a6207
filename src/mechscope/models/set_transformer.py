"""A small set-completion transformer: which tokens does the whole set have, given some of them?

    x_0       = token embedding + weapon embedding (the same for every token of a row)
    per block:  x = x + output(attend(norm(x)))           attention through inducing points
                x = x + down(gelu(up(norm(x))))           MLP
    pooled    = masked mean over tokens of final_norm(x)
    logits    = W pooled + b                              one independent yes/no a vocabulary token

Attention goes through m learnt inducing points I, as in the induced set attention block of Lee et al. 2019, "Set
Transformer", section 3.1: h = norm(I + attention(I, x, x)), then attention(x, h, h). We differ in that the blocks are
pre-norm residual blocks, so that resid_pre + attn_out + mlp_out = resid_post, and in that the inner feed-forward
layer is left out. No position enters anywhere, so that the order of tokens and the padding cannot matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mechscope.core import BadDataError, NotFoundError, Spec, UsageError, read_mapping
from mechscope.models.turns import turn

__all__ = ["MaskedMean", "SetTransformer", "SetTransformerConfig", "build_from_config", "load_set_transformer"]


class SetTransformerConfig(Spec):
    """Sizes of a set transformer; what `config.json` holds."""

    model_type: Literal["mechscope_set"] = "mechscope_set"
    d_vocab: int = 140
    n_weapons: int = 130
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_mlp: int = 128
    n_inducing: int = 8
    pad_token_id: int = 139
    norm_epsilon: float = 1e-5


class InducedAttention(nn.Module):
    """Every token attends to inducing points that have attended to every token. Cost: batch x pos x n_inducing."""

    def __init__(self, config: SetTransformerConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.n_heads = config.n_heads
        self.inducing = nn.Parameter(torch.randn(config.n_inducing, d_model) * d_model**-0.5)
        self.gather_query = nn.Linear(d_model, d_model)
        self.gather_key_value = nn.Linear(d_model, 2 * d_model)
        self.gather_output = nn.Linear(d_model, d_model)
        self.inducing_norm = nn.LayerNorm(d_model, eps=config.norm_epsilon)
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], is_token: Int[Tensor, "batch pos"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the sublayer adds to the residual stream."""
        inducing = self.inducing.expand(len(x), -1, -1)
        key, value = self.gather_key_value(x).chunk(2, dim=-1)
        gathered = self._attend(self.gather_query(inducing), key, value, is_token[:, None, None, :].bool())
        summary = self.inducing_norm(inducing + self.gather_output(gathered))
        key, value = self.key_value(summary).chunk(2, dim=-1)
        added: Tensor = self.output(self._attend(self.query(x), key, value, None))
        return added

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        heads = [part.reshape(*part.shape[:2], self.n_heads, -1).transpose(1, 2) for part in (query, key, value)]
        mixed = scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=allowed)
        return mixed.transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Two linear maps with a GELU between them; `activation` outputs the neurons (site `mlp_post`)."""

    def __init__(self, config: SetTransformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_mlp)
        self.activation = nn.GELU()
        self.down = nn.Linear(config.d_mlp, config.d_model)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the sublayer adds to the residual stream."""
        added: Tensor = self.down(self.activation(self.up(x)))
        return added


class SetBlock(nn.Module):
    """A pre-norm residual block: attention, then MLP."""

    def __init__(self, config: SetTransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.attention = InducedAttention(config)
        self.mlp_norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.mlp = Mlp(config)

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], is_token: Int[Tensor, "batch pos"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """resid_post from resid_pre."""
        x = x + self.attention(self.attention_norm(x), is_token)
        post: Tensor = x + self.mlp(self.mlp_norm(x))
        return post


class MaskedMean(nn.Module):
    """The mean over the real tokens of each row; its output is the site `pooled`."""

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], is_token: Int[Tensor, "batch pos"]
    ) -> Float[Tensor, "batch d_model"]:
        """Rows without any token give zeros."""
        weight = is_token.to(x.dtype)
        total = torch.einsum("bpd,bp->bd", x, weight)
        return total / weight.sum(dim=1, keepdim=True).clamp(min=1)


class SetTransformer(nn.Module):
    """Completes sets: logits over the vocabulary for the whole set, from some of its tokens and its weapon."""

    def __init__(self, config: SetTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.d_vocab, config.d_model)
        self.weapon_embedding = nn.Embedding(config.n_weapons, config.d_model)
        self.blocks = nn.ModuleList(SetBlock(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.pooling = MaskedMean()
        self.output = nn.Linear(config.d_model, config.d_vocab)

    def forward(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"],
        weapon_ids: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch d_vocab"]:
        """Logits of "the whole set has this token"; order of tokens and padding do not matter."""
        x = self.token_embedding(input_ids) + self.weapon_embedding(weapon_ids)[:, None, :]
        for block in self.blocks:
            x = block(x, attention_mask)
        logits: Tensor = self.output(self.pooling(self.final_norm(x), attention_mask))
        return logits


def build_from_config(config: SetTransformerConfig, *, seed: int = 0) -> SetTransformer:
    """An untrained model: weights drawn from `seed` alone (the global generator is left as it was).

    Raises:
        UsageError: `n_heads` does not divide `d_model`, or a size is not positive.
    """
    sizes = config.model_dump(exclude={"model_type", "pad_token_id", "norm_epsilon"})
    if wrong := [name for name, size in sizes.items() if size < 1]:
        raise UsageError(f"{wrong[0]} is {sizes[wrong[0]]}", expected="a positive size", todo="correct the config")
    if config.d_model % config.n_heads:
        raise UsageError(
            f"d_model {config.d_model} and n_heads {config.n_heads}",
            expected="n_heads that divides d_model",
            todo="change one of them",
        )
    with turn(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SetTransformer(config)


def load_set_transformer(folder: Path) -> SetTransformer:
    """The model in a folder (config.json, model.safetensors), in float32 and evaluation mode.

    Raises:
        NotFoundError: no config.json or model.safetensors there.
        UsageError: config.json holds something else.
        BadDataError: weights that are damaged or do not fit the config.
    """
    weights = folder / "model.safetensors"
    config = SetTransformerConfig.parse(read_mapping(folder / "config.json"), where=str(folder / "config.json"))
    if not weights.is_file():
        raise NotFoundError(f"no {weights.name} in {folder}", expected="a model folder", todo="check the path")
    model = build_from_config(config)
    try:
        state = {name: tensor.float() for name, tensor in load_file(weights).items()}
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        first = str(error).split("\n", 2)
        raise BadDataError(
            f"{weights} does not hold this model: {' '.join(part.strip() for part in first[:2])}",
            expected="the weights that belong to the config.json beside it",
            todo="copy or train the model again",
        ) from error
    return model.eval()
