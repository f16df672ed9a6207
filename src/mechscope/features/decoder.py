"""Which outputs a feature's decoder row promotes and suppresses, read off the weights through the direct path.

The effect of one unit of activation on the outputs is `model.output_directions(W_dec[i])`: the final norm's weight and
centring, then the unembedding. The norm's division is left out, and so is everything between the site and the end of
the network; the result says "direct path only" unless the site is the last one. Outputs of a language model are
centred over the vocabulary, since a constant added to all logits changes no probability; a set model's are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import Spec, UsageError
from mechscope.dictionaries import Dictionary
from mechscope.features.inputs import FeatureInputs
from mechscope.models import Model
from mechscope.store.sparse import write_tensors

__all__ = ["DecoderOutputs", "OutputScore", "decoder_outputs", "percentile_of", "write_influences"]

N_KEPT = 64
CHUNK_VALUES = 1 << 23
LAST_KINDS = ("pooled", "final_norm", "logits")


class OutputScore(Spec):
    """One output and how much one unit of activation adds to it by the direct path, in logits."""

    output: str
    output_id: int
    value: float


class DecoderOutputs(Spec):
    """The direct effect of one feature on the outputs, and how large its decoder row is among all.

    `path` is "complete" when nothing but the final norm's scale lies behind the site. Percentiles are in 0..100 over
    the `n_features` of the dictionary: of the row's length, of the length of its effect on the outputs, and of that
    effect times the mean activation (zeros counted). `reason` says why the outputs are missing, when they are.
    """

    feature: int
    n_features: int
    n_outputs: int
    promoted: tuple[OutputScore, ...]
    suppressed: tuple[OutputScore, ...]
    path: Literal["complete", "direct path only"]
    is_centred: bool
    decoder_norm: float
    decoder_norm_percentile: float
    output_norm: float | None
    output_norm_percentile: float | None
    contribution_percentile: float | None
    reason: str = ""


def decoder_outputs(inputs: FeatureInputs, feature: int, *, n_outputs: int = 10) -> DecoderOutputs:
    """Promoted and suppressed outputs of a feature, from what the build stored (at most 64 of each).

    Raises NotFoundError for an unknown feature.
    """
    mean = inputs.store.stats(feature).mean
    held, facts = inputs.influences, inputs.influence_facts
    has_outputs = not facts["reason"]
    strength = held["output_norm"] * inputs.store.column("sum") if has_outputs else None
    own = held["output_norm"][feature] * mean * inputs.store.n_samples
    return DecoderOutputs(
        feature=feature,
        n_features=inputs.store.n_features,
        n_outputs=int(facts["n_outputs"]),
        promoted=_scores(inputs, held["top_ids"][feature], held["top_values"][feature], n_outputs),
        suppressed=_scores(inputs, held["bottom_ids"][feature], held["bottom_values"][feature], n_outputs),
        path="complete" if facts["is_complete"] else "direct path only",
        is_centred=bool(facts["is_centred"]),
        decoder_norm=float(held["decoder_norm"][feature]),
        decoder_norm_percentile=percentile_of(held["decoder_norm"], held["decoder_norm"][feature]),
        output_norm=float(held["output_norm"][feature]) if has_outputs else None,
        output_norm_percentile=percentile_of(held["output_norm"], held["output_norm"][feature])
        if has_outputs
        else None,
        contribution_percentile=None if strength is None else percentile_of(strength, float(own)),
        reason=str(facts["reason"]),
    )


def percentile_of(values: np.ndarray, value: float) -> float:
    """Percentile rank of `value` among `values` in 0..100: the share below it and half the share equal to it."""
    return float(100 * ((values < value).mean() + (values == value).mean() / 2))


def is_last_site(site: str, model: Model | None) -> bool:
    """Whether nothing but the final norm and the unembedding lies behind the site."""
    kind, _, layer = site.partition(":")
    if kind in LAST_KINDS:
        return True
    return kind == "resid_post" and model is not None and layer == str(model.n_layers - 1)


def write_influences(path: Path, dictionary: Dictionary, model: Model | None, *, site: str) -> None:
    """Store lengths of the decoder rows and, with a model, the top and bottom outputs of each feature.

    Memory: 8 million output values at a time. A model whose head is not linear leaves its reason in the file.
    """
    W_dec = dictionary.W_dec.detach().float()
    arrays: dict[str, np.ndarray] = {"decoder_norm": W_dec.double().norm(dim=1).cpu().numpy()}
    facts: dict[str, Any] = {"reason": "the store was built without a model", "n_outputs": 0, "is_centred": False}
    facts["is_complete"] = is_last_site(site, model)  # kept, since a reader may have no model to ask
    found: dict[str, np.ndarray] = {}
    if model is not None:
        try:
            found, facts["n_outputs"] = _measure(W_dec, model)
            facts |= {"reason": "", "is_centred": model.kind != "set"}
        except UsageError as error:
            facts["reason"] = error.seen
    arrays |= found or _nothing(len(W_dec))
    write_tensors(path, arrays, facts)


def _measure(W_dec: Float[Tensor, "n_features d_model"], model: Model) -> tuple[dict[str, np.ndarray], int]:
    n_outputs = model.output_directions(W_dec[:1].to(model.device)).shape[1]
    parts: dict[str, list[Tensor]] = {}
    for rows in torch.split(W_dec, max(1, CHUNK_VALUES // n_outputs)):
        effects = model.output_directions(rows.to(model.device)).detach().float()
        if model.kind != "set":
            effects = effects - effects.mean(dim=1, keepdim=True)
        top = effects.topk(min(N_KEPT, n_outputs), dim=1)
        bottom = effects.topk(min(N_KEPT, n_outputs), dim=1, largest=False)
        named = {"top_ids": top.indices.int(), "bottom_ids": bottom.indices.int()}
        named |= {"top_values": top.values, "bottom_values": bottom.values, "output_norm": effects.double().norm(dim=1)}
        for name, values in named.items():
            parts.setdefault(name, []).append(values.cpu())
    order = sorted(parts, key=lambda name: name != "output_norm")  # 8-byte values first keeps the file aligned
    return {name: torch.cat(parts[name]).numpy() for name in order}, n_outputs


def _nothing(n_features: int) -> dict[str, np.ndarray]:
    ids, values = np.zeros((n_features, 0), np.int32), np.zeros((n_features, 0), np.float32)
    empty = {"top_ids": ids, "bottom_ids": ids, "top_values": values, "bottom_values": values}
    return {"output_norm": np.full(n_features, np.nan), **empty}


def _scores(inputs: FeatureInputs, ids: np.ndarray, values: np.ndarray, n: int) -> tuple[OutputScore, ...]:
    pairs = zip(ids[:n].tolist(), values[:n].tolist(), strict=True)
    return tuple(OutputScore(output=inputs.output_name(i), output_id=i, value=v) for i, v in pairs)
