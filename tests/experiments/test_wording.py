"""What a claim says of a cell: every number of it, and what it stands for in the corpus."""

from __future__ import annotations

import numpy as np

from mechscope.experiments.changing.wording import EVENLY, said_of_cell, said_size

CELL = {"mean_delta": -0.2231, "low": -0.2512, "high": -0.1899, "n": 1314, "p_corrected": 0.00021}
CORPUS = {"corpus_delta": -0.0381, "corpus_low": -0.05, "corpus_high": 0.01}


def test_sizes_are_said_in_the_direction_of_the_verb() -> None:
    assert said_of_cell(CELL | CORPUS, sign=-1) == (
        f"by 0.223 [0.19, 0.251] in 1,314 {EVENLY} (p 0.00021 corrected), "
        "by 0.0381 [-0.01, 0.05] weighted to the corpus"
    )
    assert said_size(0.5, 0.25, 0.75, sign=-1) == "-0.5 [-0.75, -0.25]"


def test_signed_numbers_keep_their_sign_and_other_columns_can_be_told_of() -> None:
    told = {f"tested_{name}": number for name, number in CELL.items()} | {"mean_delta": 7.0}
    assert (
        said_of_cell(told, prefix="tested_", of="rows")
        == "by -0.223 [-0.251, -0.19] in 1,314 rows (p 0.00021 corrected)"
    )


def test_what_was_not_measured_is_left_out() -> None:
    bare = {"mean_delta": np.float64(1.0), "low": np.nan, "high": None, "n": np.int64(4), "p_corrected": float("nan")}
    assert said_of_cell(bare, sign=1, of="rows") == "by 1 in 4 rows"
    assert said_size(None, 1, 2) == "an unmeasured size"
