import numpy as np
import pytest
from scipy import sparse

from mechscope.core import UsageError
from mechscope.experiments.algorithms import bitsets
from mechscope.experiments.algorithms.bitsets import BitColumns, keep_highest_rung, pair_counts, select_rows


@pytest.mark.parametrize(("n_rows", "n_items"), [(1, 1), (63, 5), (64, 5), (65, 5), (1000, 130)])
def test_packed_rows_come_back(n_rows: int, n_items: int) -> None:
    matrix = np.random.default_rng(n_rows).random((n_rows, n_items)) < 0.2
    matrix[0] = True
    rows = sparse.csr_array(matrix)
    packed = BitColumns.from_rows(rows.indptr, rows.indices)
    np.testing.assert_array_equal(packed.dense(), matrix)
    np.testing.assert_array_equal(packed.words, BitColumns.from_dense(matrix).words)
    np.testing.assert_array_equal(packed.counts(), matrix.sum(axis=0))


def test_packing_in_chunks_is_packing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sparse.csr_array(np.random.default_rng(0).random((1000, 30)) < 0.3)
    at_once = BitColumns.from_rows(rows.indptr, rows.indices)
    monkeypatch.setattr(bitsets, "CHUNK_CELLS", 64 * 30)
    np.testing.assert_array_equal(BitColumns.from_rows(rows.indptr, rows.indices).words, at_once.words)


def test_an_item_twice_in_a_row_counts_once_and_rare_items_get_no_column() -> None:
    packed = BitColumns.from_rows(np.array([0, 3, 5, 6]), np.array([7, 7, 2, 7, 9, 7]), min_count=2)
    assert packed.items.tolist() == [7]
    assert packed.counts().tolist() == [3]


def test_counts_of_sets_against_the_dense_matrix() -> None:
    matrix = np.random.default_rng(1).random((500, 9)) < 0.5
    sets = np.array([[0, -1, -1], [1, 2, -1], [3, 4, 8], [2, 20, -1]])
    seen = BitColumns.from_dense(matrix).counts_of(sets)
    expected = [matrix[:, [0]].all(1).sum(), matrix[:, [1, 2]].all(1).sum(), matrix[:, [3, 4, 8]].all(1).sum(), 0]
    assert seen.tolist() == expected  # item 20 has no column: no row holds it


@pytest.mark.parametrize("n_items", [6, 90])  # both ways of counting pairs
def test_pair_counts_and_chosen_rows(n_items: int) -> None:
    matrix = np.random.default_rng(2).random((3000, n_items)) < 0.3
    packed = BitColumns.from_dense(matrix)
    np.testing.assert_array_equal(
        np.triu(pair_counts(packed.words), 1), np.triu(matrix.T.astype(int) @ matrix.astype(int), 1)
    )
    chosen = select_rows(packed.words[1:], packed.words[0])
    n_chosen = int(matrix[:, 0].sum())
    np.testing.assert_array_equal(
        BitColumns(chosen, np.arange(1, n_items), n_chosen).dense(), matrix[matrix[:, 0]][:, 1:]
    )


def test_highest_rung_alone_is_kept() -> None:
    # items 0 1 2: rungs of family 0; 3 4: of family 1; 5: of none
    families, rungs = np.array([0, 0, 0, 1, 1, -1]), np.array([3, 6, 12, 3, 6, 0])
    indptr, items = keep_highest_rung(
        np.array([0, 4, 4, 7]), np.array([0, 1, 3, 5, 5, 4, 3]), families=families, rungs=rungs
    )
    assert indptr.tolist() == [0, 3, 3, 5]
    assert items.tolist() == [1, 3, 5, 5, 4]


@pytest.mark.parametrize(
    ("indptr", "items"), [([0, 2], [1]), ([0, 2, 1], [1]), ([1, 1], [1]), ([], []), ([0, 1], [-1])]
)
def test_rows_that_do_not_fit_are_refused(indptr: list[int], items: list[int]) -> None:
    with pytest.raises(UsageError):
        BitColumns.from_rows(np.array(indptr, int), np.array(items, int))
