"""Direct logit attribution: a logit as the sum of what each part of the stream adds to it.

    x      = embed + sum over layers of what each sublayer (or head, with a bias) adds      the last stream
    logit  = scale * w (W_U (g * centred(x) / s + b_norm) + b_U)                            before the soft cap
    term c = scale * w W_U (g * centred(c) / s)        for each part c of x, with s = s(x), the norm's scale at the
    and    scale * w W_U b_norm,  scale * w b_U        whole of x, held where it is

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (the direct path), here through a final norm
whose scale is frozen. Centring is linear and is not frozen. Where a model takes the mean over a row, a term is the
mean over its tokens, each at its own scale. The terms sum to the logit exactly, which is measured in every call. It is
arithmetic on one forward: it says what a part writes into the logit, not what would happen without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, UsageError, unknown_name
from mechscope.models.batch import Batch
from mechscope.models.lens.directions import VocabularyDirection, vocabulary_direction
from mechscope.models.lens.places import PlaceChoice
from mechscope.models.lens.pulling_back import pull_back
from mechscope.models.lens.readings import Reading, last_stream, read_streams, tolerance_of
from mechscope.models.model import Model

__all__ = ["Attribution", "By", "direct_logit_attribution"]

By: TypeAlias = Literal["layer", "component", "head"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a logit is made of. Tensors are on the model's device, in float64; readings by row, then by column.

    Attributes:
        how: how the numbers were obtained, in words.
        terms: names: `embed`; `attn_out:0`, `cross_attn_out:0`, `mlp_out:0`; by head `attn_out:0.h3` and
            `attn_out:0 bias` (what the heads share); by layer `layer:0`; `final_norm bias`, `unembedding bias`.
        values: what each adds to the logit before the soft cap [terms n].
        uncapped: the logit before the soft cap, after the logit scale [n].
        output: the model's own logit, after the soft cap [n].
        cap_slopes: d logit / d uncapped logit of the target and, where given, of the token it is held against
            [n tokens]; 1 without a soft cap; None for weights over the vocabulary.
        final_scale: what the final norm divides by at each token read, held fixed [m]; None without a norm.
        rows, columns: the row and column of each reading [n]; columns are None in pooled models.
        sum_error: max |sum of terms - uncapped| / max over readings of sum_v |w_v uncapped_v|.
    """

    how: str
    terms: tuple[str, ...]
    values: Float[Tensor, "terms n"]
    uncapped: Float[Tensor, "n"]
    output: Float[Tensor, "n"]
    cap_slopes: Float[Tensor, "n tokens"] | None
    final_scale: Float[Tensor, "m"] | None
    rows: Int[Tensor, "n"]
    columns: Int[Tensor, "n"] | None
    sum_error: float

    def __getitem__(self, term: str) -> Float[Tensor, "n"]:
        """The values of one term. Raises NotFoundError with the nearest name."""
        if term not in self.terms:
            raise unknown_name("term", term, self.terms)
        found: Tensor = self.values[self.terms.index(term)]
        return found


@torch.no_grad()
def direct_logit_attribution(
    model: Model,
    batch: Batch,
    target: int | Int[Tensor, "*n"] | Float[Tensor, "*n d_vocab"],
    *,
    against: int | Int[Tensor, "*n"] | None = None,
    at: PlaceChoice = "last",
    by: By = "component",
) -> Attribution:
    """Split a logit, a difference of two, or any direction of the vocabulary into what each part adds.

    Args:
        model: any that `logit_lens` takes, whose parts can be read.
        batch: rows of tokens.
        target: a token id for all readings, one each [n], or weights over the vocabulary [d_vocab] or [n d_vocab].
        against: a token id, or one each, whose logit is taken away.
        at: "last", "all" or positions, as for `LensQuery`.
        by: "component" (attention and MLP of each layer), "head" (each head, what they share, and the MLP) or
            "layer" (each block whole; needs no map of its parts).

    Cost: one forward with its LM head. Memory while it runs: the parts over the whole batch, by head
    [n_layers batch pos n_heads d_model].

    Raises:
        UsageError: as `logit_lens`; a map that names neither attention nor MLP; a target that does not fit.
        NotFoundError: an unknown `by`; a part that cannot be read or failed its check.
        BadDataError: terms that do not sum to the logit.

    Example:
        found = direct_logit_attribution(model, batch, is_id, against=are_id, by="head")
        found["attn_out:2.h1"].mean()
    """
    if by not in get_args(By):
        raise unknown_name("`by` of an attribution", by, get_args(By))
    parts = _parts(model, by)
    reading = read_streams(model, batch, [site for part in parts for site in part.sites], at)
    direction = vocabulary_direction(
        target, against, n_readings=reading.places.n_readings, d_vocab=model.d_vocab, device=model.device
    )
    terms = _Terms(model, reading, direction)
    names, values = zip(*terms.all(parts), strict=True)
    return terms.result(names, torch.stack(values), n_rows=batch.n_rows, by=by)


