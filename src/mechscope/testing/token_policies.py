"""The contract of a token policy: what every policy must do, checked on rows of many lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechscope.activations.policy import TokenPolicy, read_policy
from mechscope.core import UsageError
from mechscope.corpora.corpus import Column, Corpus, Ragged

__all__ = ["check_token_policy", "policy_corpus"]

SPECIAL = frozenset({0, 1})


def policy_corpus(seed: int = 0, n_rows: int = 30) -> Corpus:
    """Rows of 0 to 9 tokens (some empty, some all special) with the token columns `is_marked` and `depth`."""
    generator = np.random.default_rng(seed)
    rows = [generator.integers(0, 12, n) for n in generator.integers(0, 10, n_rows)]
    rows += [np.array([0, 1, 0]), np.zeros(0, dtype=np.int64)]
    n_tokens = sum(map(len, rows))
    return Corpus(
        name="policy contract",
        kind="text",
        tokens=Ragged.from_rows(rows),
        vocabulary=tuple(f"w{i}" for i in range(12)),
        token_columns={"is_marked": generator.random(n_tokens) < 0.4, "depth": generator.integers(0, 3, n_tokens)},
        columns={"is_marked": Column(level="token"), "depth": Column(level="token")},
    )


def check_token_policy(name: str, options: dict[str, Any]) -> TokenPolicy:
    """Assert the contract for policy `name` with `options` that fit `policy_corpus`. Returns the policy.

    Checked: it survives JSON; its mask is boolean with one value a token, the same each time, and leaves the corpus as
    it was; it decides on each row alone (a row by itself is marked as it is among others); unknown options are refused.
    """
    policy = read_policy(name, options)
    assert type(policy).parse(policy.to_json()) == policy
    corpus = policy_corpus()
    before = corpus.digest
    mask = policy.mask(corpus, SPECIAL)
    assert mask.dtype == bool, f"{name}: mask of {mask.dtype}"
    assert mask.shape == (corpus.n_tokens,), f"{name}: mask of shape {mask.shape}"
    assert np.array_equal(mask, policy.mask(corpus, SPECIAL)), f"{name}: two masks differ"
    assert corpus.digest == before, f"{name} changes the corpus"
    for row in np.flatnonzero(corpus.tokens.lengths):
        alone = policy.mask(corpus.select(np.array([row])), SPECIAL)
        low, high = corpus.tokens.indptr[row], corpus.tokens.indptr[row + 1]
        assert np.array_equal(alone, mask[low:high]), f"{name}: row {row} is marked otherwise when it stands alone"
    assert policy.how in {"each", "mean"}
    _refuses_unknown_options(name, options)
    return policy


def _refuses_unknown_options(name: str, options: dict[str, Any]) -> None:
    try:
        read_policy(name, {**options, "no_such_option": 1})
    except UsageError:
        return
    raise AssertionError(f"{name}: an unknown option was taken in silence")
