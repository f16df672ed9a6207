"""What a vector of logits predicts, held against the model's own output; all in nats and float32.

    one of the vocabulary   log p = log softmax(l)        H = -sum p log p       KL = sum q (log q - log p)
    each token yes or no    log p = log sigmoid(l)        H and KL summed over the vocabulary's yes/no variables

q is the model's output and p the lens, as in Belrose et al. 2023 (arXiv 2303.08112), section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mechscope.core import BadDataError, UsageError
from mechscope.models.model import Model

__all__ = ["Vocabulary", "require_finite", "vocabulary_of"]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """How logits are to be understood.

    Attributes:
        is_exclusive: one token of the vocabulary comes true, and not any number of them.
        counted: which entries take part in the sums [d_vocab]; None for all.
    """

    is_exclusive: bool
    counted: Bool[Tensor, "d_vocab"] | None = None

    def log_probs(self, logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n d_vocab"]:
        """log p of each token."""
        logits = logits.float()
        return logits.log_softmax(dim=-1) if self.is_exclusive else logsigmoid(logits)

    def entropy(self, logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n"]:
        """H(p)."""
        return self._sum(-own.exp() * own for own in self._outcomes(logits))

    def divergence(self, output: Float[Tensor, "n d_vocab"], logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n"]:
        """KL(output || lens), not below zero but for rounding."""
        pairs = zip(self._outcomes(output), self._outcomes(logits), strict=True)
        return self._sum(told.exp() * (told - seen) for told, seen in pairs)

    def _outcomes(self, logits: Tensor) -> list[Tensor]:
        yes = self.log_probs(logits)
        return [yes] if self.is_exclusive else [yes, logsigmoid(-logits.float())]

    def _sum(self, terms: Iterable[Tensor]) -> Tensor:
        total = torch.stack([*terms]).sum(dim=0)
        return (total if self.counted is None else total[:, self.counted]).sum(dim=-1)


def vocabulary_of(model: Model) -> Vocabulary:
    """What the model's logits mean.

    Raises:
        UsageError: a module whose outputs have no known meaning.
    """
    if model.kind == "module":
        raise UsageError(
            f"predictions of {model.name}, whose outputs have no known meaning",
            expected="a component map with another kind than 'module'",
            todo="set 'kind' in the component map: 'causal_lm', 'masked_lm', 'set' or 'classifier'",
        )
    if model.kind != "set":
        return Vocabulary(is_exclusive=True)
    counted = torch.ones(model.d_vocab, dtype=torch.bool, device=model.device)
    counted[list(model.component_map.loss_excluded_ids)] = False
    return Vocabulary(is_exclusive=False, counted=counted)


def require_finite(logits: Tensor, what: str) -> None:
    """Raise BadDataError when a logit is NaN or infinite."""
    if not bool(torch.isfinite(logits).all()):
        raise BadDataError(
            f"{what} has NaN or infinite logits", expected="finite logits", todo="look at the model's weights and dtype"
        )
