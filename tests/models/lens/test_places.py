"""Places by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mechscope.models import Batch
from mechscope.models.lens.places import choose_places

PADDED = Batch.from_rows([[3, 5, 7], [4]], side="left")


class Mask:
    """Positions that are a mask as given."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = torch.tensor(rows, dtype=torch.bool)

    def mask(self, batch: Batch) -> Tensor:
        return self.rows


def test_last_all_and_chosen_tokens() -> None:
    last = choose_places(Batch.from_rows([[3, 5, 7], [4]]), "last", shape=(2, 3))
    assert (last.rows.tolist(), last.columns.tolist()) == ([0, 1], [2, 0])
    everywhere = choose_places(PADDED, "all", shape=(2, 3))
    assert (everywhere.rows.tolist(), everywhere.columns.tolist()) == ([0, 0, 0, 1], [0, 1, 2, 2])
    chosen = choose_places(PADDED, Mask([[0, 1, 0], [0, 0, 1]]), shape=(2, 3))
    assert (chosen.rows.tolist(), chosen.columns.tolist()) == ([0, 1], [1, 2])


def test_means_over_rows() -> None:
    places = choose_places(PADDED, "last", shape=(2, 3), pooling="mean")
    stream = torch.arange(12.0).reshape(2, 3, 2)
    assert places.pool(places.gather(stream)).tolist() == [[2.0, 3.0], [10.0, 11.0]]
    assert places.spread(torch.tensor([[1.0], [2.0]])).tolist() == [[1.0], [1.0], [1.0], [2.0]]
    assert places.reading_rows.tolist() == [0, 1]
    assert places.reading_columns is None


def test_the_first_position_of_a_stream_that_is_not_of_tokens() -> None:
    blank = torch.zeros((2, 1), dtype=torch.int64)
    places = choose_places(Batch(blank, torch.ones_like(blank)), "all", shape=(2, 5), pooling="first")
    assert (places.rows.tolist(), places.columns.tolist()) == ([0, 1], [0, 0])


def test_positions_that_are_not_there(refused: Callable[..., None]) -> None:
    padding, nothing, narrow = Mask([[0, 0, 1], [1, 0, 0]]), Mask([[0, 0, 0], [0, 0, 0]]), Mask([[1], [1]])
    refused("positions in padding", lambda: choose_places(PADDED, padding, shape=(2, 3)))
    refused("no position to read", lambda: choose_places(PADDED, nothing, shape=(2, 3)))
    refused("positions of shape", lambda: choose_places(PADDED, narrow, shape=(2, 3)))
