"""What a lens is asked, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models.lens.places import PlaceChoice

__all__ = ["LensQuery", "LensResult"]


@dataclass(frozen=True, eq=False)
class LensQuery:
    """What to read through a lens.

    Args:
        at: "last" (the last real token of each row), "all" (every real token) or positions as edits take them. In
            pooled models there is one reading a row.
        targets: token ids whose log-probability and rank are wanted: one for all readings, or one each [n].
        top_k: how many of the likeliest tokens to name; 0 for none.
        keeps_logits: keep all logits, [sites n d_vocab] in memory.
    """

    at: PlaceChoice = "last"
    targets: int | Int[Tensor, "n"] | None = None
    top_k: int = 5
    keeps_logits: bool = False


@dataclass(frozen=True, eq=False)
class LensResult:
    """What streams predict through a lens, beside the model's output at the same readings. Observed, not causal.

    All tensors are on the model's device. Readings are ordered by row, then by column.

    Attributes:
        how: how the numbers were obtained, in words.
        sites: the streams read, in the order asked for.
        rows, columns: the row and column (padding counted) of each reading [n]; columns are None in pooled models.
        top_tokens: ids of the likeliest tokens, likeliest first [sites n top_k].
        top_log_probs: their log-probabilities in nats [sites n top_k].
        entropy: of the prediction, in nats [sites n]; in set models summed over the vocabulary's yes/no variables.
        kl_to_output: KL(model's output || lens) in nats [sites n].
        target_log_probs: log-probability of the targets, in nats [sites n]; None without targets.
        target_ranks: how many tokens have a strictly larger logit than the target; 0 is the top [sites n].
        logits: after scale and soft cap [sites n d_vocab]; None unless asked for.
        output_error: max |lens of the last stream - model's logits| / max |logits| in this forward.
    """

    how: str
    sites: tuple[LayerComponent, ...]
    rows: Int[Tensor, "n"]
    columns: Int[Tensor, "n"] | None
    top_tokens: Int[Tensor, "sites n top_k"]
    top_log_probs: Float[Tensor, "sites n top_k"]
    entropy: Float[Tensor, "sites n"]
    kl_to_output: Float[Tensor, "sites n"]
    target_log_probs: Float[Tensor, "sites n"] | None
    target_ranks: Int[Tensor, "sites n"] | None
    logits: Float[Tensor, "sites n d_vocab"] | None
    output_error: float

    @property
    def n_readings(self) -> int:
        """Logit vectors a site."""
        return len(self.rows)