@dataclass(frozen=True)
class _Part:
    """One site; the first of two less the second; or, with heads, the heads' shares and the whole they belong to."""

    name: str
    sites: tuple[LayerComponent, ...]
    has_heads: bool = False


def _parts(model: Model, by: By) -> list[_Part]:
    parts = [_Part("embed", tuple(model.parse_sites("embed")))]
    for layer in range(model.n_layers):
        if by == "layer":
            found = [_Part(f"layer:{layer}", tuple(model.parse_sites(f"resid_post:{layer},resid_pre:{layer}")))]
        else:
            found = [*_sublayers(model, layer, by)]
        parts += found
    return parts


def _sublayers(model: Model, layer: int, by: By) -> Iterator[_Part]:
    found = model.component_map
    named = {"attn": found.attention, "cross_attn": found.cross_attention, "mlp": found.mlp}
    if not any(named.values()):
        raise UsageError(
            f"an attribution by {by} of {model.name}, whose map names neither attention nor MLP",
            expected="a component map with the parts of a block",
            todo="ask for by='layer'",
        )
    for kind in (kind for kind, path in named.items() if path is not None):
        name = f"{kind}_out:{layer}"
        if by == "head" and kind != "mlp":
            heads = "head_out" if kind == "attn" else "cross_head_out"
            yield _Part(name, tuple(model.parse_sites(f"{heads}:{layer},{name}")), has_heads=True)
        else:
            yield _Part(name, tuple(model.parse_sites(name)))


class _Terms:
    """The terms of one reading, each a dot product with the direction as the stream sees it at the frozen scale."""

    def __init__(self, model: Model, reading: Reading, direction: VocabularyDirection) -> None:
        self.model = model
        self.reading = reading
        self.direction = direction
        readout = reading.readout
        in_stream, self.output_bias = direction.in_stream(readout.unembedding)
        self.pulled = pull_back(readout.parts, reading.values[last_stream(model)], in_stream, reading.places)

    def all(self, parts: list[_Part]) -> Iterator[tuple[str, Tensor]]:
        """Names and values [n], in the order of the forward pass; the biases at the end."""
        for part in parts:
            values = [self.reading.values[site].double() for site in part.sites]
            if part.has_heads:
                shares, whole = values
                for head in range(shares.shape[-2]):
                    yield f"{part.name}.h{head}", self._value(shares[..., head, :])
                yield f"{part.name} bias", self._value(whole - shares.sum(dim=-2))
            else:
                yield part.name, self._value(values[0] if len(values) == 1 else values[0] - values[1])
        scale = self.reading.readout.scale
        if self.pulled.bias is not None:
            yield "final_norm bias", self.pulled.bias * scale
        yield "unembedding bias", self.output_bias * scale

    def _value(self, part: Float[Tensor, "m d_model"]) -> Float[Tensor, "n"]:
        return self.reading.places.pool((part * self.pulled.seen).sum(dim=-1)) * self.reading.readout.scale

    def result(self, names: tuple[str, ...], values: Tensor, *, n_rows: int, by: By) -> Attribution:
        """The attribution, when the terms sum to the logit."""
        reading, direction = self.reading, self.direction
        readout, places = reading.readout, reading.places
        logits = readout.uncapped(reading.values[last_stream(self.model)], places)
        uncapped = direction.of(logits)
        error = (values.sum(dim=0) - uncapped).abs().max()
        sum_error = float(error / direction.magnitude(logits).max().clamp(min=torch.finfo(torch.float32).tiny))
        self._require_sum(float(error), values, sum_error)
        how = (
            f"direct logit attribution by {by} of {self.model.name}: {direction.words} before the soft cap; "
            f"{reading.describe()}, the norm's scale held at its value for the whole stream; {places.n_readings} "
            f"readings in {n_rows} rows; terms sum to the logit within {sum_error:.1e}; observed, not an intervention"
        )
        return Attribution(
            how=how,
            terms=names,
            values=values,
            uncapped=uncapped,
            output=direction.of(reading.output),
            cap_slopes=self._slopes(logits),
            final_scale=self.pulled.scale,
            rows=places.reading_rows,
            columns=places.reading_columns,
            sum_error=sum_error,
        )

    def _slopes(self, logits: Tensor) -> Tensor | None:
        if self.direction.tokens is None:
            return None
        chosen = logits.gather(1, self.direction.tokens).double()
        cap = self.reading.readout.cap
        return torch.ones_like(chosen) if cap is None else 1 - torch.tanh(chosen / cap).square()

    def _require_sum(self, error: float, values: Tensor, sum_error: float) -> None:
        # many norms compute in float32 also inside a float64 model
        allowed = max(tolerance_of(self.model.dtype), tolerance_of(torch.float32))
        largest = float(values.abs().max())
        if not (sum_error <= allowed or error <= allowed * largest):
            raise BadDataError(
                f"the terms of {self.model.name} miss the logit by {error:.1e} (relative {sum_error:.1e})",
                expected=f"at most {allowed:.0e} of the logit or of the largest term",
                todo="open the model with verify=True and see which part of its map does not hold",
            )
