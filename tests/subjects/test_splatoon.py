"""The shipped model on fresh builds; a tiny one trained from scratch, twice."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from mechscope.core import digest_file
from mechscope.corpora.domains.splatoon import VOCABULARY, weapon_vocabulary
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.models.set_transformer import SetTransformerConfig, load_set_transformer
from mechscope.store import read_json
from mechscope.subjects.set_completion import F1Score, FrequencyBaseline, pick_threshold, score_f1
from mechscope.subjects.splatoon import TrainedSplatoon, TrainSplatoonSpec, headline, main, train_splatoon

FOLDER = Path(str(files("mechscope"))) / "subjects_data" / "splatoon"
FRESH_SEED = 987_654
TINY = TrainSplatoonSpec(
    corpus=SplatoonSource(n_rows=2500, seed=3),
    config=SetTransformerConfig(d_model=16, n_layers=1, n_heads=2, d_mlp=16, n_inducing=4),
    n_epochs=4,
    batch_size=64,
    lr=1e-2,
)


@pytest.fixture(scope="module")
def record() -> TrainedSplatoon:
    return TrainedSplatoon.parse(read_json(FOLDER / "training_record.json"))


def test_the_record_belongs_to_the_shipped_weights(record: TrainedSplatoon) -> None:
    assert record.weights_sha256 == digest_file(FOLDER / "model.safetensors")
    assert read_json(FOLDER / "config.json") == record.spec.config.to_json()
    assert read_json(FOLDER / "vocab.json") == {token: index for index, token in enumerate(VOCABULARY)}
    assert read_json(FOLDER / "weapon_vocab.json") == weapon_vocabulary()
    assert record.headline == headline(record.scores)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2.5e6


def test_the_shipped_model_completes_clearly_better_than_conditional_frequencies(record: TrainedSplatoon) -> None:
    for name in ("removed", "all"):
        model, baseline = record.scores[f"model_{name}"], record.scores[f"baseline_{name}"]
        assert model.low > baseline.high + 0.01
        assert model.n_rows > 20_000


@torch.no_grad()
def test_the_shipped_model_keeps_its_score_on_fresh_builds(record: TrainedSplatoon) -> None:
    corpus = SplatoonSource(n_rows=3000, seed=FRESH_SEED).build()
    assert corpus.targets is not None
    assert corpus.pad_id is not None
    lengths = corpus.tokens.lengths
    mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])
    ids = torch.full(mask.shape, corpus.pad_id)
    ids[mask] = torch.from_numpy(corpus.tokens.ids.astype(np.int64))
    weapon = torch.from_numpy(corpus.column("weapon_ids"))
    logits = load_set_transformer(FOLDER)(ids, mask.long(), weapon).double().numpy()
    shown, whole = (np.zeros(logits.shape, dtype=bool) for _ in range(2))
    for row in range(corpus.n_rows):
        shown[row, corpus.tokens[row]] = True
        whole[row, corpus.targets[row]] = True
    kept = record.scores["model_removed"]
    fresh = score_f1(logits, whole, ~shown, threshold=kept.threshold)
    assert abs(fresh.f1 - kept.f1) < 0.02
    assert fresh.low > record.scores["baseline_removed"].high


def test_a_tiny_model_learns_and_comes_out_the_same_twice(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = train_splatoon(TINY, tmp_path / "first")
    second = train_splatoon(TINY, tmp_path / "second")
    assert first.weights_sha256 == second.weights_sha256
    assert first.scores == second.scores
    assert first.train_losses[-1] < 0.6 * first.train_losses[0]
    assert first.scores["model_all"].f1 > 0.4
    held = TrainedSplatoon.parse(read_json(tmp_path / "first" / "training_record.json"))
    assert held == first
    assert load_set_transformer(tmp_path / "first").config == TINY.config
    other = train_splatoon(TINY.updated(seed=1, n_epochs=1), tmp_path / "third")
    assert other.weights_sha256 != first.weights_sha256


def test_the_command_trains_from_a_spec_file(tmp_path: Path) -> None:
    spec = TINY.updated(n_epochs=1)
    (tmp_path / "spec.yaml").write_text(spec.to_yaml())
    record = main([str(tmp_path / "model"), "--spec", str(tmp_path / "spec.yaml")])
    assert record["spec"] == spec.to_json()
    assert (tmp_path / "model" / "model.safetensors").is_file()


def slow_f1(said: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    true_positive = false_positive = false_negative = 0
    for row, column in np.argwhere(counted):
        true_positive += said[row, column] and truth[row, column]
        false_positive += said[row, column] and not truth[row, column]
        false_negative += truth[row, column] and not said[row, column]
    return float(2 * true_positive / (2 * true_positive + false_positive + false_negative))


def noisy(n_rows: int = 60, n_tokens: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = generator.random((n_rows, n_tokens)) < 0.3
    scores = truth + generator.standard_normal(truth.shape)
    return scores, truth, generator.random(truth.shape) < 0.7


def test_micro_f1_and_its_threshold_against_counting() -> None:
    scores, truth, counted = noisy()
    threshold = pick_threshold(scores, truth, counted)
    score = score_f1(scores, truth, counted, threshold=threshold)
    assert score.f1 == pytest.approx(slow_f1(scores >= threshold, truth, counted))
    best = max(slow_f1(scores >= value, truth, counted) for value in scores[counted])
    assert score.f1 == pytest.approx(best)
    assert score.low < score.f1 < score.high
    assert score.n_positive == (truth & counted).sum()
    assert F1Score.parse(score.to_json()) == score


def test_the_bootstrap_interval_narrows_with_rows() -> None:
    few, many = (score_f1(*noisy(n), threshold=0.5) for n in (60, 6000))
    assert many.high - many.low < 0.2 * (few.high - few.low)


def test_the_baseline_against_naive_bayes_by_hand() -> None:
    generator = np.random.default_rng(1)
    whole = generator.random((40, 5)) < 0.5
    shown = whole & (generator.random(whole.shape) < 0.7)
    weapon = generator.integers(0, 3, 40)
    baseline = FrequencyBaseline.fit(shown, whole, weapon, 3)
    row, token = 4, 2
    rate = (whole[:, token].sum() + 1) / 42
    same = weapon == weapon[row]
    by_weapon = (whole[same, token].sum() + 10 * rate) / (same.sum() + 10)
    log_odds = np.log(by_weapon / (1 - by_weapon))
    for other in range(5):
        base = (shown[:, other].sum() + 1) / 42
        has, lacks = whole[:, token], ~whole[:, token]
        if_true = (shown[has, other].sum() + base) / (has.sum() + 1)
        if_false = (shown[lacks, other].sum() + base) / (lacks.sum() + 1)
        if_true, if_false = (np.clip(rate, 1e-9, 1 - 1e-9) for rate in (if_true, if_false))
        is_shown = shown[row, other]
        log_odds += np.log(if_true / if_false) if is_shown else np.log((1 - if_true) / (1 - if_false))
    assert baseline.scores(shown, weapon)[row, token] == pytest.approx(log_odds)
