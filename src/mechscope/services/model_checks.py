"""The check at open, as a table: what was measured of a person's own model, and which sites it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from mechscope.core import LayerComponent, Spec, UsageError, unknown_name
from mechscope.core.hugging_face import transformers_version
from mechscope.models import Check, Model
from mechscope.models.opening import read_device

__all__ = [
    "CHECK_MEANINGS",
    "CheckLine",
    "ModelCheck",
    "check_lines",
    "join_layers",
    "read_site",
    "stacked_kind",
    "verify_model",
]

CHECK_MEANINGS = {
    "reached": "the map and the network let the site be read",
    "heads": "sum of head_out + bias = attn_out",
    "neurons": "mlp_post through its projection = mlp_out",
    "middle": "resid_mid = what the MLP's norm reads",
    "stream": "resid_pre + attn_out + mlp_out = resid_post",
    "chain": "resid_post = resid_pre of the next block",
    "norm": "final norm of the last resid_post = final_norm",
    "output": "unembedding, scale and cap of final_norm = logits",
    "eager": "logits under eager attention = logits",
    "weights": "rows of the pattern sum to one",
    "mix": "pattern times v = z",
    "apart": "a head or neuron acts on its own only",
    "padding": "padded = unpadded",
    "null": "writing back what was read changes no bit",
    "live": "an edit moves the logits",
}
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class CheckLine(Spec):
    """One check over the layers of one kind of site.

    Args:
        sites: a selector of all of them.
        error: the worst relative error; None where the check gives no number, or it is not finite (NaN).
        tolerance: None where the check gives no number.
        refused: those that failed.
        note: what the worst one has to say.
    """

    check: str
    meaning: str
    kind: str
    sites: str
    n_sites: int
    error: float | None
    tolerance: float | None
    passed: bool
    refused: tuple[str, ...] = ()
    note: str = ""


class ModelCheck(Spec):
    """What the check at open measured, just now.

    Args:
        network: class of the module.
        n_standing: sites that stand.
        refused: why each refused site is refused.
        lines: one a check and kind of site.
        rows: one a check and site, where they were asked for.
    """

    model: str
    network: str
    n_layers: int
    dtype: str
    device: str
    torch_version: str
    transformers_version: str
    measured_anew: bool
    n_standing: int
    n_refused: int
    passed: bool
    refused: dict[str, str]
    lines: tuple[CheckLine, ...]
    rows: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


def verify_model(
    source: str, *, dtype: str = "float32", device: str = "cpu", layer: int | None = None, all_rows: bool = False
) -> ModelCheck:
    """Open a model and measure all that its component map claims, whatever is remembered of an earlier check.

    Args:
        source: a shipped subject, a folder or a hub id.
        layer: give the rows of this layer.
        all_rows: give every row.

    Raises as `Model.open` does; UsageError for a dtype, device or layer that is not there.
    """
    model = Model.open(source, dtype=read_dtype(dtype), device=read_device(device), verify="anew")
    checks, failed = model.verification.checks, model.verification.failed
    return ModelCheck(
        model=model.name,
        network=type(model.module).__name__,
        n_layers=model.n_layers,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        torch_version=torch.__version__,
        transformers_version=transformers_version(),
        measured_anew=model.verification.was_run and not model.verification.remembered,
        n_standing=len(model.sites()),
        n_refused=len(failed),
        passed=not failed,
        refused=failed,
        lines=tuple(check_lines(checks)),
        rows=_of_layer(checks, layer) if layer is not None else checks if all_rows else (),
        notes=model.notes,
    )


def check_lines(checks: Iterable[Check]) -> list[CheckLine]:
    """The rows of a verification, joined over layers; checks in the order of their meanings."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        site = read_site(check.site)
        groups.setdefault((check.name, stacked_kind(site)), []).append(check)
    order = list(CHECK_MEANINGS)
    return [
        _line(name, kind, rows) for (name, kind), rows in sorted(groups.items(), key=lambda g: order.index(g[0][0]))
    ]


def read_site(text: str) -> LayerComponent:
    """The site that a row of a verification names."""
    kind, _, layer = text.removeprefix("encoder.").partition(":")
    stack: Literal["encoder"] | None = "encoder" if text.startswith("encoder.") else None
    return LayerComponent(kind=kind, layer=int(layer) if layer else None, stack=stack)


def stacked_kind(site: LayerComponent) -> str:
    """The kind of a site, with its stack."""
    return site.kind if site.stack is None else f"{site.stack}.{site.kind}"


def join_layers(kind: str, layers: Sequence[int | None]) -> str:
    """A selector of one kind at some layers: `z:0-3, z:5`; the kind alone for a site that belongs to no layer."""
    runs: list[list[int]] = []
    for layer in sorted(layer for layer in layers if layer is not None):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    found = [f"{kind}:{run[0]}" if len(run) == 1 else f"{kind}:{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(found) or kind


def read_dtype(name: str) -> torch.dtype:
    """A dtype by its name. Raises NotFoundError."""
    if name not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    return DTYPES[name]


def _of_layer(checks: Sequence[Check], layer: int) -> tuple[Check, ...]:
    found = tuple(check for check in checks if read_site(check.site).layer == layer)
    if not found:
        layers = {site.layer for site in (read_site(check.site) for check in checks) if site.layer is not None}
        raise UsageError(f"layer {layer}", expected=f"a layer in 0..{max(layers)}", todo="choose a layer that exists")
    return found


def _line(name: str, kind: str, rows: Sequence[Check]) -> CheckLine:
    worst = max(rows, key=_badness)
    return CheckLine(
        check=name,
        meaning=CHECK_MEANINGS[name],
        kind=kind,
        sites=join_layers(kind, [read_site(row.site).layer for row in rows]),
        n_sites=len(rows),
        error=worst.error,
        tolerance=worst.tolerance,
        passed=all(row.passed for row in rows),
        refused=tuple(row.site for row in rows if not row.passed),
        note=worst.note,
    )


def _badness(row: Check) -> tuple[bool, float]:
    without_number = math.inf if row.tolerance is not None else 0.0
    return not row.passed, without_number if row.error is None else row.error
