from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mechscope.activations.parts import Part, ShardFile
from mechscope.activations.planning import ShardRange
from mechscope.activations.shuffling import ShuffledReader
from mechscope.core import UsageError
from mechscope.store.dense import write_tensors

N_SHARDS, N_IN_SHARD, DOCUMENT = 6, 1000, 50
N_SAMPLES = N_SHARDS * N_IN_SHARD


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    """Sample i holds [i, its document, 7]; 50 samples a document; shards shuffled inside as a collection does."""
    made, folder = [], tmp_path_factory.mktemp("shards")
    for index in range(N_SHARDS):
        first = index * N_IN_SHARD
        sample = torch.arange(first, first + N_IN_SHARD)
        place = torch.randperm(N_IN_SHARD, generator=torch.Generator().manual_seed(index))
        acts = torch.empty(N_IN_SHARD, 3)
        acts[place] = torch.stack([sample, sample // DOCUMENT, torch.full_like(sample, 7)], 1).float()
        shard = ShardRange(
            index=index, first_row=index, end_row=index + 1, first_sample=first, end_sample=first + N_IN_SHARD
        )
        path = folder / shard.file_name
        row = (sample // DOCUMENT).to(torch.int32)
        entry = write_tensors(path, {"acts": acts, "place": place.to(torch.int32), "row": row, "pos": row}, {})
        made.append(Part(ShardFile(path, entry.sha256, shard, 3, check=True), first, N_IN_SHARD))
    return made


def reader(parts: list[Part], batch_size: int = 128, epoch: int = 0, seed: int = 0, **options: int) -> ShuffledReader:
    small: dict[str, Any] = {"chunk_bytes": 100 * 12, "pool_chunks": 16, **options}
    return ShuffledReader(parts, 3, torch.float32, batch_size, seed=seed, epoch=epoch, **small)


def epoch_of(parts: list[Part], **options: int) -> list[Tensor]:
    return list(reader(parts, **options))


@pytest.mark.parametrize("batch_size", [1, 7, 128, 5999, 6000, 7000])
def test_every_sample_comes_exactly_once_an_epoch(parts: list[Part], batch_size: int) -> None:
    batches = epoch_of(parts, batch_size=batch_size)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-N_SAMPLES // batch_size)
    assert torch.cat(batches)[:, 0].sort().values.tolist() == list(range(N_SAMPLES))


def test_the_last_short_batch_is_kept_unless_dropped(parts: list[Part]) -> None:
    assert [len(b) for b in reader(parts, 4000)] == [4000, 2000]
    dropping = ShuffledReader(parts, 3, torch.float32, 4000, seed=0, epoch=0, drop_last=True)
    assert len(dropping) == 1
    assert [len(b) for b in dropping] == [4000]


def test_the_order_follows_from_seed_and_epoch_alone(parts: list[Part]) -> None:
    first, again = torch.cat(epoch_of(parts)), torch.cat(epoch_of(parts))
    assert torch.equal(first, again)
    for other in (epoch_of(parts, epoch=1), epoch_of(parts, seed=1)):
        agreement = (torch.cat(other)[:, 0] == first[:, 0]).float().mean()
        assert agreement < 0.01


@pytest.mark.parametrize("start", [0, 1, 13, 46, 47])
def test_it_can_start_at_any_batch(parts: list[Part], start: int) -> None:
    whole = epoch_of(parts)
    resumed = reader(parts, start_batch=start)
    assert len(resumed) == 47 - start
    rest = list(resumed)
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))
    assert resumed.next_batch == 47


def test_a_late_start_reads_one_pool_not_all(parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    n_read = []
    real = Part.read_places

    def counted(part: Part, low: int, high: int, out: Tensor) -> None:
        n_read.append(high - low)
        real(part, low, high, out)

    monkeypatch.setattr(Part, "read_places", counted)
    next(reader(parts, start_batch=40))
    assert sum(n_read) <= 2 * 16 * 100


def test_samples_of_a_document_land_in_many_batches(parts: list[Part]) -> None:
    batches = epoch_of(parts, batch_size=120)
    where = [set[int]() for _ in range(N_SAMPLES // DOCUMENT)]
    for index, batch in enumerate(batches):
        for document in batch[:, 1].long().tolist():
            where[document].add(index)
    # 50 samples thrown into 50 batches at random hit 50 (1 - (1 - 1/50)^50) = 31.8 of them on average
    mean = float(np.mean([len(batches_hit) for batches_hit in where]))
    assert mean > 25
    assert min(len(batches_hit) for batches_hit in where) > 12


def test_batches_mix_many_shards_evenly(parts: list[Part]) -> None:
    """How many samples of each shard a batch holds varies no more than under single random draws."""
    counts = np.stack(
        [
            np.bincount(batch[:, 0].long().numpy() // N_IN_SHARD, minlength=N_SHARDS)
            for batch in epoch_of(parts, pool_chunks=30)[:-1]
        ]
    )
    drawn = 128 * (1 / N_SHARDS) * (1 - 1 / N_SHARDS)
    assert counts.min() > 0
    assert counts.var(axis=0).mean() < 1.3 * drawn


def test_neighbours_in_the_corpus_are_not_neighbours_in_the_epoch(parts: list[Part]) -> None:
    order = torch.cat(epoch_of(parts))[:, 0].numpy()
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.2
    assert (np.abs(np.diff(order)) == 1).mean() < 0.01


def test_a_batch_is_the_callers_own(parts: list[Part]) -> None:
    source = reader(parts)
    first = next(source)
    kept = first.clone()
    for later in source:
        later.zero_()
    assert torch.equal(first, kept)


def test_starts_and_sizes_outside_of_the_epoch(parts: list[Part]) -> None:
    with pytest.raises(UsageError, match=r"start in 0\.\.47"):
        reader(parts, start_batch=48)
    with pytest.raises(UsageError, match="batch_size 0"):
        reader(parts, batch_size=0)
