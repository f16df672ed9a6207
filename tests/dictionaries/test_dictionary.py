from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.dictionaries import Dictionary, DictionarySpec

D_IN, N_FEATURES, K = 6, 20, 3


def make(architecture: str = "topk", **changes: Any) -> Dictionary:
    k = K if architecture == "topk" else None
    spec = DictionarySpec(architecture=architecture, d_in=D_IN, n_features=N_FEATURES, k=k, **changes)
    dictionary = Dictionary.random(spec, seed=5, decoder_norm=1.0)
    with torch.no_grad():
        dictionary.b_dec.copy_(torch.linspace(-1, 1, D_IN))
        dictionary.b_enc.copy_(torch.linspace(-0.2, 0.1, N_FEATURES))
    return dictionary


def samples(n: int = 33) -> Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(0))


def saelens_reads(folder: Path, x: Tensor) -> Tensor:
    """The reconstruction that SAELens' published semantics give for the files in `folder`, written out plainly."""
    cfg = json.loads((folder / "cfg.json").read_text())
    w = load_file(folder / "sae_weights.safetensors")
    assert cfg["normalize_activations"] == "none"
    pre = (x - w["b_dec"] if cfg["apply_b_dec_to_input"] else x) @ w["W_enc"] + w["b_enc"]
    z = pre.relu()
    if cfg["architecture"] == "topk":
        rank = z * w["W_dec"].norm(dim=1) if cfg["rescale_acts_by_decoder_norm"] else z
        z = z * torch.zeros_like(z).scatter(1, rank.topk(cfg["k"], dim=1).indices, 1.0)
    else:
        assert cfg["architecture"] == "standard"
    assert w["W_enc"].shape == (cfg["d_in"], cfg["d_sae"])
    x_hat: Tensor = z @ w["W_dec"] + w["b_dec"]
    return x_hat


@pytest.mark.parametrize("architecture", ["topk", "relu"])
@pytest.mark.parametrize("is_centred", [True, False])
def test_saved_files_mean_in_saelens_what_they_mean_here(architecture: str, is_centred: bool, tmp_path: Path) -> None:
    dictionary = make(architecture, apply_b_dec_to_input=is_centred)
    dictionary.save(tmp_path)
    torch.testing.assert_close(dictionary.reconstruct(samples()), saelens_reads(tmp_path, samples()))
    assert Dictionary.load(tmp_path).digest == dictionary.digest


def test_ranking_by_decoder_norm_is_folded_at_load(tmp_path: Path) -> None:
    dictionary = make()
    with torch.no_grad():
        dictionary.W_dec.mul_(torch.linspace(0.1, 3, N_FEATURES)[:, None])
    dictionary.save(tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**cfg, "rescale_acts_by_decoder_norm": True}))
    loaded = Dictionary.load(tmp_path)
    torch.testing.assert_close(loaded.W_dec.norm(dim=1), torch.ones(N_FEATURES))
    torch.testing.assert_close(loaded.reconstruct(samples()), saelens_reads(tmp_path, samples()))


def test_folding_leaves_reconstructions_as_they_are() -> None:
    dictionary = make("relu")
    with torch.no_grad():
        dictionary.W_dec.mul_(torch.linspace(0.0, 3, N_FEATURES)[:, None])
    before = dictionary.reconstruct(samples())
    dictionary.fold_decoder_norms_()
    torch.testing.assert_close(dictionary.reconstruct(samples()), before)
    scaled = dictionary.reconstruct(samples() * 4.0) / 4.0
    dictionary.fold_input_scale_(4.0)
    torch.testing.assert_close(dictionary.reconstruct(samples()), scaled)


def test_reconstruct_takes_any_leading_axes_and_keeps_the_dtype() -> None:
    dictionary, x = make(), samples(24)
    flat = dictionary.reconstruct(x)
    assert torch.equal(dictionary.reconstruct(x.reshape(2, 3, 4, D_IN)), flat.reshape(2, 3, 4, D_IN))
    assert dictionary.reconstruct(x.bfloat16()).dtype == torch.bfloat16


def test_digest_follows_weights_and_spec_and_not_provenance() -> None:
    first, second = make(), make()
    assert first.digest == second.digest
    second.provenance = {"note": "x"}
    assert first.digest == second.digest
    with torch.no_grad():
        second.b_enc[0] += 1e-6
    assert first.digest != second.digest


