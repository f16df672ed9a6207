"""The contract of a similarity: what every one must do, checked on an open feature store."""

from __future__ import annotations

import numpy as np

from mechscope.core.kinds import SIMILARITIES
from mechscope.features import FeatureInputs, similar

__all__ = ["check_similarity"]


def check_similarity(name: str, inputs: FeatureInputs) -> None:
    """Assert the contract for similarity `name` on every feature of a small store.

    Checked: one finite number for each feature, float64; the same twice; symmetric; no feature is more like another
    than like itself; the public answer is sorted, leaves the feature out and has the length asked for.
    """
    measure, n = SIMILARITIES.get(name), inputs.store.n_features
    table = np.stack([measure(inputs, feature).copy() for feature in range(n)])
    assert table.shape == (n, n)
    assert table.dtype == np.float64
    assert np.isfinite(table).all(), f"{name} is not finite"
    assert np.array_equal(table[0], measure(inputs, 0)), f"{name} differs between two calls"
    np.testing.assert_allclose(table, table.T, atol=1e-6, err_msg=f"{name} is not symmetric")
    live = inputs.store.counts() > 0
    own = np.diag(table)
    assert (table[live] <= own[live][:, None] + 1e-6).all(), f"{name}: something is more alike than the feature itself"
    answer = similar(inputs, 0, name, top_k=5)
    values = [neighbour.value for neighbour in answer.neighbours]
    assert values == sorted(values, reverse=True)
    assert len(values) == min(5, n - 1)
    assert 0 not in {neighbour.feature for neighbour in answer.neighbours}
