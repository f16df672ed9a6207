from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mechscope.core import BadDataError, ConflictError, NotFoundError, UsageError
from mechscope.dictionaries import Dictionary, Pressure
from mechscope.store import is_complete, verify
from mechscope.testing.planted import plant
from mechscope.training import ArraySource, TrainSpec, train, train_key
from mechscope.training.states import HISTORY_COLUMNS

DATA = plant(2_000, d_in=16, n_true=24).samples


def small(**changes: Any) -> TrainSpec:
    fields = {"architecture": "topk", "k": 3, "n_features": 40, "n_steps": 30, "batch_size": 128, "n_threads": 1}
    return TrainSpec(**{**fields, **changes})


class StoppedError(Exception):
    pass


class StoppingSource:
    """An array source that raises when the run asks for more than `n_allowed` batches."""

    def __init__(self, inner: ArraySource, n_allowed: int) -> None:
        self._inner, self._left = inner, n_allowed
        self.d_in, self.n_samples, self.key = inner.d_in, inner.n_samples, inner.key

    def batches(self, batch_size: int, *, seed: int, epoch: int, start_batch: int = 0) -> Iterator[Tensor]:
        for batch in self._inner.batches(batch_size, seed=seed, epoch=epoch, start_batch=start_batch):
            if self._left == 0:
                raise StoppedError
            self._left -= 1
            yield batch


def assert_equal_weights(first: Dictionary, second: Dictionary) -> None:
    for (name, mine), (_, other) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(mine, other), name


@pytest.mark.parametrize(
    "changes",
    [
        {"dead_window_samples": 300},
        {"architecture": "relu", "k": None, "dead_window_samples": 200, "resample_every_samples": 500},
        {"decoder_norm": "unit", "lr_schedule": "cosine"},
    ],
)
def test_a_stopped_run_goes_on_at_the_exact_batch(changes: dict[str, Any], tmp_path: Path) -> None:
    spec = small(checkpoint_every=4, **changes)
    whole = train(ArraySource(DATA), spec, tmp_path / "whole")
    folder, n_stops = tmp_path / "stopped", 0
    while not is_complete(folder):
        try:
            resumed = train(StoppingSource(ArraySource(DATA), 26 if n_stops == 0 else 9), spec, folder)
        except StoppedError:
            n_stops += 1
            assert not (folder / "cfg.json").exists(), "nothing unfinished looks finished"
    assert n_stops >= 2
    assert_equal_weights(whole.dictionary, resumed.dictionary)
    assert whole.history == resumed.history
    assert whole.metrics == resumed.metrics
    assert not (folder / "checkpoints").exists()


def test_a_finished_run_is_reused_and_verifies(tmp_path: Path) -> None:
    first = train(ArraySource(DATA), small(), tmp_path)
    verify(tmp_path, kind="dictionary")
    again = train(StoppingSource(ArraySource(DATA), 0), small(checkpoint_every=7), tmp_path)
    assert (first.was_reused, again.was_reused) == (False, True)
    assert_equal_weights(first.dictionary, again.dictionary)
    assert again.history == first.history
    assert again.metrics == first.metrics
    assert Dictionary.load(tmp_path).digest == first.dictionary.digest


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(ArraySource(DATA), small(), tmp_path / "done")
    with pytest.raises(ConflictError, match="other settings or on other activations"):
        train(ArraySource(DATA), small(lr=1e-3), tmp_path / "done")
    with pytest.raises(StoppedError):
        train(StoppingSource(ArraySource(DATA), 20), small(checkpoint_every=2), tmp_path / "open")
    with pytest.raises(ConflictError, match="belongs to another training run"):
        train(ArraySource(DATA + 1), small(), tmp_path / "open")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(StoppingSource(ArraySource(DATA), 30), small(checkpoint_every=5), tmp_path / "open")
    (state,) = (tmp_path / "open").glob("checkpoints/*/state.safetensors")
    state.write_bytes(state.read_bytes()[:-3] + b"abc")
    with pytest.raises(BadDataError, match="is damaged"):
        train(ArraySource(DATA), small(), tmp_path / "open")
    train(ArraySource(DATA), small(), tmp_path / "done")
    weights = tmp_path / "done" / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3] + b"abc")
    with pytest.raises(BadDataError, match="checksum"):
        train(ArraySource(DATA), small(), tmp_path / "done")


def test_nan_in_the_activations_names_step_and_row_and_leaves_nothing(tmp_path: Path) -> None:
    data = DATA.clone()
    data[1234, 5] = float("nan")
    order = torch.cat(list(ArraySource(torch.arange(2000.0)[:, None]).batches(128, seed=0, epoch=0)))
    batch, row = divmod(int((order[:, 0] == 1234).nonzero()), 128)
    assert batch >= 2
    with pytest.raises(BadDataError, match=rf"row {row} of the batch of step {batch} \(epoch 0, batch {batch}\)"):
        train(ArraySource(data), small(center_samples=128), tmp_path / "new")
    with pytest.raises(BadDataError, match=rf"row {row} of batch {batch} of epoch 0"):
        train(ArraySource(data), small(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_loss_that_explodes_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="the loss is"):
        train(ArraySource(DATA), small(lr=1e30, lr_warmup_share=0), tmp_path)


def test_equal_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="total variance"):
        train(ArraySource(torch.ones(50, 16)), small(), tmp_path)


