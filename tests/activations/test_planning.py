import numpy as np
from activation_cases import text_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from mechscope.activations.batching import WINDOW_BATCHES
from mechscope.activations.planning import cut_shards, cut_windows
from mechscope.activations.policy import read_policy
from mechscope.activations.selection import Selection


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(0, 99), st.integers(1, 60), st.integers(1, 5000), st.booleans())
def test_windows_and_shards_cover_all_rows_once(
    n_rows: int, seed: int, batch_tokens: int, shard_bytes: int, spans: bool
) -> None:
    corpus = text_corpus(n_rows, seed)
    windows = cut_windows(corpus, batch_tokens)
    assert [row for first, end in windows for row in range(first, end)] == list(range(n_rows))
    for first, end in windows:
        n_tokens = int(corpus.tokens.lengths[first : end - 1].sum())  # the last row may cross the bound
        assert n_tokens < WINDOW_BATCHES * batch_tokens
    policy = read_policy("span", {"column": "is_noun"}) if spans else read_policy("all", {})
    selection = Selection.of(corpus, policy, frozenset())
    if selection.n_samples == 0:
        return
    shards = cut_shards(windows, selection, sample_bytes=10, shard_bytes=shard_bytes)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert [row for shard in shards for row in range(shard.first_row, shard.end_row)] == list(range(n_rows))
    assert all(shard.n_samples > 0 for shard in shards)
    assert sum(shard.n_samples for shard in shards) == selection.n_samples
    bounds = {end for _, end in windows}
    assert all(shard.end_row in bounds for shard in shards)
    assert all(shard.n_samples * 10 >= shard_bytes for shard in shards[:-1])


def test_a_shard_is_closed_as_soon_as_it_is_full() -> None:
    corpus = text_corpus(3000, seed=1)
    selection = Selection.of(corpus, read_policy("all", {}), frozenset())
    shards = cut_shards(cut_windows(corpus, 8), selection, sample_bytes=10, shard_bytes=20_000)
    sizes = np.array([shard.n_samples * 10 for shard in shards[:-1]])
    assert sizes.max() <= 20_000 + 10 * (8 * WINDOW_BATCHES + 24)
