"""The contract of a dictionary architecture: what every one must do, checked on a small instance of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import UsageError
from mechscope.dictionaries import Codes, Dictionary, DictionarySpec, LossTerms, Pressure, architecture_of
from mechscope.dictionaries.architecture import chunk_rows, encoded_in_chunks

__all__ = ["check_architecture", "small_spec"]

D_IN, N_FEATURES, N_SAMPLES = 12, 40, 57
FITTED_FVU = 0.05


def small_spec(name: str) -> DictionarySpec:
    """A small spec of architecture `name`, with a k where the architecture asks for one."""
    spec = DictionarySpec(architecture=name, d_in=D_IN, n_features=N_FEATURES)
    try:
        architecture_of(spec)
    except UsageError:
        spec = spec.updated(k=8)
        architecture_of(spec)
    return spec


def check_architecture(name: str, folder: Path) -> Dictionary:
    """Assert the contract for architecture `name`; `folder` is scratch. Returns the small dictionary.

    Checked: codes are ordered, positive and of the right shape; encoding does not depend on the chunks, nor on other
    features where the architecture says so; decoding
    equals the dense product; the loss has finite gradients in every weight and agrees with encode and decode; one
    batch can be overfitted; saved and loaded weights, spec and codes are bit-equal; spec and digest are stable;
    unknown options and keys are refused.
    """
    spec = small_spec(name)
    dictionary = _random(spec)
    x = torch.randn(N_SAMPLES, D_IN, generator=torch.Generator().manual_seed(1))
    codes = dictionary.encode(x)
    _check_codes(codes, spec)
    _check_chunks(dictionary, x, codes)
    if dictionary.architecture.is_elementwise:
        alone = [dictionary.pre_activation(x, feature).clamp(min=0) for feature in range(N_FEATURES)]
        torch.testing.assert_close(codes.to_dense(), torch.stack(alone, dim=1), rtol=1e-5, atol=1e-5)
    dense = codes.to_dense() @ dictionary.W_dec + dictionary.b_dec
    torch.testing.assert_close(dictionary.decode(codes), dense.detach(), rtol=1e-5, atol=1e-5)
    assert len(dictionary.encode(x[:0])) == 0
    _check_loss(dictionary, x)
    _check_overfit(spec, x)
    _check_files(dictionary, x, folder / name)
    _check_spec(spec)
    return dictionary


def _random(spec: DictionarySpec) -> Dictionary:
    dictionary = Dictionary.random(spec, seed=3, decoder_norm=1.0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for bias in (dictionary.b_enc, dictionary.b_dec):
            bias.copy_(0.1 * torch.randn(bias.shape, generator=generator))
    return dictionary


def _check_codes(codes: Codes, spec: DictionarySpec) -> None:
    assert codes.indptr.dtype == torch.int64
    assert codes.features.dtype == torch.int32
    assert codes.values.dtype == torch.float32
    assert (len(codes), codes.n_features) == (N_SAMPLES, spec.n_features)
    assert int(codes.indptr[0]) == 0
    assert int(codes.indptr[-1]) == codes.nnz == len(codes.values)
    assert codes.nnz > 0
    assert bool((codes.values > 0).all()), "codes are positive"
    keys = codes.rows() * spec.n_features + codes.features
    assert bool((keys.diff() > 0).all()), "features rise inside each sample, none twice"


def _check_chunks(dictionary: Dictionary, x: Tensor, codes: Codes) -> None:
    assert chunk_rows(dictionary.n_features) > 0
    for size in (1, 7, N_SAMPLES):
        part = encoded_in_chunks(dictionary.architecture, x, dictionary.spec, dictionary.weights, size)
        assert torch.equal(part.indptr, codes.indptr)
        assert torch.equal(part.features, codes.features)
        torch.testing.assert_close(part.values, codes.values, rtol=1e-5, atol=1e-6)


def _check_loss(dictionary: Dictionary, x: Float[Tensor, "n d_in"]) -> None:
    dictionary.zero_grad()
    terms = _loss(dictionary, x)
    terms.total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in dictionary.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert bool(torch.isfinite(parameter.grad).all()), f"{name} has a gradient that is not finite"
        assert bool((parameter.grad != 0).any()), f"{name} has a gradient of 0"
    assert terms.residual.shape == x.shape
    assert 0 < terms.n_active <= len(x) * dictionary.n_features
    assert int(terms.fired.min()) >= 0
    assert int(terms.fired.max()) < dictionary.n_features


def _check_overfit(spec: DictionarySpec, x: Float[Tensor, "n d_in"]) -> None:
    x = (x[:16] - x[:16].mean(0)) / x[:16].norm(dim=1).mean()
    dictionary = Dictionary.random(spec, seed=0)
    optimizer = torch.optim.Adam(dictionary.parameters(), lr=1e-2)
    error = float("inf")
    for _ in range(300):
        optimizer.zero_grad()
        terms = _loss(dictionary, x)
        terms.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        error = float(terms.error)
    fvu = error * len(x) / float(x.square().sum())
    assert fvu < FITTED_FVU, f"one batch of 16 samples is left with FVU {fvu:.3f}"


def _loss(dictionary: Dictionary, x: Tensor) -> LossTerms:
    return dictionary.architecture.loss(x, dictionary.spec, dictionary.weights, Pressure(l1_coefficient=1e-3))


def _check_files(dictionary: Dictionary, x: Tensor, folder: Path) -> None:
    dictionary.fold_decoder_norms_()
    dictionary.provenance = {"note": "contract"}
    dictionary.save(folder)
    loaded = Dictionary.load(folder)
    assert loaded.spec == dictionary.spec
    assert loaded.provenance == dictionary.provenance
    assert loaded.digest == dictionary.digest
    for (name, mine), (_, read) in zip(dictionary.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.equal(mine, read), f"{name} changed on disk"
    first, second = dictionary.encode(x), loaded.encode(x)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.values, second.values)


def _check_spec(spec: DictionarySpec) -> None:
    assert DictionarySpec.parse(spec.to_json()) == spec
    assert DictionarySpec.parse(dict(reversed(spec.to_json().items()))).digest == spec.digest
    assert spec.updated(n_features=N_FEATURES + 1).digest != spec.digest
    _assert_refused(lambda: architecture_of(spec.updated(options={"no_such": 1})), "unknown option 'no_such'")
    _assert_refused(lambda: DictionarySpec.parse({**spec.to_json(), "no_such": 1}), "unknown key")


def _assert_refused(call: Callable[[], object], words: str) -> None:
    try:
        call()
    except UsageError as error:
        message = str(error)
    else:
        message = "not refused at all"
    assert words in message, f"{message} does not say {words!r}"
