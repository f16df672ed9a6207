"""A dictionary: weights, and the spec that says how they are used."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import BadDataError, NotFoundError, UsageError, derive_seed
from mechscope.dictionaries import files
from mechscope.dictionaries.architecture import Weights, architecture_of, folded_bias, selected_codes
from mechscope.dictionaries.codes import Codes
from mechscope.dictionaries.products import sparse_times_dense
from mechscope.dictionaries.specs import DictionarySpec

__all__ = ["Dictionary"]

INITIAL_DECODER_NORM = 0.1


class Dictionary(nn.Module):
    """A sparse dictionary over activations: `x ~ encode(x) @ W_dec + b_dec`.

    A fresh one has all weights at 0; `Dictionary.random` draws them, `Dictionary.load` reads them. W_enc lies feature
    by feature in memory (its transpose is contiguous), since the training step and single features read it so.

    Attributes:
        spec: shape and kind.
        architecture: the object that selects the active entries.
        provenance: where it came from, JSON types; written to `cfg.json` under `metadata`, not part of the digest.

    Example:
        >>> dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=4, n_features=8, k=2), seed=0)
        >>> codes = dictionary.encode(torch.eye(4))
        >>> len(codes), codes.n_features, dictionary.decode(codes).shape
        (4, 8, torch.Size([4, 4]))
    """

    def __init__(self, spec: DictionarySpec) -> None:
        super().__init__()
        self.spec = spec
        self.architecture = architecture_of(spec)
        self.provenance: dict[str, Any] = {}
        self.W_enc = nn.Parameter(torch.zeros(spec.n_features, spec.d_in).t())
        self.b_enc = nn.Parameter(torch.zeros(spec.n_features))
        self.W_dec = nn.Parameter(torch.zeros(spec.n_features, spec.d_in))
        self.b_dec = nn.Parameter(torch.zeros(spec.d_in))
        for name, shape in self.architecture.extra_shapes(spec).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    @classmethod
    def random(cls, spec: DictionarySpec, *, seed: int, decoder_norm: float = INITIAL_DECODER_NORM) -> Self:
        """Decoder rows uniform on the sphere of radius `decoder_norm` (> 0), encoder = decoder transposed, biases 0."""
        dictionary = cls(spec)
        generator = torch.Generator().manual_seed(derive_seed(seed, "dictionary"))
        rows = torch.randn(spec.n_features, spec.d_in, generator=generator)
        rows = decoder_norm * rows / rows.norm(dim=1, keepdim=True)
        with torch.no_grad():
            dictionary.W_dec.copy_(rows)
            dictionary.W_enc.copy_(rows.t())
        return dictionary

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.spec.n_features

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.spec.d_in

    @property
    def weights(self) -> Weights:
        """The parameters as one value; the same tensors, not copies."""
        named = dict(self.named_parameters())
        common = {name: named.pop(name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
        return Weights(**common, extra=named)

    @property
    def digest(self) -> str:
        """SHA-256 over the spec and every weight (name, dtype, shape, bytes). Reads all weights once."""
        state = hashlib.sha256(self.spec.digest.encode())
        for name, value in sorted(self.named_parameters()):
            array = value.detach().cpu().contiguous()
            state.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
            state.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        return state.hexdigest()

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The codes of raw activations, any floating dtype; at most 16 MiB of pre-activations exist at a time.

        Raises:
            UsageError: another width than d_in.
            BadDataError: NaN or infinity in `x`; the first such sample is named.
        """
        self._check_input(x)
        return selected_codes(self.architecture, x.to(self.b_dec.dtype), self.spec, self.weights)

    @torch.no_grad()
    def pre_activation(self, x: Float[Tensor, "n d_in"], feature: int) -> Float[Tensor, "n"]:
        """What one feature would be before the architecture selects (ReLU, TopK): negative values stay. O(n d_in).

        Where the feature is active, it is its activation. Raises as `encode` does, and NotFoundError for a feature
        that is not in 0..n_features-1.
        """
        if not 0 <= feature < self.n_features:
            raise NotFoundError(
                f"feature {feature} is not in this dictionary",
                expected=f"an id from 0 to {self.n_features - 1}",
                todo="choose one of these",
            )
        self._check_input(x)
        bias = folded_bias(self.spec, self.weights)[feature]
        return x.to(self.b_dec.dtype) @ self.W_enc[:, feature] + bias

    @torch.no_grad()
    def decode(self, codes: Codes) -> Float[Tensor, "n d_in"]:
        """Codes back to activations: nnz * d_in multiplications. Raises UsageError on codes of another width."""
        if codes.n_features != self.n_features:
            raise UsageError(
                f"codes over {codes.n_features} features",
                expected=f"codes over {self.n_features}, the width of this dictionary",
                todo="decode them with the dictionary that made them",
            )
        return sparse_times_dense(codes, self.W_dec).add_(self.b_dec)

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """`decode(encode(x))` for any leading axes, in the dtype of `x`. Raises as `encode` does."""
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return self.decode(self.encode(flat)).to(x.dtype).reshape(x.shape)

    @torch.no_grad()
    def fold_decoder_norms_(self) -> None:
        """Give every decoder row norm 1 and its codes the norm, in place; reconstructions stay the same."""
        norms = self.W_dec.norm(dim=1)
        norms = torch.where(norms > 0, norms, torch.ones_like(norms))
        self.W_dec.div_(norms[:, None])
        self.W_enc.mul_(norms)
        self.b_enc.mul_(norms)

    @torch.no_grad()
    def fold_input_scale_(self, scale: float) -> None:
        """Turn a dictionary of `scale * x` into one of raw `x`, in place; `scale` is above 0."""
        self.b_enc.div_(scale)
        self.b_dec.div_(scale)

    def save(self, folder: Path) -> None:
        """Write `sae_weights.safetensors` and then `cfg.json`, as SAELens lays them out.

        Raises:
            BadDataError: a weight is NaN or infinite; nothing is written.
            ConflictError: the disk is full.
        """
        files.save(folder, self.spec, self.architecture, dict(self.named_parameters()), self.provenance)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a dictionary written by `save`, or by SAELens with an architecture that we know.

        Raises:
            NotFoundError: no such folder or file, or an unknown architecture.
            BadDataError: the folder of an unfinished training, wrong shapes, missing or surplus tensors, NaN, a
                checksum that does not match, or settings that we cannot honour (input normalisation that was not
                folded).
        """
        spec, tensors, provenance, has_free_norms = files.load(folder)
        dictionary = cls(spec)
        dictionary.provenance = provenance
        files.check_tensors(folder, tensors, {name: tuple(p.shape) for name, p in dictionary.named_parameters()})
        with torch.no_grad():
            for name, parameter in dictionary.named_parameters():
                parameter.copy_(tensors[name])
        if has_free_norms:
            dictionary.fold_decoder_norms_()
        return dictionary

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.d_in:
            raise UsageError(
                f"activations of shape {tuple(x.shape)}",
                expected=f"[n, {self.d_in}], the width that this dictionary reads",
                todo="use the dictionary of that site",
            )
        is_finite = torch.isfinite(x)
        if not bool(is_finite.all()):
            row = int((~is_finite.all(dim=1)).nonzero()[0])
            raise BadDataError(
                f"sample {row} of the activations holds NaN or infinity",
                expected="finite activations",
                todo="look at the model's input and dtype for that sample",
            )
