"""The shipped model on fresh sentences; a tiny one trained from scratch, twice."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPTNeoXForCausalLM

from mechscope.core import digest_file
from mechscope.corpora.domains.agreement import WORDS, AgreementTaskSpec
from mechscope.corpora.domains.agreement.lexicon import HeldOut
from mechscope.corpora.sources.agreement import AgreementSource
from mechscope.store import read_json
from mechscope.subjects.agreement import TrainAgreementSpec, TrainedAgreement, main, padded_rows, train_agreement
from mechscope.subjects.agreement_scores import Share, score_agreement, score_agreement_model
from mechscope.subjects.language_models import LanguageModelTrainSpec

FOLDER = Path(str(files("mechscope"))) / "subjects_data" / "agreement"
FRESH_SEED = 987_654
TINY = TrainAgreementSpec(
    corpus=AgreementSource(n_rows=300, seed=3),
    d_model=16,
    n_layers=1,
    n_heads=2,
    training=LanguageModelTrainSpec(batch_size=16, n_steps=30, lr=1e-2, warmup=5, n_evaluations=2),
    n_scored_pairs=4,
)


@pytest.fixture(scope="module")
def shipped() -> GPTNeoXForCausalLM:
    return GPTNeoXForCausalLM.from_pretrained(FOLDER).float().eval()


@pytest.fixture(scope="module")
def record() -> TrainedAgreement:
    return TrainedAgreement.parse(read_json(FOLDER / "training_record.json"))


@pytest.mark.parametrize("heads", ["bare", "relative"])
def test_the_shipped_model_agrees_across_distractors_with_held_out_heads(
    shipped: GPTNeoXForCausalLM, heads: HeldOut
) -> None:
    score = score_agreement(shipped, AgreementTaskSpec(n_pairs=60, heads=heads, seed=FRESH_SEED))
    assert set(score.by_n_distractors) == {"0", "1", "2", "3"}
    assert score.overall.n == 480
    assert score.overall.low > 0.95


def test_the_shipped_model_is_not_led_astray_by_distractors_of_the_other_number(shipped: GPTNeoXForCausalLM) -> None:
    for heads in ("bare", "relative"):
        task = AgreementTaskSpec(n_pairs=60, heads=heads, distractors="other", seed=FRESH_SEED)
        assert score_agreement(shipped, task).overall.low > 0.95


def test_the_shipped_model_knows_names_that_come_again_and_predicts_fresh_texts(
    shipped: GPTNeoXForCausalLM, record: TrainedAgreement
) -> None:
    fresh = AgreementSource(n_rows=1500, seed=FRESH_SEED).build()
    scores = score_agreement_model(shipped, fresh, n_pairs=1, seed=FRESH_SEED)
    assert scores.surname_repeated is not None
    assert scores.surname_repeated.low > 0.75
    spread = np.hypot(scores.test_loss_standard_error, record.scores.test_loss_standard_error)
    assert abs(scores.test_loss - record.scores.test_loss) < 4 * spread


def test_the_record_belongs_to_the_shipped_files(record: TrainedAgreement) -> None:
    assert record.spec == TrainAgreementSpec()
    assert record.weights_sha256 == digest_file(FOLDER / "model.safetensors")
    assert all(score.overall.n == 8 * record.spec.n_scored_pairs for score in record.scores.agreement)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


def test_the_shipped_tokenizer_is_the_word_list() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer(" ".join(WORDS), add_special_tokens=False).input_ids == list(range(len(WORDS)))
    assert [tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token] == ["<pad>", "<bos>", "<eos>"]
    assert tokenizer.decode(tokenizer("the cooks are happy").input_ids) == "<bos> the cooks are happy"


def test_a_tiny_model_learns_and_comes_out_the_same_twice(tmp_path: Path) -> None:
    first = train_agreement(TINY, tmp_path / "a")
    second = train_agreement(TINY, tmp_path / "b")
    assert first.weights_sha256 == second.weights_sha256 == digest_file(tmp_path / "a" / "model.safetensors")
    assert first.scores == second.scores
    assert first.history["valid_loss"][-1] < np.log(len(WORDS)) - 1
    assert TrainedAgreement.parse(read_json(tmp_path / "a" / "training_record.json")) == first
    assert [score.overall.n for score in first.scores.agreement] == [32] * 6


def test_the_command_takes_a_spec_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(TINY.to_yaml())
    record = main([str(tmp_path / "model"), "--spec", str(path)])
    assert record["spec"] == TINY.to_json()
    assert (tmp_path / "model" / "tokenizer.json").is_file()


def test_rows_are_padded_to_the_right() -> None:
    corpus = AgreementSource(n_rows=50, seed=1).build()
    rows = padded_rows(corpus, "train")
    kept = corpus.select(np.flatnonzero(corpus.column("split") == "train"))
    assert rows.shape == (kept.n_rows, kept.tokens.lengths.max())
    assert torch.equal((rows != 0).sum(1), torch.from_numpy(kept.tokens.lengths))
    assert rows[3, : kept.tokens.lengths[3]].tolist() == kept.tokens[3].tolist()


@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (98, 100, 0.9300, 0.9945), (5, 10, 0.2366, 0.7634)]
)
def test_wilson_intervals_against_published_values(n_right: int, n: int, low: float, high: float) -> None:
    share = Share.of([True] * n_right + [False] * (n - n_right))
    assert (share.n, share.n_right) == (n, n_right)
    assert share.low == pytest.approx(low, abs=1e-4)
    assert share.high == pytest.approx(high, abs=1e-4)
