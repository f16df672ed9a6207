"""`activations collect` as a service."""

from __future__ import annotations

from typing import Any

from mechscope.activations import ActivationCache, CollectSpec, collect
from mechscope.core import SILENT, Progress, Spec
from mechscope.services.targets import CorpusRequest, open_target
from mechscope.workspace import Workspace

__all__ = ["CacheSummary", "collect_activations"]


class CacheSummary(Spec):
    """One dense cache; `was_reused` means that no forward pass was run for it."""

    site: str
    folder: str
    n_samples: int
    d_in: int
    dtype: str
    n_bytes: int
    was_reused: bool


def collect_activations(
    workspace: Workspace,
    *,
    model: str | None,
    request: CorpusRequest,
    settings: dict[str, Any],
    progress: Progress = SILENT,
) -> list[CacheSummary]:
    """Collect the asked sites; `settings` are the fields of `CollectSpec`."""
    spec = CollectSpec.parse(settings, where="the options of `activations collect`")
    target = open_target(workspace, model=model, site=None, request=request, progress=progress)
    before = _modified(workspace)
    caches = collect(target.model, target.corpus, spec, workspace.activations, progress)
    return [_summary(cache, was_reused=cache.folder.name in before) for cache in caches.values()]


def _modified(workspace: Workspace) -> set[str]:
    return {path.parent.name for path in workspace.activations.glob("*/manifest.json")}


def _summary(cache: ActivationCache, *, was_reused: bool) -> CacheSummary:
    return CacheSummary(
        site=cache.site,
        folder=str(cache.folder),
        n_samples=cache.n_samples,
        d_in=cache.d_in,
        dtype=cache.facts["dtype"],
        n_bytes=sum(path.stat().st_size for path in cache.folder.iterdir()),
        was_reused=was_reused,
    )
