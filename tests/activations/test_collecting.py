import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from activation_cases import (
    D_MODEL,
    N_POSITIONS,
    ForwardCounter,
    language_model,
    make_language_model,
    run_alone,
    set_corpus,
    set_model,
    text_corpus,
)

from mechscope.activations import ActivationCache, CollectSpec, collect
from mechscope.activations.policy import read_policy
from mechscope.core import SILENT, BadDataError, ConflictError, NotFoundError, UsageError, read_mapping
from mechscope.corpora.corpus import Corpus, Ragged
from mechscope.store import verify

SMALL: dict[str, Any] = {"batch_tokens": 40, "shard_bytes": 8_000}


@pytest.fixture
def forwards() -> Iterator[ForwardCounter]:
    counter = ForwardCounter(language_model())
    yield counter
    counter.close()


def natural(cache: ActivationCache) -> torch.Tensor:
    return torch.cat([shard.acts for shard in cache.shards()])


POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("all", {}),
    ("all", {"skip_first": 1}),
    ("last", {}),
    ("index", {"index": -2}),
    ("index", {"index": 4}),
    ("mean", {"skip_first": 2}),
    ("span", {"column": "is_noun"}),
    ("span", {"column": "depth", "value": 3, "reduction": "mean"}),
]


@pytest.mark.parametrize(("name", "options"), POLICIES)
def test_samples_equal_each_row_run_alone(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    corpus, model = text_corpus(), language_model()
    spec = CollectSpec(sites=["resid_post:1"], token_policy=name, policy_options=options, **SMALL)
    cache = collect(model, corpus, spec, tmp_path)["resid_post:1"]
    policy = read_policy(name, options)
    mask = policy.mask(corpus, frozenset())
    vectors, where = [], []
    for row in range(corpus.n_rows):
        marked = np.flatnonzero(mask[corpus.tokens.indptr[row] : corpus.tokens.indptr[row + 1]])
        alone = run_alone(model, corpus, row, "resid_post:1")[marked]
        if policy.how == "each":
            vectors.append(alone)
            where += [(row, int(pos)) for pos in marked]
        elif len(marked):
            vectors.append(alone.mean(0, keepdim=True))
            where.append((row, -1))
    torch.testing.assert_close(natural(cache), torch.cat(vectors), rtol=1e-4, atol=1e-5)
    assert list(zip(cache.sample_rows().tolist(), cache.sample_positions().tolist(), strict=True)) == where
    assert cache.n_samples == len(where)
    assert cache.facts["n_rows_without_samples"] == corpus.n_rows - len({row for row, _ in where})


def test_several_sites_come_from_one_pass(tmp_path: Path, forwards: ForwardCounter) -> None:
    corpus, model = text_corpus(150), language_model()
    layout: dict[str, Any] = {"batch_tokens": 40, "shard_bytes": 60_000}
    one = collect(model, corpus, CollectSpec(sites=["resid_pre:2"], **layout), tmp_path / "one")
    n_one, forwards.n = forwards.n, 0
    sites = ["embed", "resid_pre:2", "attn_out:0-1", "z:1", "mlp_post:2"]
    caches = collect(model, corpus, CollectSpec(sites=sites, **layout), tmp_path / "many")
    assert forwards.n == n_one > 0
    assert list(caches) == ["embed", "resid_pre:2", "attn_out:0", "attn_out:1", "z:1", "mlp_post:2"]
    assert {name: cache.d_in for name, cache in caches.items()} == {
        **dict.fromkeys(["embed", "resid_pre:2", "attn_out:0", "attn_out:1", "z:1"], D_MODEL),
        "mlp_post:2": 32,
    }
    assert torch.equal(natural(one["resid_pre:2"]), natural(caches["resid_pre:2"]))
    row = 7
    for name, cache in caches.items():
        mine = cache.read(np.flatnonzero(cache.sample_rows() == row))
        torch.testing.assert_close(mine, run_alone(model, corpus, row, name), rtol=1e-4, atol=1e-5)
    width = {name: len(cache.facts["shards"]) for name, cache in caches.items()}
    assert width["mlp_post:2"] > width["embed"]  # shard_bytes counts each site's own width


def test_an_identical_call_runs_no_forward_pass(tmp_path: Path, forwards: ForwardCounter) -> None:
    corpus, model = text_corpus(), language_model()
    spec = CollectSpec(sites=["resid_post:0", "resid_post:2"], **SMALL)
    first = collect(model, corpus, spec, tmp_path)
    assert forwards.n > 0
    forwards.n = 0
    again = collect(model, text_corpus(), CollectSpec.parse(spec.to_json()), tmp_path)
    assert forwards.n == 0
    assert torch.equal(natural(first["resid_post:2"]), natural(again["resid_post:2"]))
    fewer = collect(model, corpus, spec.updated(sites=["resid_post:2"]), tmp_path)
    assert forwards.n == 0
    assert fewer["resid_post:2"].folder == first["resid_post:2"].folder


def test_what_the_values_depend_on_changes_the_key(tmp_path: Path) -> None:
    corpus, model = text_corpus(), language_model()
    spec = CollectSpec(sites=["resid_post:0"], **SMALL)
    keys = {
        collect(model, corpus, spec.updated(**change), tmp_path)["resid_post:0"].key_digest
        for change in ({}, {"dtype": "bfloat16"}, {"seed": 1}, {"token_policy": "last"}, {"batch_tokens": 41})
    }
    keys.add(collect(model, text_corpus(seed=1), spec, tmp_path)["resid_post:0"].key_digest)
    keys.add(collect(make_language_model(5), corpus, spec, tmp_path)["resid_post:0"].key_digest)
    assert len(keys) == 7
    cache = collect(model, corpus, spec, tmp_path)["resid_post:0"]
    key = read_mapping(cache.folder / "key.json")
    assert key["site"] == "resid_post:0"
    assert key["model"] == model.weights_digest
    assert key["corpus"] == corpus.digest
    assert key["token_policy"]["name"] == "all"


def test_bfloat16_is_the_rounded_float32(tmp_path: Path) -> None:
    corpus, model = text_corpus(), language_model()
    spec = CollectSpec(sites=["resid_post:0"], **SMALL)
    full = collect(model, corpus, spec, tmp_path)["resid_post:0"]
    half = collect(model, corpus, spec.updated(dtype="bfloat16"), tmp_path)["resid_post:0"]
    assert torch.equal(natural(half), natural(full).to(torch.bfloat16).float())
    assert next(half.batches(8, seed=0, epoch=0)).dtype == torch.float32


def test_pooled_has_one_vector_a_row_whatever_the_policy(tmp_path: Path) -> None:
    corpus, model = set_corpus(), set_model()
    said: list[str] = []

    class Listener:
        def task(self, name: str, *, total: int | None, unit: str) -> Any:
            return SILENT.task(name, total=total, unit=unit)

        def say(self, line: str) -> None:
            said.append(line)

    spec = CollectSpec(sites=["pooled", "resid_post:0"], token_policy="last", **SMALL)
    caches = collect(model, corpus, spec, tmp_path, Listener())
    assert said == ["site pooled has one vector a row: token policy 'last' does not apply to it"]
    assert caches["pooled"].n_samples == caches["resid_post:0"].n_samples == corpus.n_rows
    assert caches["pooled"].sample_rows().tolist() == list(range(corpus.n_rows))
    assert set(caches["pooled"].sample_positions().tolist()) == {-1}
    slow = torch.stack([run_alone(model, corpus, row, "pooled") for row in range(corpus.n_rows)])
    torch.testing.assert_close(natural(caches["pooled"]), slow, rtol=1e-4, atol=1e-5)
    same = collect(model, corpus, spec.updated(sites=["pooled"], token_policy="all"), tmp_path)["pooled"]
    assert same.folder == caches["pooled"].folder


def test_special_tokens_are_left_out_when_asked(tmp_path: Path) -> None:
    tokens = Ragged.from_rows([[4, 0, 5], [0, 0], [6]])
    corpus = Corpus("padded", "text", tokens, tuple(f"w{i}" for i in range(60)), pad_id=0)
    spec = CollectSpec(sites=["embed"], policy_options={"skip_special": True}, **SMALL)
    cache = collect(language_model(), corpus, spec, tmp_path)["embed"]
    assert list(zip(cache.sample_rows().tolist(), cache.sample_positions().tolist(), strict=True)) == [
        (0, 0),
        (0, 2),
        (2, 0),
    ]
    assert cache.facts["n_rows_without_samples"] == 1
    with pytest.raises(UsageError, match="skip_special with model"):
        collect(language_model(), text_corpus(), spec, tmp_path)


def test_empty_rows_are_counted(tmp_path: Path) -> None:
    corpus = Corpus("gaps", "text", Ragged.from_rows([[], [1, 2], [], [3]]), tuple(f"w{i}" for i in range(60)))
    cache = collect(language_model(), corpus, CollectSpec(sites=["embed"], **SMALL), tmp_path)["embed"]
    assert cache.sample_rows().tolist() == [1, 1, 3]
    assert cache.facts["n_rows_without_samples"] == 2


def test_long_rows_are_refused_or_cut_and_counted(tmp_path: Path) -> None:
    corpus, model = text_corpus(20, longest=N_POSITIONS + 10, shortest=N_POSITIONS - 4), language_model()
    spec = CollectSpec(sites=["resid_post:0"], token_policy="last", **SMALL)
    with pytest.raises(BadDataError, match="rows are too long"):
        collect(model, corpus, spec, tmp_path)
    cache = collect(model, corpus, spec.updated(cut_long_rows=True), tmp_path)["resid_post:0"]
    lengths = corpus.tokens.lengths
    assert cache.sample_positions().tolist() == (np.minimum(lengths, N_POSITIONS) - 1).tolist()
    assert cache.facts["n_rows_cut"] == int((lengths > N_POSITIONS).sum()) > 0
    assert cache.facts["n_tokens_cut"] == int(np.maximum(lengths - N_POSITIONS, 0).sum())
    short = collect(model, text_corpus(), spec, tmp_path)["resid_post:0"]
    unused = collect(model, text_corpus(), spec.updated(cut_long_rows=True), tmp_path)["resid_post:0"]
    assert short.folder == unused.folder  # an option that changes nothing changes no key


def test_nan_names_site_row_and_position_and_publishes_nothing(tmp_path: Path) -> None:
    model = make_language_model(2)
    corpus = text_corpus()
    row, token = 31, 17
    ids = np.where(corpus.tokens.ids == token, token + 1, corpus.tokens.ids)
    ids[corpus.tokens.indptr[row] + 2] = token
    corpus = Corpus("one bad token", "text", Ragged(ids, corpus.tokens.indptr), corpus.vocabulary)
    assert len(corpus.tokens[row]) > 2
    with torch.no_grad():
        model.module.get_input_embeddings().weight[token, 0] = float("nan")  # type: ignore[operator]
    spec = CollectSpec(sites=["embed"], **SMALL)
    with pytest.raises(BadDataError, match=rf"site 'embed' gives NaN or infinity in row {row}, position 2 \(1 vec"):
        collect(model, corpus, spec, tmp_path)
    assert not list(tmp_path.glob("*/manifest.json"))
    with pytest.raises(BadDataError, match="site 'embed' gives NaN"):
        collect(model, corpus, spec, tmp_path)


def test_large_finite_values_are_kept(tmp_path: Path) -> None:
    model = make_language_model(3)
    with torch.no_grad():
        model.module.get_input_embeddings().weight.fill_(3e38)  # type: ignore[operator]
    cache = collect(model, text_corpus(), CollectSpec(sites=["embed"], **SMALL), tmp_path)["embed"]
    assert torch.equal(natural(cache), torch.full((cache.n_samples, D_MODEL), 3e38))


def test_a_selection_of_nothing_and_unknown_names(tmp_path: Path) -> None:
    model, corpus = language_model(), text_corpus()
    with pytest.raises(BadDataError, match="marks no token"):
        collect(
            model, corpus, CollectSpec(sites=["embed"], token_policy="index", policy_options={"index": 99}), tmp_path
        )
    with pytest.raises(NotFoundError, match="unknown site 'resid_pots:1'"):
        collect(model, corpus, CollectSpec(sites=["resid_pots:1"]), tmp_path)
    with pytest.raises(UsageError, match="at no site"):
        collect(model, corpus, CollectSpec(sites=[]), tmp_path)
    with pytest.raises(UsageError, match="shard_bytes 0"):
        collect(model, corpus, CollectSpec(sites=["embed"], shard_bytes=0), tmp_path)
    with pytest.raises(UsageError, match="dtype"):
        CollectSpec.parse({"sites": ["embed"], "dtype": "float16"})


def test_too_little_disk_is_said_before_the_first_forward(
    tmp_path: Path, forwards: ForwardCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 10_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Full)
    with pytest.raises(ConflictError, match="the activation cache needs about"):
        collect(language_model(), text_corpus(), CollectSpec(sites=["resid_post:0"], **SMALL), tmp_path)
    assert forwards.n == 0


def test_checksums_in_the_manifest_hold(tmp_path: Path) -> None:
    cache = collect(language_model(), text_corpus(), CollectSpec(sites=["embed"], **SMALL), tmp_path)["embed"]
    assert set(verify(cache.folder, kind="activations").files) == {path.name for path in cache.folder.glob("part-*")}


def test_a_pattern_has_no_vector_a_token(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pattern:0, which has a value for every pair"):
        collect(language_model(), text_corpus(), CollectSpec(sites=["pattern:0"]), tmp_path)
