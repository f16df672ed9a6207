"""Typed sites: the places of a network where activations are read or written, and the ways to write them down.

What each field name means is fixed for every family:

    embed                 the residual stream before the first block              [batch pos d_model]
    resid_pre:L           the stream that enters block L                           [batch pos d_model]
    resid_mid:L           the stream the MLP reads (parallel blocks have none)     [batch pos d_model]
    resid_post:L          resid_pre + attn_out (+ cross_attn_out) + mlp_out         [batch pos d_model]
    attn_out:L, mlp_out:L what the sublayer adds to the stream                     [batch pos d_model]
    q:L, k:L, v:L         per head, as projected: before any norm or rotation      [batch pos n_heads d_head]
    pattern:L             attention weights after the softmax                      [batch n_heads pos pos]
    z:L                   per-head values before the output projection             [batch pos n_heads d_head]
    head_out:L            per-head share of attn_out, bias apart                   [batch pos n_heads d_model]
    mlp_pre:L, mlp_post:L what enters the MLP's non-linearity; the neurons         [batch pos d_mlp]
    cross_...:L           the same for a decoder's attention to its encoder
    final_norm            the stream after the final norm                          [batch pos d_model]
    logits                the model's outputs                                      [batch pos d_vocab]
    pooled                a pooled representation of the whole row                 [batch d_model]

`k` and `v` have as many heads as the model has key-value heads; where one norm joins all heads before they are cut
(OLMo 2), q and k are read behind it. `z:3.h5` is one head, `mlp_post:3.n187` one neuron (its axis is gone), and
`encoder.resid_post:3` the stream of an encoder beside a decoder. A dotted path such as `self_attn.k_proj:3` is what
that module of the block puts out, as it stands.

Accepted spellings of layers: `k:5`, `k:-1` (from the end), `k`, `k:*`, `k:all`, `k:0-4` (inclusive, or descending), the
slices `k:0:5` and `k:0:12:2` (without the end), `k[5]`; the same after `.h` and `.n`; TransformerLens names such as
`blocks.3.hook_resid_post`; and the founding documents' `layers_output:3`, `attentions_output:*`, `masked_mean`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Literal

from pydantic import model_validator

from mechscope.core.errors import UsageError, unknown_name
from mechscope.core.specs import Spec

__all__ = ["ALIASES", "GLOBAL_KINDS", "HEAD_KINDS", "LAYER_KINDS", "NEURON_KINDS", "LayerComponent", "parse_sites"]

ATTENTION_KINDS = ("attn_out", "q", "k", "v", "pattern", "z", "head_out")
CROSS_KINDS = tuple(f"cross_{kind}" for kind in ATTENTION_KINDS)
LAYER_KINDS = (
    *("resid_pre", "resid_mid", "resid_post", "mlp_pre", "mlp_post", "mlp_out"),
    *ATTENTION_KINDS,
    *CROSS_KINDS,
)
GLOBAL_KINDS = ("embed", "final_norm", "logits", "pooled")
HEAD_KINDS = frozenset(
    prefix + kind for prefix in ("", "cross_") for kind in ("q", "k", "v", "pattern", "z", "head_out")
)
NEURON_KINDS = frozenset({"mlp_pre", "mlp_post"})

ALIASES = {
    "layers_input": "resid_pre",
    "layers_output": "resid_post",
    "attentions_output": "attn_out",
    "mlps_output": "mlp_out",
    "attention_probabilities": "pattern",
    "masked_mean": "pooled",
    "residual": "resid_post",
    "attention_head": "head_out",
    "mlp_neuron": "mlp_post",
    "result": "head_out",
    "ln_final": "final_norm",
    "ln_final.hook_out": "final_norm",
    "attn.hook_q": "q",
    "attn.hook_k": "k",
    "attn.hook_v": "v",
    "attn.hook_z": "z",
    "attn.hook_pattern": "pattern",
    "attn.hook_result": "head_out",
    "mlp.hook_pre": "mlp_pre",
    "mlp.hook_post": "mlp_post",
}
_LENS = re.compile(r"blocks\.([\d*:-]+)\.(.+)")
_INDEX = re.compile(r"-?\d+")
_RANGE = re.compile(r"(\d+)-(\d+)")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?")
_PART = re.compile(r"(?P<whole>.*?)(?:\.h(?P<head>[\d*:-]+))?(?:\.n(?P<neuron>[\d*:-]+))?")


class LayerComponent(Spec):
    """One site.

    Args:
        kind: a name of the module's list, an alias of one (stored as the name it stands for), or the dotted path of a
            module in the block.
        layer: the block, from 0; None for the sites that belong to no block.
        head: one head of a kind that has heads.
        neuron: one neuron of `mlp_pre` or `mlp_post`.
        stack: "encoder" for the encoder of an encoder-decoder; None for the stack that makes the logits.
    """

    kind: str
    layer: int | None = None
    head: int | None = None
    neuron: int | None = None
    stack: Literal["encoder"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_as_it_is(cls, given: Any) -> Any:
        return {**given, "kind": ALIASES.get(given["kind"], given["kind"])} if "kind" in given else given

    @property
    def base(self) -> LayerComponent:
        """The whole site that a head or neuron is part of; itself when it is whole."""
        whole = self.head is None and self.neuron is None
        return self if whole else LayerComponent(kind=self.kind, layer=self.layer, stack=self.stack)

    def __str__(self) -> str:
        text = self.kind if self.layer is None else f"{self.kind}:{self.layer}"
        text = text if self.stack is None else f"{self.stack}.{text}"
        if self.head is not None:
            text += f".h{self.head}"
        return text if self.neuron is None else f"{text}.n{self.neuron}"


def parse_sites(
    selector: str,
    n_layers: int,
    *,
    n_encoder_layers: int = 0,
    heads: Callable[[str], int | None] = lambda kind: None,
    n_neurons: int | None = None,
    paths: Collection[str] = (),
) -> list[LayerComponent]:
    """The sites that a selector names, in the order written; several selectors may be joined by commas.

    Args:
        selector: see the module's text.
        n_layers: number of blocks of the model, for `*` and range checks.
        n_encoder_layers: the same for the encoder of an encoder-decoder.
        heads: how many heads a kind of site has, for `.h*`; None when that is not known.
        n_neurons: for `.n*`.
        paths: dotted paths of the modules in a block that may be named.

    Raises:
        NotFoundError: an unknown site name (nearest offered).
        UsageError: a layer, head or neuron that is malformed or out of range.
    """
    limits = _Limits(n_layers, n_encoder_layers, heads, n_neurons, paths)
    parts = filter(None, (part.replace(" ", "") for part in selector.split(",")))
    sites = list(dict.fromkeys(site for part in parts for site in limits.parse(part)))
    if not sites:
        raise UsageError(f"no site in {selector!r}", expected="for example 'resid_post:3'", todo="name a site")
    return sites


class _Limits:
    """What a model has, and the reading of one selector against it."""

    def __init__(
        self,
        n_layers: int,
        n_encoder_layers: int,
        heads: Callable[[str], int | None],
        n_neurons: int | None,
        paths: Collection[str],
    ) -> None:
        self.n_layers = n_layers
        self.n_encoder_layers = n_encoder_layers
        self.heads = heads
        self.n_neurons = n_neurons
        self.paths = paths

    def parse(self, text: str) -> list[LayerComponent]:
        text = text.replace("encoder_blocks.", "encoder.blocks.").replace("decoder_blocks.", "blocks.")
        stack: Literal["encoder"] | None = "encoder" if text.startswith("encoder.") else None
        whole, heads, neurons = _split_parts(text.removeprefix("encoder.").removeprefix("decoder."))
        kind, layers = _split(whole)
        kind = ALIASES.get(kind, kind)
        if stack and not self.n_encoder_layers:
            raise unknown_name("site of a model without an encoder", text, [*LAYER_KINDS, *GLOBAL_KINDS])
        if kind in GLOBAL_KINDS:
            if layers is not None:
                raise UsageError(f"site {text!r} carries a layer", expected=f"{kind!r} alone", todo="drop the layer")
            return [LayerComponent(kind=kind, stack=stack)]
        if kind not in LAYER_KINDS and kind not in self.paths:
            raise unknown_name("site", text, [*LAYER_KINDS, *GLOBAL_KINDS, *ALIASES, *self.paths], compared=kind)
        for what, part, having in (("head", heads, HEAD_KINDS), ("neuron", neurons, NEURON_KINDS)):
            if part is not None and kind not in having:
                raise UsageError(
                    f"site {text!r}: {kind} has no {what}s",
                    expected=f"one of {', '.join(sorted(having))}",
                    todo=f"drop the {what}, or name another site",
                )
        n_layers = self.n_encoder_layers if stack else self.n_layers
        return [
            LayerComponent(kind=kind, layer=layer, head=head, neuron=neuron, stack=stack)
            for layer in _numbers("*" if layers is None else layers, n_layers, what="layer", whole=text)
            for head in (_numbers(heads, self.heads(kind), what="head", whole=text) if heads else [None])
            for neuron in (_numbers(neurons, self.n_neurons, what="neuron", whole=text) if neurons else [None])
        ]


def _split_parts(text: str) -> tuple[str, str | None, str | None]:
    match = _PART.fullmatch(text)
    return (match["whole"], match["head"], match["neuron"]) if match else (text, None, None)


def _split(text: str) -> tuple[str, str | None]:
    if lens := _LENS.fullmatch(text):
        return lens[2].removeprefix("hook_"), lens[1]
    if bracket := re.fullmatch(r"([\w.]+)\[(.*)\]", text):
        return bracket[1], bracket[2]
    kind, colon, layers = text.partition(":")
    return kind, layers if colon else None


def _numbers(text: str, count: int | None, *, what: str, whole: str) -> list[int]:
    """The numbers that `5`, `-1`, `*`, `all`, `a-b`, `a:b` or `a:b:c` stand for, each below `count`."""
    if text not in {"*", "all"} and (_INDEX.fullmatch(text) or _RANGE.fullmatch(text)):
        bounds = [int(bound) for bound in (_RANGE.fullmatch(text) or [text])[0].lstrip("-").split("-")]
        if text.startswith("-"):
            bounds = [_known(count, what, whole) - bounds[0]]
        wrong = [bound for bound in bounds if bound < 0 or (count is not None and bound >= count)]
        if wrong:
            raise UsageError(
                f"{what} {text} in site {whole!r}",
                expected=f"a {what} in 0..{(count or 0) - 1} (there are {count})",
                todo=f"choose a {what} that exists",
            )
        step = 1 if bounds[-1] >= bounds[0] else -1
        return list(range(bounds[0], bounds[-1] + step, step))
    if text in {"*", "all"}:
        return list(range(_known(count, what, whole)))
    if (match := _SLICE.fullmatch(text)) and match[3] != "0":
        first, end, stride = (int(part) if part else None for part in match.groups(default=""))
        n_known = _known(count, what, whole)
        found = list(range(n_known))[first:end:stride]
        if found and all(-n_known <= bound <= n_known for bound in (first, end) if bound is not None):
            return found
        raise UsageError(
            f"{what}s {text!r} in site {whole!r}, where there are {n_known}",
            expected=f"a slice within 0..{n_known} that holds at least one, its end not included",
            todo="correct the slice, or write an inclusive range 'a-b'",
        )
    raise UsageError(
        f"{what}s {text!r} in site {whole!r}",
        expected="a number, 'a-b' (inclusive), a slice 'a:b' or 'a:b:c', '*' or 'all'",
        todo="correct it",
    )


def _known(count: int | None, what: str, whole: str) -> int:
    if count is None:
        raise UsageError(
            f"{what}s counted from the end, or all of them, in site {whole!r}",
            expected=f"a model that tells how many {what}s it has",
            todo=f"write the {what}s as numbers",
        )
    return count
