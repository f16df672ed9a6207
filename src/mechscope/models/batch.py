"""Batches of rows for a model, and what a run over one gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, UsageError, UserError, parse_sites, unknown_name

__all__ = ["DECODER_IDS", "DECODER_MASK", "Batch", "Capture", "Grammar", "reads_encoder"]

DECODER_IDS = "decoder_input_ids"
DECODER_MASK = "decoder_attention_mask"
MANY = 1000  # layers, for a capture that no model made
Grammar: TypeAlias = Callable[[str], list[LayerComponent]]  # what a model takes a selector for


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of tokens, padded to one length on either side; or rows of values (images), made by `from_values`.

    Args:
        input_ids: token ids, int64 [batch pos]; what stands in padded places is never looked at. Of an
            encoder-decoder they are the encoder's.
        attention_mask: 1 for a real token and 0 for padding, integer [batch pos]; each row has a real token, and no
            padding between its real tokens.
        extra: further inputs by the name that the model's `forward` gives them, for example
            `{"weapon_ids": [batch]}`. The decoder's tokens of an encoder-decoder are `decoder_input_ids` [batch pos2]
            with, if they are padded, `decoder_attention_mask`; they are passed as they stand, nothing is shifted.
            `labels` ([batch pos], [batch pos2] or [batch]) is kept for the loss and never passed on.
        targets: the complete sets as multi-hot rows, for set models.
        n_before: how many real tokens of each row came before these, [batch]; a step of a generation has them.
        n_to_come: how many tokens a generation may still add to each row; a position among them is no fault yet.

    Raises:
        BadDataError: shapes that do not agree, ids that are not int64, a mask with other values than 0 and 1,
            a row without a real token or with padding between two (the same for the decoder's), extra or targets with
            NaN or another number of rows. Values are looked at on the CPU only.
    """

    input_ids: Tensor  # shapes and dtypes are checked below, with an error that says what to do
    attention_mask: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    targets: Float[Tensor, "batch d_vocab"] | None = None
    n_before: Int[Tensor, "batch"] | None = None
    n_to_come: int = 0

    def __post_init__(self) -> None:
        _require_tokens(self.input_ids, self.attention_mask)
        named = dict(self.extra) if self.targets is None else {**self.extra, "targets": self.targets}
        for name, tensor in named.items():
            if tensor.ndim == 0 or tensor.shape[0] != self.n_rows:
                raise _bad(f"{name} has shape {tuple(tensor.shape)}", f"{self.n_rows} rows")
            is_looked_at = tensor.device.type == "cpu" and tensor.dtype.is_floating_point
            if is_looked_at and not bool(torch.isfinite(tensor).all()):
                raise _bad(f"{name} has NaN or infinite values", "finite numbers")
        if DECODER_IDS in self.extra:
            ids = self.extra[DECODER_IDS]
            _require_tokens(ids, self.extra.get(DECODER_MASK, torch.ones_like(ids)), prefix="decoder_")
        elif DECODER_MASK in self.extra:
            raise _bad(f"{DECODER_MASK} without {DECODER_IDS}", "both, or neither")

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[Sequence[int]] | Int[Tensor, "batch pos"],
        *,
        pad_id: int = 0,
        side: Literal["left", "right"] = "right",
    ) -> Batch:
        """A batch of rows of token ids (lists, arrays, or a tensor without padding), padded with `pad_id` on a side.

        Raises:
            UsageError: no rows, a single row, ids that are not integers, or an unknown side.
            BadDataError: a row without a token.
        """
        if side not in {"left", "right"}:
            raise UsageError(f"padding on the side {side!r}", expected="'left' or 'right'", todo="correct `side`")
        if (n_axes := getattr(rows, "ndim", 2)) != 2:
            raise _not_rows(f"a {type(rows).__name__} of {n_axes} axes")
        found = [_row_of_ids(row, index) for index, row in enumerate(rows)]
        if not found:
            raise UsageError("a batch of no rows", expected="at least one row", todo="pass some rows")
        width = max(map(len, found))
        ids = torch.full((len(found), width), pad_id, dtype=torch.int64)
        mask = torch.zeros((len(found), width), dtype=torch.int64)
        for index, row in enumerate(found):
            place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            ids[index, place] = row
            mask[index, place] = 1
        return cls(ids, mask)

    @classmethod
    def from_values(cls, values: Mapping[str, Tensor]) -> Batch:
        """A batch for a model without tokens: real-valued inputs [batch ...] by the names in the map's `value_inputs`.

        `input_ids` [batch 1] of zeros and a mask of ones stand in for the tokens; they are not passed to the model.

        Example: `Batch.from_values({"pixel_values": images})`, images [batch 3 height width].
        """
        if not values or any(tensor.ndim == 0 or len(tensor) == 0 for tensor in values.values()):
            raise UsageError("a batch of no rows", expected="tensors with at least one row", todo="pass some rows")
        first = next(iter(values.values()))
        blank = torch.zeros((len(first), 1), dtype=torch.int64, device=first.device)
        return cls(blank, torch.ones_like(blank), dict(values))

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.input_ids.shape[0]

    @property
    def position_ids(self) -> Int[Tensor, "batch pos"]:
        """The place of each real token among the real tokens of its row, from 0; padding repeats its neighbour's."""
        places = (self.attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        return places if self.n_before is None else places + self.n_before[:, None]

    @property
    def decoder(self) -> Batch:
        """An encoder-decoder's batch from the side of its decoder: its tokens, its mask, and what else is in `extra`.

        Raises UsageError when the batch has no `decoder_input_ids`.
        """
        if DECODER_IDS not in self.extra:
            raise UsageError(
                "a batch without tokens for the decoder",
                expected=f"extra[{DECODER_IDS!r}] [batch pos2]",
                todo="add them (begin each row with the model's decoder_start_token_id)",
            )
        ids = self.extra[DECODER_IDS]
        more = {name: tensor for name, tensor in self.extra.items() if name not in {DECODER_IDS, DECODER_MASK}}
        return Batch(ids, self.extra.get(DECODER_MASK, torch.ones_like(ids)), more, self.targets)

    def along(self, site: LayerComponent) -> Batch:
        """The batch from the side whose tokens lie along the positions of a site."""
        return self if DECODER_IDS not in self.extra or reads_encoder(site) else self.decoder

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; itself when it is already there."""
        if self.input_ids.device == torch.device(device):
            return self
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            extra={name: tensor.to(device) for name, tensor in self.extra.items()},
            targets=None if self.targets is None else self.targets.to(device),
        )


@dataclass(frozen=True, eq=False)
class Capture:
    """What one forward gave: a detached tensor a site, and the logits where they were asked for.

    `grammar` is how the model that made it reads selectors.
    """

    values: dict[LayerComponent, Tensor]
    logits: Tensor | None = None
    grammar: Grammar | None = field(default=None, repr=False)

    def __getitem__(self, site: LayerComponent | str) -> Tensor:
        """The value at a site, given as such or by a selector, in any spelling.

        Raises:
            NotFoundError: a site that was not captured; offers the nearest.
            UsageError: a selector of several sites.
        """
        found = {str(known): value for known, value in self.values.items()}
        names = [str(site)] if str(site) in found else [str(known) for known in self._parsed(str(site))]
        if len(names) > 1:
            raise UsageError(
                f"{str(site)!r} names {len(names)} sites", expected="one site", todo=f"for example {names[0]!r}"
            )
        if not names or names[0] not in found:
            raise unknown_name("site of this capture", str(site), found)
        return found[names[0]]

    def _parsed(self, text: str) -> list[LayerComponent]:
        """The sites that a selector names; none where it names nothing that there is."""
        try:
            return parse_sites(text, MANY, n_encoder_layers=MANY) if self.grammar is None else self.grammar(text)
        except UserError:
            return []


def reads_encoder(site: LayerComponent) -> bool:
    """Whether a site of an encoder-decoder has its encoder's positions: cross attention takes keys and values there."""
    return site.stack is not None or site.kind in {"cross_k", "cross_v"}


def _require_tokens(ids: Tensor, mask: Tensor, *, prefix: str = "") -> None:
    """Raise BadDataError unless ids and mask are the tokens of a batch."""
    if ids.ndim != 2 or ids.shape != mask.shape or ids.numel() == 0:
        shapes = f"{prefix}input_ids {tuple(ids.shape)} with {prefix}attention_mask {tuple(mask.shape)}"
        raise _bad(shapes, "two equal [batch pos]")
    if ids.dtype != torch.int64 or mask.dtype.is_floating_point:
        dtypes = f"{prefix}input_ids {ids.dtype} with {prefix}attention_mask {mask.dtype}"
        raise _bad(dtypes, "int64 ids and an integer mask")
    if ids.device.type != "cpu" or mask.device.type != "cpu":
        return  # batches are made on the CPU; looking at values elsewhere would wait for the device
    lowest, highest = (int(end) for end in mask.aminmax())
    if 0 <= lowest <= highest == 1 and bool(mask[:, 0].all()) and bool((mask[:, 1:] <= mask[:, :-1]).all()):
        return  # padded on the right, as most are: nothing below can be wrong
    if lowest < 0 or highest > 1:
        raise _bad(f"{prefix}attention_mask has other values than 0 and 1", "1 for real tokens, 0 for padding")
    empty = (mask.sum(dim=1) == 0).nonzero().flatten().tolist()
    if empty:
        which = "decoder's row" if prefix else "row"
        raise _bad(f"{which} {empty[0]} has no real token ({len(empty)} such rows)", "a token in every row")
    starts = mask.long().diff(dim=1, prepend=torch.zeros_like(mask[:, :1], dtype=torch.int64)) > 0
    if holed := (starts.sum(dim=1) > 1).nonzero().flatten().tolist():
        which = "decoder's row" if prefix else "row"
        seen = f"the {prefix}attention_mask of {which} {holed[0]} has zeros between ones ({len(holed)} such rows)"
        raise _bad(seen, "padding on the sides only")


def _row_of_ids(row: Any, index: int) -> Tensor:
    """The ids as int64 [pos]. Raises UsageError for anything but a row of integers."""
    try:
        ids = torch.as_tensor(row)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _not_rows(f"row {index} is {row!r:.60}") from error
    if ids.ndim != 1:
        raise _not_rows(f"row {index} is {row!r:.60}")
    if len(ids) and (ids.dtype == torch.bool or ids.dtype.is_floating_point or ids.dtype.is_complex):
        raise _not_rows(f"row {index} holds {ids.dtype} ({row!r:.60})")
    return ids.to(torch.int64)


def _not_rows(seen: str) -> UsageError:
    return UsageError(
        seen,
        expected="rows of integer token ids: [[1, 2, 3], [4, 5]], or an integer tensor [batch pos]",
        todo="put a single row into a list: Batch.from_rows([row]); text goes through model.tokenize(texts)",
    )


def _bad(seen: str, expected: str) -> BadDataError:
    return BadDataError(seen, expected=expected, todo="mend the batch before it goes to the model")
