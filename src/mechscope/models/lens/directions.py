"""What a logit attribution explains: a token's logit, the difference of two, or any direction of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import BadDataError, UsageError
from mechscope.models.projections import projection_bias, projection_matrix, require_linear

__all__ = ["VocabularyDirection", "vocabulary_direction"]


@dataclass(frozen=True, eq=False)
class VocabularyDirection:
    """One direction w of the vocabulary a reading: what is explained is sum_v w_v logit_v.

    Attributes:
        tokens, signs: the tokens with their weights, [n tokens] and [tokens]; None where `weights` is given.
        weights: w as it stands [n d_vocab].
        words: what it is, in words.
    """

    tokens: Int[Tensor, "n tokens"] | None
    signs: tuple[float, ...]
    weights: Float[Tensor, "n d_vocab"] | None
    words: str

    def of(self, logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n"]:
        """sum_v w_v logits_v in float64."""
        if self.weights is not None:
            return (logits.double() * self.weights.double()).sum(dim=1)
        assert self.tokens is not None
        return logits.gather(1, self.tokens).double() @ torch.tensor(self.signs).to(logits.device, torch.float64)

    def magnitude(self, logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n"]:
        """sum_v |w_v logits_v| in float64: what `of` loses digits against when its terms cancel."""
        if self.weights is not None:
            return (logits.double() * self.weights.double()).abs().sum(dim=1)
        assert self.tokens is not None
        return logits.gather(1, self.tokens).double().abs().sum(dim=1)

    def in_stream(self, unembedding: torch.nn.Module) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, "n"]]:
        """W_U w and b_U w in float64, without the logit scale. Raises UsageError when W_U cannot be read."""
        require_linear(unembedding)
        matrix, bias = projection_matrix(unembedding).detach(), projection_bias(unembedding)
        row = bias.detach() if isinstance(bias, Tensor) else matrix.new_zeros(matrix.shape[1])
        if self.weights is not None:
            wide = self.weights.to(matrix.device, torch.float64)
            return wide @ matrix.double().T, wide @ row.double()
        assert self.tokens is not None
        signs = torch.tensor(self.signs).to(matrix.device, torch.float64)
        columns = matrix.T[self.tokens].double()  # [n tokens d_model]
        return torch.einsum("ntd,t->nd", columns, signs), row[self.tokens].double() @ signs


def vocabulary_direction(
    target: int | Int[Tensor, "*n"] | Float[Tensor, "*n d_vocab"],
    against: int | Int[Tensor, "*n"] | None,
    *,
    n_readings: int,
    d_vocab: int,
    device: torch.device,
) -> VocabularyDirection:
    """The direction of each reading.

    Args:
        target: a token id for all readings, one each [n], or weights over the vocabulary [d_vocab] or [n d_vocab].
        against: a token id, or one each, whose logit is taken away; not with weights.

    Raises:
        UsageError: shapes that do not fit, or `against` beside weights.
        BadDataError: token ids outside the vocabulary, or weights that are not finite.
    """
    if isinstance(target, Tensor) and target.dtype.is_floating_point:
        if against is not None:
            raise UsageError(
                "`against` beside a direction", expected="one of them", todo="take the token away in the weights"
            )
        weights = target.to(device).expand(n_readings, -1) if target.ndim == 1 else target.to(device)
        if weights.shape != (n_readings, d_vocab):
            raise _misfit(target, n_readings, f"[{d_vocab}] or [{n_readings} {d_vocab}]")
        if not bool(torch.isfinite(weights).all()):
            raise BadDataError("a direction with NaN or infinite weights", expected="finite numbers", todo="mend it")
        return VocabularyDirection(None, (), weights, "a direction of the vocabulary")
    tokens = [_token_ids(given, n_readings, d_vocab) for given in (target, against) if given is not None]
    words = "the logit of a token" if against is None else "the difference of two tokens' logits"
    return VocabularyDirection(torch.stack(tokens, dim=1).to(device), (1.0, -1.0)[: len(tokens)], None, words)


def _token_ids(given: int | Tensor, n_readings: int, d_vocab: int) -> Int[Tensor, "n"]:
    ids = torch.as_tensor(given, dtype=torch.int64)
    ids = ids.expand(n_readings) if ids.ndim == 0 else ids
    if ids.shape != (n_readings,):
        raise _misfit(ids, n_readings, f"one token id, or [{n_readings}]")
    if bool(((ids < 0) | (ids >= d_vocab)).any()):
        raise BadDataError(
            f"token ids in {int(ids.min())}..{int(ids.max())}",
            expected=f"0..{d_vocab - 1}",
            todo="use the tokenizer that belongs to the model",
        )
    return ids


def _misfit(given: Tensor, n_readings: int, expected: str) -> UsageError:
    return UsageError(
        f"a target of shape {tuple(given.shape)} for {n_readings} readings",
        expected=expected,
        todo="pass one target for all readings, or one each, ordered by row and then by column",
    )
