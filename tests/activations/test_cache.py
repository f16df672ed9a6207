from pathlib import Path

import numpy as np
import pytest
import torch
from activation_cases import D_MODEL, language_model, text_corpus

from mechscope.activations import ActivationCache, CollectSpec, collect
from mechscope.core import BadDataError, UsageError
from mechscope.training.sources import SampleSource

N_ROWS = 120


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    spec = CollectSpec(sites=["resid_post:1"], batch_tokens=30, shard_bytes=20_000)
    made = collect(language_model(), text_corpus(N_ROWS), spec, tmp_path_factory.mktemp("cache"))["resid_post:1"]
    assert len(made.parts) > 3
    return made


def natural(cache: ActivationCache) -> torch.Tensor:
    return torch.cat([shard.acts for shard in cache.shards()])


def as_set(vectors: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(map(tuple, vectors.tolist()))


def test_shards_come_in_natural_order_and_agree_with_read(cache: ActivationCache) -> None:
    first = 0
    for shard in cache.shards():
        assert shard.first_sample == first
        first += len(shard.acts)
        assert len(shard.acts) == len(shard.row) == len(shard.pos)
    assert first == cache.n_samples == text_corpus(N_ROWS).n_tokens
    everything = natural(cache)
    assert everything.shape == (cache.n_samples, cache.d_in) == (cache.n_samples, D_MODEL)
    wanted = np.random.default_rng(0).integers(0, cache.n_samples, 500)
    assert torch.equal(cache.read(wanted), everything[torch.from_numpy(wanted)])
    assert cache.read(np.array([], dtype=np.int64)).shape == (0, D_MODEL)
    order = np.lexsort((cache.sample_positions(), cache.sample_rows()))
    assert order.tolist() == list(range(cache.n_samples))
    assert cache.sample_ids().tolist() == list(range(cache.n_samples))


def test_what_lies_on_disk_is_shuffled(cache: ActivationCache) -> None:
    part = cache.parts[0]
    place = part.column("place")
    assert sorted(place.tolist()) == list(range(part.n_samples))
    assert abs(np.corrcoef(place, np.arange(part.n_samples))[0, 1]) < 0.2


def test_batches_hold_every_sample_once(cache: ActivationCache) -> None:
    batches = list(cache.batches(64, seed=0, epoch=3))
    assert as_set(torch.cat(batches)) == as_set(natural(cache))
    late = list(cache.batches(64, seed=0, epoch=3, start_batch=5))
    assert all(torch.equal(a, b) for a, b in zip(late, batches[5:], strict=True))
    assert len(cache.batches(64, seed=0, epoch=3, drop_last=True)) == cache.n_samples // 64


def test_a_view_of_a_split_holds_that_split_and_nothing_else(cache: ActivationCache) -> None:
    corpus = text_corpus(N_ROWS)
    is_train = corpus.column("split") == "train"
    train, test = cache.restricted(is_train), cache.restricted(~is_train)
    assert train.n_samples + test.n_samples == cache.n_samples
    assert set(train.sample_rows()) == set(np.flatnonzero(is_train))
    assert set(test.sample_rows()) == set(np.flatnonzero(~is_train))
    everything = natural(cache)
    for view in (train, test):
        mine = everything[torch.from_numpy(view.sample_ids())]
        assert torch.equal(natural(view), mine)
        assert as_set(torch.cat(list(view.batches(50, seed=1, epoch=0)))) == as_set(mine)
        some = np.random.default_rng(1).integers(0, view.n_samples, 200)
        assert torch.equal(view.read(some), mine[torch.from_numpy(some)])
        assert [shard.first_sample for shard in view.shards()] == [part.first_sample for part in view.parts]
        assert torch.equal(
            torch.from_numpy(view.sample_positions()), torch.from_numpy(cache.sample_positions()[view.sample_ids()])
        )
    again = list(train.batches(50, seed=1, epoch=0))[3:]
    assert all(torch.equal(a, b) for a, b in zip(train.batches(50, seed=1, epoch=0, start_batch=3), again, strict=True))


def test_views_narrow_further_and_have_their_own_keys(cache: ActivationCache) -> None:
    even, early = np.arange(N_ROWS) % 2 == 0, np.arange(N_ROWS) < 40
    both = cache.restricted(even).restricted(early)
    direct = cache.restricted(even & early)
    assert both.sample_ids().tolist() == direct.sample_ids().tolist()
    digests = {view.key_digest for view in (cache, cache.restricted(even), cache.restricted(early), both)}
    assert len(digests) == 4
    assert cache.restricted(even).key == cache.restricted(even.copy()).key != cache.key
    with pytest.raises(BadDataError, match="no sample of"):
        cache.restricted(early).restricted(~early)


def test_unfit_samples_and_masks(cache: ActivationCache) -> None:
    with pytest.raises(UsageError, match=f"samples from 0 to {cache.n_samples}"):
        cache.read(np.array([0, cache.n_samples]))
    with pytest.raises(UsageError, match="samples from -1"):
        cache.read(np.array([-1]))
    with pytest.raises(UsageError, match=r"a row mask of bool with shape \(3,\)"):
        cache.restricted(np.ones(3, dtype=bool))
    with pytest.raises(UsageError, match="a row mask of int64"):
        cache.restricted(np.ones(N_ROWS, dtype=np.int64))


def test_it_is_a_source_of_training(cache: ActivationCache) -> None:
    source: SampleSource = cache
    view: SampleSource = cache.restricted(np.arange(N_ROWS) < 50)
    assert source.d_in == view.d_in == D_MODEL
    assert source.key != view.key


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    spec = CollectSpec(sites=["embed"], batch_tokens=30, shard_bytes=20_000)
    return collect(language_model(), text_corpus(N_ROWS), spec, tmp_path)["embed"].folder


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_refused_by_every_way_of_reading(fresh: Path) -> None:
    flip(fresh / "part-000001.safetensors", -5)
    for read in (
        lambda cache: list(cache.shards()),
        lambda cache: list(cache.batches(32, seed=0, epoch=0)),
        lambda cache: cache.read(np.arange(cache.n_samples)),
        lambda cache: cache.sample_rows(),
    ):
        with pytest.raises(BadDataError, match=r"part-000001\.safetensors has checksum"):
            read(ActivationCache.open(fresh))
    unchecked = ActivationCache.open(fresh, check=False)
    assert len(unchecked.sample_rows()) == unchecked.n_samples


def test_a_short_or_missing_or_exchanged_shard_is_refused(fresh: Path) -> None:
    path = fresh / "part-000000.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(BadDataError, match="bytes as its manifest says"):
        ActivationCache.open(fresh)
    path.unlink()
    with pytest.raises(BadDataError, match="is missing"):
        ActivationCache.open(fresh)
    path.write_bytes(b"x" * len(whole))
    with pytest.raises(BadDataError, match="not a whole tensor file"):
        list(ActivationCache.open(fresh).shards())
    path.write_bytes(whole)
    assert len(list(ActivationCache.open(fresh).shards())) > 3


def test_an_unfinished_or_foreign_folder_is_refused(fresh: Path, tmp_path: Path) -> None:
    (fresh / "manifest.json").rename(tmp_path / "manifest.json")
    with pytest.raises(BadDataError, match=r"has no manifest\.json"):
        ActivationCache.open(fresh)
    (fresh / "manifest.json").write_text((tmp_path / "manifest.json").read_text().replace('"activations"', '"other"'))
    with pytest.raises(BadDataError, match="holds 'other'"):
        ActivationCache.open(fresh)
