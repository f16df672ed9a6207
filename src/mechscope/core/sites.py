"""Typed sites: the places of a network where activations are read or written, and the ways to write them down.

What each field name means is fixed for every family:

    embed                 the residual stream before the first block             [batch pos d_model]
    resid_pre:L           the stream that enters block L                          [batch pos d_model]
    resid_mid:L           resid_pre + attn_out (parallel blocks have none)        [batch pos d_model]
    resid_post:L          resid_pre + attn_out + mlp_out                          [batch pos d_model]
    attn_out:L, mlp_out:L what the sublayer adds to the stream                    [batch pos d_model]
    z:L                   per-head values before the output projection            [batch pos n_heads d_head]
    head_out:L            per-head share of attn_out, bias apart                  [batch pos n_heads d_model]
    mlp_post:L            MLP neurons after the non-linearity                     [batch pos d_mlp]
    final_norm            the stream after the final norm                         [batch pos d_model]
    logits                the model's outputs                                     [batch pos d_vocab]
    pooled                a pooled representation of the whole row                [batch d_model]

Accepted spellings: `resid_post:3`, `resid_post:0-2` (inclusive), `resid_post:*`, TransformerLens names such as
`blocks.3.hook_resid_post`, and the founding documents' `layers_output:3`, `attentions_output:*`, `masked_mean`.
"""

from __future__ import annotations

import re

from mechscope.core.errors import UsageError, unknown_name
from mechscope.core.specs import Spec

__all__ = ["GLOBAL_KINDS", "LAYER_KINDS", "LayerComponent", "parse_sites"]

LAYER_KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "head_out", "mlp_post")
GLOBAL_KINDS = ("embed", "final_norm", "logits", "pooled")

_ALIASES = {
    "layers_input": "resid_pre",
    "layers_output": "resid_post",
    "attentions_output": "attn_out",
    "mlps_output": "mlp_out",
    "masked_mean": "pooled",
    "hook_embed": "embed",
    "ln_final": "final_norm",
    "attn.hook_z": "z",
    "attn.hook_result": "head_out",
    "mlp.hook_post": "mlp_post",
}
_LENS = re.compile(r"blocks\.(\d+)\.(.+)")


class LayerComponent(Spec):
    """One site. `layer` is None for the sites that belong to no block; `head` and `neuron` narrow the last axes."""

    kind: str
    layer: int | None = None
    head: int | None = None
    neuron: int | None = None

    def __str__(self) -> str:
        text = self.kind if self.layer is None else f"{self.kind}:{self.layer}"
        if self.head is not None:
            text += f".h{self.head}"
        return text if self.neuron is None else f"{text}.n{self.neuron}"


def parse_sites(selector: str, n_layers: int) -> list[LayerComponent]:
    """The sites that a selector names, in the order written; several selectors may be joined by commas.

    Args:
        selector: see the module's text.
        n_layers: number of blocks of the model, for `*` and range checks.

    Raises:
        NotFoundError: an unknown site name (nearest offered).
        UsageError: a layer that is missing, malformed or out of range.
    """
    sites: list[LayerComponent] = []
    for part in filter(None, (part.strip() for part in selector.split(","))):
        for site in _parse_one(part, n_layers):
            if site not in sites:
                sites.append(site)
    if not sites:
        raise UsageError(f"no site in {selector!r}", expected="for example 'resid_post:3'", todo="name a site")
    return sites


def _parse_one(text: str, n_layers: int) -> list[LayerComponent]:
    kind, layers = _split(text)
    kind = _ALIASES.get(kind, kind)
    if kind in GLOBAL_KINDS:
        if layers is not None:
            raise UsageError(f"site {text!r} carries a layer", expected=f"{kind!r} alone", todo="leave the layer away")
        return [LayerComponent(kind=kind)]
    if kind not in LAYER_KINDS:
        raise unknown_name("site", text, [*LAYER_KINDS, *GLOBAL_KINDS, *_ALIASES])
    if layers is None:
        raise UsageError(
            f"site {text!r} names no layer",
            expected=f"'{kind}:L' with L in 0..{n_layers - 1}, a range '{kind}:0-2', or '{kind}:*'",
            todo=f"for example '{kind}:{max(n_layers // 2, 0)}'",
        )
    return [LayerComponent(kind=kind, layer=layer) for layer in _layer_range(layers, text, n_layers)]


def _split(text: str) -> tuple[str, str | None]:
    if lens := _LENS.fullmatch(text):
        return lens[2].removeprefix("hook_"), lens[1]
    if bracket := re.fullmatch(r"(\w+)\[(-?\d+)\]", text):
        return bracket[1], bracket[2]
    kind, _, layers = text.partition(":")
    return kind, layers or None


def _layer_range(text: str, whole: str, n_layers: int) -> list[int]:
    if text in {"*", "all"}:
        return list(range(n_layers))
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise UsageError(
            f"layers {text!r} in site {whole!r}", expected="a number, 'a-b' (inclusive) or '*'", todo="correct it"
        )
    first, last = int(match[1]), int(match[2] or match[1])
    step = 1 if last >= first else -1
    layers = list(range(first, last + step, step))
    wrong = [layer for layer in layers if layer >= n_layers]
    if wrong:
        raise UsageError(
            f"layer {wrong[0]} in site {whole!r}",
            expected=f"a layer in 0..{n_layers - 1} (the model has {n_layers} blocks)",
            todo="choose a layer that exists",
        )
    return layers
