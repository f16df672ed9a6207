from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from mechscope.core import BadDataError, UsageError
from mechscope.models import Batch

DECODED = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1]])
HOLED = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 1]])
from_rows = inspect.unwrap(Batch.from_rows.__func__)  # type: ignore[attr-defined]  # no check but its own


def test_rows_are_padded_on_the_side_asked_for_and_positions_count_real_tokens() -> None:
    left = Batch.from_rows([[5, 6, 7], [8]], pad_id=9, side="left")
    right = Batch.from_rows([[5, 6, 7], [8]], pad_id=9)
    assert left.input_ids.tolist() == [[5, 6, 7], [9, 9, 8]]
    assert right.input_ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert left.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert right.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert left.n_rows == 2


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"attention_mask": torch.ones(2, 4, dtype=torch.int64)}, "(2, 4)"),
        ({"input_ids": torch.zeros(2, 3, dtype=torch.int32)}, "int32"),
        ({"attention_mask": torch.ones(2, 3)}, "float32"),
        ({"attention_mask": torch.full((2, 3), 2)}, "other values"),
        ({"attention_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "row 1 has no real token"),
        ({"attention_mask": torch.tensor([[1, 1, 1], [1, 0, 1]])}, "attention_mask of row 1 has zeros between ones"),
        ({"extra": {"weapon_ids": torch.zeros(3)}}, "weapon_ids has shape (3,)"),
        ({"targets": torch.tensor([[1.0], [float("nan")]])}, "targets has NaN"),
        ({"extra": {"decoder_input_ids": torch.zeros(2, 4)}}, "decoder_input_ids torch.float32"),
        ({"extra": {"decoder_input_ids": torch.zeros(2, dtype=torch.int64)}}, "decoder_input_ids (2,)"),
        ({"extra": {"decoder_attention_mask": torch.ones(2, 4, dtype=torch.int64)}}, "without decoder_input_ids"),
        (
            {"extra": {"decoder_input_ids": DECODED, "decoder_attention_mask": DECODED[:, :3]}},
            "decoder_attention_mask (2, 3)",
        ),
        (
            {"extra": {"decoder_input_ids": DECODED, "decoder_attention_mask": DECODED}},
            "decoder's row 0 has no real token",
        ),
        (
            {"extra": {"decoder_input_ids": DECODED, "decoder_attention_mask": HOLED}},
            "decoder_attention_mask of decoder's row 1 has zeros between ones",
        ),
    ],
)
def test_a_batch_that_contradicts_itself_is_refused(changes: dict[str, Any], seen: str) -> None:
    whole: dict[str, Any] = {
        "input_ids": torch.zeros(2, 3, dtype=torch.int64),
        "attention_mask": torch.ones(2, 3, dtype=torch.int64),
    }
    Batch(**whole)
    with pytest.raises(BadDataError) as caught:
        Batch(**{**whole, **changes})
    assert seen in str(caught.value)


def test_a_batch_of_no_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="no rows"):
        Batch.from_rows([])


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        ([[1.7, 2.2]], r"row 0 holds torch.float32 \(\[1.7, 2.2\]\)"),
        ([[1, 2], [3, 4.0]], "row 1 holds torch.float32"),
        ([[True, False]], "torch.bool"),
        (torch.ones(2, 3), "row 0 holds torch.float32"),
        ([1, 2, 3], "row 0 is 1"),
        (torch.tensor([1, 2, 3]), "a Tensor of 1 axes"),
        ("the cats", "row 0 is 't'"),
        (["the cats"], "row 0 is 'the cats'"),
        ([[[1, 2]]], r"row 0 is \[\[1, 2\]\]"),
    ],
)
def test_anything_but_rows_of_integers_is_refused(rows: object, seen: str) -> None:
    with pytest.raises(UsageError, match=seen) as caught:
        from_rows(Batch, rows)
    assert "Batch.from_rows([row])" in caught.value.todo


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(UsageError, match="padding on the side 'Left'"):
        from_rows(Batch, [[1, 2]], side="Left")


def test_a_tensor_and_arrays_are_rows_too() -> None:
    told = Batch.from_rows([[5, 6, 7], [8, 9, 3]])
    tensor = Batch.from_rows(torch.tensor([[5, 6, 7], [8, 9, 3]], dtype=torch.int32))
    arrays = from_rows(Batch, [np.array([5, 6, 7]), np.array([8, 9, 3])])
    for seen in (tensor, arrays):
        assert torch.equal(seen.input_ids, told.input_ids)
        assert torch.equal(seen.attention_mask, told.attention_mask)
    with pytest.raises(BadDataError, match="row 1 has no real token"):
        Batch.from_rows([[1], []])


def test_moving_takes_everything_along() -> None:
    ids = torch.zeros(2, 3, dtype=torch.int64)
    batch = Batch(ids, torch.ones_like(ids), {"weapon_ids": torch.zeros(2)}, torch.zeros(2, 5))
    assert batch.to("cpu") is batch
    moved = batch.to("meta")
    assert moved.targets is not None
    assert {
        t.device.type for t in (moved.input_ids, moved.attention_mask, moved.targets, moved.extra["weapon_ids"])
    } == {"meta"}


def test_the_decoders_side_of_a_batch() -> None:
    ids, labels = torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, 4)
    batch = Batch(ids, ids, {"decoder_input_ids": DECODED, "labels": labels})
    assert torch.equal(batch.decoder.input_ids, DECODED)
    assert torch.equal(batch.decoder.attention_mask, torch.ones_like(DECODED))
    assert batch.decoder.extra.keys() == {"labels"}
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    padded = Batch(ids, ids, {"decoder_input_ids": DECODED, "decoder_attention_mask": mask}).decoder
    assert torch.equal(padded.attention_mask, mask)
    assert padded.position_ids.tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
    with pytest.raises(UsageError, match="without tokens for the decoder"):
        _ = padded.decoder


def test_rows_of_values_have_placeholders_for_tokens() -> None:
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch.from_values({"pixel_values": images})
    assert batch.n_rows == 2
    assert batch.input_ids.tolist() == [[0], [0]]
    assert batch.attention_mask.tolist() == [[1], [1]]
    assert batch.extra["pixel_values"] is images
    with pytest.raises(BadDataError, match="NaN or infinite"):
        Batch.from_values({"pixel_values": images / 0})
    with pytest.raises(BadDataError, match=r"more has shape \(1,\)"):
        Batch.from_values({"pixel_values": images, "more": torch.zeros(1)})
    for empty in ({}, {"pixel_values": images[:0]}, {"pixel_values": torch.tensor(1.0)}):
        with pytest.raises(UsageError, match="no rows"):
            Batch.from_values(empty)
