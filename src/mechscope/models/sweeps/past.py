"""Keys and values of positions that no edit reaches: recorded in the clean run, put before those of every variant.

Both classes answer what transformers asks of a cache (`update`, lengths, mask sizes). Sliding windows are left to the
masks: nothing is ever dropped, so that every layer sees all positions that its mask allows.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mechscope.models.batch import Batch
from mechscope.models.inputs import NOT_PASSED
from mechscope.models.network import Network

__all__ = ["Past", "RecordedPast", "can_reuse_past"]

ATTENTION_TYPES = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


def can_reuse_past(network: Network, batch: Batch) -> bool:
    """Whether a network is causal, takes a cache, and keeps nothing between positions but keys and values.

    Not for batches with extra inputs, of which nothing says what belongs to which position.
    """
    if set(batch.extra) - NOT_PASSED:
        return False
    takes_cache = {"past_key_values", "use_cache"} <= network.signature.names
    kinds = getattr(getattr(network.module, "config", None), "layer_types", None) or ()
    return network.component_map.kind == "causal_lm" and takes_cache and set(kinds) <= ATTENTION_TYPES


class _Cache:
    """What transformers reads of a cache; `length` counts the positions that each layer holds."""

    is_compileable = False

    def __init__(self, n_layers: int, length: int) -> None:
        self.lengths = [length] * n_layers
        self.is_sliding = [False] * n_layers

    def __len__(self) -> int:
        return len(self.lengths)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of positions held by a layer."""
        return self.lengths[layer_idx]

    get_query_offset = get_seq_length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No limit."""
        return -1

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Length and offset of the keys that a layer will show."""
        return self.lengths[layer_idx] + query_length, 0


class RecordedPast(_Cache):
    """Keeps the keys and values [1 n_heads pos d_head] of one clean row, by layer."""

    def __init__(self, n_layers: int) -> None:
        super().__init__(n_layers, 0)
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layers

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Record what a layer made."""
        self.layers[layer_idx] = keys, values
        self.lengths[layer_idx] = keys.shape[-2]
        return keys, values

    def is_complete(self, n_tokens: int) -> bool:
        """Whether every layer was recorded at every position."""
        return all(kept is not None and kept[0].shape[-2] == kept[1].shape[-2] == n_tokens for kept in self.layers)


class Past(_Cache):
    """The first `length` positions of a recorded row, for as many rows as a layer has when it asks."""

    def __init__(self, recorded: RecordedPast, length: int) -> None:
        super().__init__(len(recorded), length)
        self.recorded = recorded
        self.length = length

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The recorded keys and values with those of the rows behind them."""
        kept = self.recorded.layers[layer_idx]
        assert kept is not None
        self.lengths[layer_idx] = self.length + keys.shape[-2]
        if self.length == 0:
            return keys, values
        return _behind(kept[0][..., : self.length, :], keys), _behind(kept[1][..., : self.length, :], values)


def _behind(past: Tensor, rows: Tensor) -> Tensor:
    joined = rows.new_empty(*rows.shape[:-2], past.shape[-2] + rows.shape[-2], rows.shape[-1])
    joined[..., : past.shape[-2], :] = past
    joined[..., past.shape[-2] :, :] = rows
    return joined
