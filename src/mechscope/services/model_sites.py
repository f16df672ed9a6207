"""The sites of a person's own model: what can be read and written, in which shape, and what cannot, with the reason."""

from __future__ import annotations

from collections.abc import Iterable

from mechscope.core import LayerComponent, Spec
from mechscope.core.sites import GLOBAL_KINDS, LAYER_KINDS
from mechscope.models import Model
from mechscope.models.network import Network
from mechscope.services.model_checks import join_layers, read_site, stacked_kind

__all__ = [
    "SELECTORS",
    "SITE_MEANINGS",
    "ModelSites",
    "SiteGroup",
    "SiteShape",
    "UnreachedSites",
    "absent_sites",
    "list_sites",
]

SELECTORS = (
    "KIND:LAYER with a layer 5, -1, 0-4, 0:12:2 or *; then .h3 or .n7 for one head or neuron; joined by commas; "
    "also k[5], blocks.3.hook_resid_post, encoder.KIND:LAYER and MODULE.PATH:LAYER"
)
SITE_MEANINGS = {
    "embed": "the stream before the first block",
    "resid_pre": "the stream before the block",
    "resid_mid": "the stream after the attention",
    "resid_post": "the stream after the block",
    "attn_out": "what the attention adds to the stream",
    "mlp_out": "what the MLP adds to the stream",
    "q": "queries by head, before norm and rotation",
    "k": "keys by head, before norm and rotation",
    "v": "values by head",
    "pattern": "attention weights after the softmax",
    "z": "heads before the output projection",
    "head_out": "what each head adds to the stream",
    "mlp_pre": "what enters the MLP's non-linearity",
    "mlp_post": "the MLP's neurons",
    "final_norm": "the stream after the final norm",
    "logits": "the outputs",
    "pooled": "the row, pooled",
}
ROW_OUTPUTS = frozenset({"set", "classifier"})  # kinds of model with one output a row
PARALLEL = "attention and MLP of a block read the same stream, so there is none between them"
NOT_MAPPED = "the component map does not say where it is"


class SiteGroup(Spec):
    """The sites of one kind that have one shape. `shape` is what `[...]` holds, axes without a size by name."""

    kind: str
    sites: str
    n_sites: int
    shape: tuple[int | str, ...]
    meaning: str


class UnreachedSites(Spec):
    """Sites that cannot be used, with one reason. `how`: refused by measurement, or absent from such a model."""

    sites: str
    how: str
    reason: str


class SiteShape(Spec):
    """A site that a selector named, and its shape."""

    site: str
    shape: tuple[int | str, ...]


class ModelSites(Spec):
    """The sites of a model. `selected` is what `selector` names, in its order; `paths` are modules of the blocks."""

    model: str
    network: str
    n_layers: int
    n_sites: int
    groups: tuple[SiteGroup, ...]
    unreached: tuple[UnreachedSites, ...]
    selectors: str = SELECTORS
    selector: str | None = None
    selected: tuple[SiteShape, ...] = ()
    paths: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def list_sites(source: str, *, selector: str | None = None) -> ModelSites:
    """Open a model and list its sites; with a selector, the sites that it names.

    Raises as `Model.open` does, and as `Model.parse_sites` for the selector.
    """
    model = Model.open(source)
    paths = Network(model.module, model.component_map).paths
    selected = [] if selector is None else model.parse_sites(selector)
    return ModelSites(
        model=model.name,
        network=type(model.module).__name__,
        n_layers=model.n_layers,
        n_sites=len(model.sites()),
        groups=tuple(_groups(model)),
        unreached=(*_refused(model), *absent_sites(model)),
        selector=selector,
        selected=tuple(SiteShape(site=str(site), shape=named_shape(model, site)) for site in selected),
        paths=tuple(sorted(paths, key=lambda path: path.count("."))),
        notes=model.notes,
    )


def named_shape(model: Model, site: LayerComponent) -> tuple[int | str, ...]:
    """The whole shape of a site, its axes of batch and positions by name."""
    shape = model.site_shape(site)
    if site.kind.endswith("pattern"):
        return ("batch", *shape, "pos", "encoder_pos" if site.kind.startswith("cross_") else "pos")
    if site.kind in {"cross_k", "cross_v"}:
        return ("batch", "encoder_pos", *shape)
    is_row = site.kind == "pooled" or (site.kind == "logits" and model.kind in ROW_OUTPUTS)
    return ("batch", *shape) if is_row else ("batch", "pos", *shape)


def _groups(model: Model) -> Iterable[SiteGroup]:
    found: dict[tuple[str, tuple[int | str, ...]], list[LayerComponent]] = {}
    for site in model.sites():
        found.setdefault((stacked_kind(site), named_shape(model, site)), []).append(site)
    for (kind, shape), sites in found.items():
        yield SiteGroup(
            kind=kind,
            sites=join_layers(kind, [site.layer for site in sites]),
            n_sites=len(sites),
            shape=shape,
            meaning=_meaning(sites[0].kind),
        )


def _meaning(kind: str) -> str:
    plain = kind.removeprefix("cross_")
    return SITE_MEANINGS[plain] + (", of the attention to the encoder" if plain != kind else "")


def _refused(model: Model) -> Iterable[UnreachedSites]:
    """Those that failed their check: one line a kind and check, with the worst layer's reason."""
    reasons = model.verification.failed
    found: dict[tuple[str, str], list[LayerComponent]] = {}
    for text, reason in reasons.items():
        site = read_site(text)
        found.setdefault((stacked_kind(site), reason.partition(":")[0]), []).append(site)
    for (kind, _), sites in found.items():
        worst = max(sites, key=lambda site: _error_of(model, site))
        yield UnreachedSites(
            sites=join_layers(kind, [site.layer for site in sites]), how="refused", reason=reasons[str(worst)]
        )


def _error_of(model: Model, site: LayerComponent) -> float:
    first = next(check for check in model.verification.checks if check.site == str(site) and not check.passed)
    return float("inf") if first.error is None else first.error


def absent_sites(model: Model) -> Iterable[UnreachedSites]:
    """Kinds that no site of the model has: those that the map explains, and those that it says nothing of."""
    named = {site.kind for site in model.sites()} | {read_site(text).kind for text in model.verification.failed}
    is_one_stack = model.component_map.cross_attention is None
    found: dict[str, list[str]] = {}
    for kind in (*LAYER_KINDS, *GLOBAL_KINDS):
        is_not_missed = kind == "pooled" or (kind.startswith("cross_") and is_one_stack)
        if kind in named or is_not_missed:
            continue
        default = PARALLEL if kind == "resid_mid" and model.component_map.parallel_blocks else NOT_MAPPED
        found.setdefault(model.component_map.absent.get(kind, default), []).append(kind)
    for reason, kinds in found.items():
        yield UnreachedSites(sites=", ".join(kinds), how="absent", reason=reason)