def test_wrong_input_is_refused() -> None:
    dictionary, x = make(), samples()
    with pytest.raises(UsageError, match=r"shape \(33, 5\)"):
        dictionary.encode(x[:, :5])
    x[7, 2] = float("nan")
    with pytest.raises(BadDataError, match="sample 7"):
        dictionary.encode(x)
    with pytest.raises(UsageError, match="codes over 8 features"):
        spec = DictionarySpec(architecture="relu", d_in=D_IN, n_features=8)
        dictionary.decode(Dictionary.random(spec, seed=0).encode(samples()))


def test_specs_that_do_not_suit_are_refused() -> None:
    with pytest.raises(UsageError, match="k = None"):
        Dictionary(DictionarySpec(architecture="topk", d_in=2, n_features=4))
    with pytest.raises(UsageError, match="k = 5 and 4 features"):
        Dictionary(DictionarySpec(architecture="topk", d_in=2, n_features=4, k=5))
    with pytest.raises(UsageError, match="'relu' with k"):
        Dictionary(DictionarySpec(architecture="relu", d_in=2, n_features=4, k=2))
    with pytest.raises(NotFoundError, match="did you mean 'topk'"):
        Dictionary(DictionarySpec(architecture="top_k", d_in=2, n_features=4, k=2))


def change_cfg(folder: Path, **changes: Any) -> None:
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**cfg, **changes}))


def change_weights(folder: Path, **changes: Tensor) -> None:
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file({name: value.clone() for name, value in {**tensors, **changes}.items()}, path)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    make().save(tmp_path)
    change_cfg(tmp_path, d_sae=N_FEATURES + 1)
    with pytest.raises(BadDataError, match=r"W_dec \[20, 6\].*\n.*W_dec \[21, 6\]"):
        Dictionary.load(tmp_path)
    change_cfg(tmp_path, d_sae=N_FEATURES, architecture="standart")
    with pytest.raises(NotFoundError, match="did you mean 'standard'"):
        Dictionary.load(tmp_path)
    change_cfg(tmp_path, architecture="topk", normalize_activations="layer_norm")
    with pytest.raises(BadDataError, match="layer_norm"):
        Dictionary.load(tmp_path)
    change_cfg(tmp_path, normalize_activations="none")
    change_weights(tmp_path, threshold=torch.zeros(N_FEATURES))
    with pytest.raises(BadDataError, match=r"threshold \[20\]"):
        Dictionary.load(tmp_path)
    make().save(tmp_path)
    change_weights(tmp_path, b_dec=torch.full((D_IN,), float("nan")))
    with pytest.raises(BadDataError, match="6 values that are NaN"):
        Dictionary.load(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"half")
    with pytest.raises(BadDataError, match="not a safetensors file"):
        Dictionary.load(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"no sae_weights\.safetensors"):
        Dictionary.load(tmp_path)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    dictionary = make()
    with torch.no_grad():
        dictionary.W_dec[0, 0] = float("inf")
    with pytest.raises(BadDataError, match="weight W_dec"):
        dictionary.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("d_in", "n_features"), [(6, 1), (1, 5), (1, 1)])
def test_the_narrowest_dictionaries_have_a_digest_that_survives_saving(
    d_in: int, n_features: int, tmp_path: Path
) -> None:
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=d_in, n_features=n_features, k=1), seed=0)
    dictionary.save(tmp_path)
    loaded = Dictionary.load(tmp_path)
    assert loaded.digest == dictionary.digest
    x = torch.randn(9, d_in, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.encode(x).to_dense(), dictionary.encode(x).to_dense())


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_the_value_before_selection_is_the_activation_where_it_is_selected(architecture: str) -> None:
    k = 3 if architecture == "topk" else None
    dictionary = Dictionary.random(DictionarySpec(architecture=architecture, d_in=6, n_features=10, k=k), seed=1)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        dictionary.b_dec.add_(0.3)
        dictionary.b_enc.sub_(0.02)
    dense = dictionary.encode(x).to_dense()
    for feature in range(10):
        before = dictionary.pre_activation(x, feature)
        is_active = dense[:, feature] > 0
        torch.testing.assert_close(before[is_active], dense[is_active, feature])
        assert is_active.any()
        assert (before < 0).any()
        if architecture == "relu":
            torch.testing.assert_close(before.clamp_min(0), dense[:, feature])
    with pytest.raises(NotFoundError):
        dictionary.pre_activation(x, 10)