def test_bad_specs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exactly one of n_steps and epochs"):
        TrainSpec.parse({"architecture": "relu"})
    with pytest.raises(UsageError, match="did you mean 'l1_coefficient'"):
        TrainSpec.parse({"architecture": "relu", "n_steps": 1, "l1_coeff": 0.1})
    with pytest.raises(NotFoundError, match="unknown architecture"):
        train(ArraySource(DATA), small(architecture="topkk"), tmp_path)
    with pytest.raises(UsageError, match="k = None"):
        train(ArraySource(DATA), small(k=None), tmp_path)


def test_history_key_and_files(tmp_path: Path) -> None:
    spec = small(log_every=7, n_steps=None, epochs=1.5)
    assert spec.total_steps(2000) == 24
    result = train(ArraySource(DATA), spec, tmp_path)
    assert set(result.history) == set(HISTORY_COLUMNS)
    assert result.history["step"] == [0, 7, 14, 21, 23]
    assert result.metrics["n_samples_seen"] == 2000 + 8 * 128
    assert result.history["fvu"][-1] < result.history["fvu"][0]
    assert json.loads((tmp_path / "key.json").read_text()) == train_key(ArraySource(DATA), spec)
    assert "checkpoint_every" not in train_key(ArraySource(DATA), spec)["train"]
    assert train_key(ArraySource(DATA + 1), spec) != train_key(ArraySource(DATA), spec)


def test_training_on_scaled_and_shifted_samples_gives_the_same_features(tmp_path: Path) -> None:
    plain = train(ArraySource(DATA), small(), tmp_path / "a").dictionary
    moved = train(ArraySource(DATA * 64 + 8), small(), tmp_path / "b").dictionary
    torch.testing.assert_close(plain.W_dec, moved.W_dec, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(
        (moved.reconstruct(DATA * 64 + 8) - 8) / 64, plain.reconstruct(DATA), rtol=1e-2, atol=1e-2
    )


def test_the_auxiliary_loss_reaches_the_encoder_of_dead_features_alone() -> None:
    spec = small().dictionary_spec(16)
    dictionary = Dictionary.random(spec, seed=0, decoder_norm=1.0)
    with torch.no_grad():
        dictionary.b_enc[:10] = -5.0
        dictionary.b_enc[:5] += 4.9
    dead = torch.arange(40) < 10
    x = DATA[:64] - DATA.mean(0)

    def gradients(aux_coefficient: float) -> dict[str, Tensor]:
        pressure = Pressure(aux_coefficient=aux_coefficient, k_aux=4, dead=dead)
        terms = dictionary.architecture.loss(x, spec, dictionary.weights, pressure)
        return dict(
            zip(
                dict(dictionary.named_parameters()),
                torch.autograd.grad(terms.total, [*dictionary.parameters()]),
                strict=True,
            )
        )

    without, with_aux = gradients(0.0), gradients(1.0)
    change = {name: with_aux[name] - without[name] for name in without}
    assert float(change["W_enc"][:, :5].abs().sum()) > 1e-3
    assert float(change["W_dec"][:5].abs().sum()) > 1e-3
    assert float(change["b_enc"][:5].abs().sum()) > 1e-3
    assert not change["W_enc"][:, 10:].any()
    assert not change["W_dec"][10:].any()
    assert not change["b_dec"].any(), "the residual is held fixed, and so is its centre"


@pytest.mark.parametrize(("architecture", "k"), [("topk", 1), ("relu", None)])
def test_a_dictionary_of_one_feature_trains_saves_loads_and_encodes(
    architecture: str, k: int | None, tmp_path: Path
) -> None:
    spec = small(architecture=architecture, k=k, n_features=1, dead_window_samples=1, checkpoint_every=10)
    trained = train(ArraySource(DATA), spec, tmp_path).dictionary
    loaded = Dictionary.load(tmp_path)
    assert loaded.digest == trained.digest
    codes = loaded.encode(DATA)
    assert torch.equal(codes.to_dense(), trained.encode(DATA).to_dense())
    assert int(codes.indptr.diff().max()) == 1
    assert loaded.decode(codes).shape == DATA.shape


@pytest.mark.parametrize("left", ["history.json", "metrics.json", "checkpoints"])
def test_what_an_unfinished_training_left_is_not_loaded_and_a_copy_of_its_two_files_is(
    left: str, tmp_path: Path
) -> None:
    made = train(ArraySource(DATA), small(), tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    exported = tmp_path / "exported"
    exported.mkdir()
    for name in ("cfg.json", "sae_weights.safetensors"):
        shutil.copy(tmp_path / "run" / name, exported)
    assert Dictionary.load(exported).digest == made.dictionary.digest
    with pytest.raises(BadDataError, match="unfinished"):
        Dictionary.load(tmp_path / "run")
    (exported / left).mkdir()
    with pytest.raises(BadDataError, match=f"unfinished training: {left}"):
        Dictionary.load(exported)
    assert not train(ArraySource(DATA), small(), tmp_path / "run").was_reused
    assert Dictionary.load(tmp_path / "run").digest == made.dictionary.digest


def test_weights_that_differ_from_the_manifest_are_refused(tmp_path: Path) -> None:
    train(ArraySource(DATA), small(), tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BadDataError, match="checksum"):
        Dictionary.load(tmp_path)
