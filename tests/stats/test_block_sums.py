"""Sums, counts and grams of the sparse table against dense loops."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mechscope.stats.block_sums import BlockSums


def test_the_table_sums_as_a_loop_does() -> None:
    generator = np.random.default_rng((48, 0))
    holds = sparse.csr_array((generator.random((300, 7)) < np.linspace(0.02, 0.95, 7)).astype(np.int8))
    blocks, values = generator.integers(0, 3, 300), generator.normal(size=(300, 2, 4))
    table, dense = BlockSums(holds, blocks), np.concatenate([holds.toarray(), np.ones((300, 1))], axis=1)
    rows, items = generator.permutation(300)[:50], np.array([2, 5, table.n_items])
    coefficients = generator.normal(size=(3, dense.shape[1]))
    for block in range(3):
        here, some = blocks == block, rows[blocks[rows] == block]
        loop = np.einsum("nk,nqb->kqb", dense[here], values[here])
        np.testing.assert_allclose(table.sums(values)[block], loop, atol=1e-12)
        loop = np.einsum("nk,nqb->kqb", dense[some], values[some])
        np.testing.assert_allclose(table.sums_over(rows, values[rows])[block], loop, atol=1e-12)
        np.testing.assert_array_equal(table.counts[block], dense[here].sum(axis=0))
        gram = dense[here].T @ dense[here]
        np.testing.assert_array_equal(table.grams[block], gram)
        np.testing.assert_array_equal(table.grams_of(items)[block], gram[np.ix_(items, items)])
        few = dense[some][:, items]
        np.testing.assert_array_equal(table.grams_over(rows, items)[block], few.T @ few)
        np.testing.assert_allclose(table.predict(coefficients)[here], dense[here] @ coefficients[block], atol=1e-12)
        np.testing.assert_array_equal(table.rows_in(block, 5), dense[here, 5] > 0)
    np.testing.assert_array_equal(table.rows_with(np.array([1, 4])), dense[:, [1, 4]].any(axis=1))


def test_a_block_without_rows_sums_to_nothing() -> None:
    table = BlockSums(sparse.csr_array(np.eye(4, 3, dtype=np.int8)), np.array([0, 0, 2, 2]))
    assert table.sums(np.arange(4.0)).tolist() == [[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 2, 5]]
    assert not table.grams[1].any()
