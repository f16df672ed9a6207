"""Collect: a corpus through a model at sites into the dense cache.

    for each window of rows                     (contiguous, about 8 batches of tokens)
        for each batch of the window            (sorted by length, right-padded)
            one forward pass to the last site that still misses this window's shard
            take the samples that the token policy marks, put each to its shuffled place in its site's buffer
        write the shards that end with this window
    publish the manifest of each site

An artifact is named by the digest of its key. A finished one is opened without running the model; an unfinished one
goes on at its next shard. A shard that was begun is collected again from its first row, to the same bytes.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mechscope.activations.batching import check_rows, make_batches
from mechscope.activations.cache import CACHE_KIND, ActivationCache
from mechscope.activations.planning import cut_shards, cut_windows
from mechscope.activations.requests import CollectSpec, Request
from mechscope.activations.writing import SiteWriter, stored_bytes
from mechscope.core import SILENT, BadDataError, LayerComponent, Progress, digest_of
from mechscope.corpora.corpus import Corpus
from mechscope.models.model import Model
from mechscope.store.atomic import require_room, write_json
from mechscope.store.locks import folder_lock
from mechscope.store.manifests import artifact_folder, is_complete, publish

__all__ = ["CollectSpec", "collect"]


def collect(
    model: Model, corpus: Corpus, spec: CollectSpec, root: Path, progress: Progress = SILENT
) -> dict[str, ActivationCache]:
    """The caches of the asked sites, by the site in words; what is there already is not collected again.

    Cost: one forward pass over the corpus up to the deepest site that is missing; memory `shard_bytes` a site.
    Several processes may collect the same thing at once: one works, the others wait and then reuse it.

    Args:
        root: the folder under which each site has its folder, named by the digest of its key.

    Raises:
        NotFoundError, UsageError: an unknown site, policy or option.
        BadDataError: rows that the model cannot run; NaN or infinity at a site (row and position are named); no
            sample at all; a damaged or foreign file in a folder. Nothing is published then.
        ConflictError: not enough disk, before the start or on the way. Finished shards stay for the next call.
    """
    request = Request.of(model, corpus, spec)
    keys = {site: request.key(site) for site in request.sites}
    folders = {site: artifact_folder(root, key) for site, key in keys.items()}
    for site in filter(request.is_per_row, keys):
        if spec.token_policy != "all":
            progress.say(f"site {site} has one vector a row: token policy {spec.token_policy!r} does not apply to it")
    if not all(map(is_complete, folders.values())):
        with ExitStack() as stack:
            # every process takes the locks in one order, so that two of them never wait for each other
            for site, folder in sorted(folders.items(), key=lambda item: item[1]):
                tell = partial(progress.say, f"site {site}: another process is collecting it; waiting for it")
                stack.enter_context(folder_lock(folder, on_wait=tell))
            missing = {site: key for site, key in keys.items() if not is_complete(folders[site])}
            if missing:
                _collect_missing(request, missing, root, progress)
    return {str(site): ActivationCache.open(folder) for site, folder in folders.items()}


def _collect_missing(
    request: Request, keys: dict[LayerComponent, dict[str, Any]], root: Path, progress: Progress
) -> None:
    started = time.perf_counter()
    corpus = request.used
    filled = np.flatnonzero(corpus.tokens.lengths > 0)
    check_rows(corpus, filled, request.model)
    windows = cut_windows(corpus, request.spec.batch_tokens)
    writers = {site: _writer(request, site, key, root, windows) for site, key in keys.items()}
    n_kept = 0
    for site, writer in writers.items():
        write_json(writer.folder / "key.json", keys[site])
        writer.resume()
        n_kept += len(writer.entries)
    if n_kept:
        progress.say(f"going on after {n_kept} finished shards")
    require_room(root, sum(writer.missing_bytes for writer in writers.values()), what="the activation cache")
    _run(request, writers, windows, progress)
    for site, writer in writers.items():
        timings = {"collect_seconds": time.perf_counter() - started, "n_shards_written": writer.n_written}
        facts = {**_facts(request, site, writer), "timings": timings}
        publish(writer.folder, kind=CACHE_KIND, key=keys[site], files=writer.entries, facts=facts)


def _writer(
    request: Request, site: LayerComponent, key: dict[str, Any], root: Path, windows: list[tuple[int, int]]
) -> SiteWriter:
    selection, d_in = request.selection(site), request.d_in(site)
    if selection.n_samples == 0:
        raise BadDataError(
            f"token policy {request.spec.token_policy!r} marks no token of corpus {request.corpus.name!r}",
            expected="at least one sample",
            todo="check the policy's options against the corpus",
        )
    sample_bytes = stored_bytes(d_in, request.dtype)
    return SiteWriter(
        site=str(site),
        folder=artifact_folder(root, key),
        key_digest=digest_of(key),
        corpus=request.used,
        selection=selection,
        shards=cut_shards(windows, selection, sample_bytes=sample_bytes, shard_bytes=request.spec.shard_bytes),
        d_in=d_in,
        dtype=request.dtype,
        seed=request.spec.seed,
    )


def _run(
    request: Request, writers: dict[LayerComponent, SiteWriter], windows: list[tuple[int, int]], progress: Progress
) -> None:
    lengths = request.used.tokens.lengths
    with torch.no_grad(), progress.task("collect activations", total=request.used.n_rows, unit="rows") as task:
        for window in windows:
            wanting = {site: writer for site, writer in writers.items() if writer.wants(window)}
            rows = np.arange(*window)[lengths[slice(*window)] > 0]
            if wanting:
                _run_window(request, wanting, rows)
            n_written = sum(writer.end_window(window) for writer in wanting.values())
            task.advance(window[1] - window[0], note=f"{n_written} shards written" if n_written else "")


def _run_window(request: Request, writers: dict[LayerComponent, SiteWriter], rows: np.ndarray) -> None:
    batches = make_batches(request.used, rows, request.model, request.spec.batch_tokens, with_targets=False)
    for batch_rows, batch in batches:
        values = request.model.capture(batch, list(writers)).values
        for site, writer in writers.items():
            writer.add(values[site], batch_rows)


def _facts(request: Request, site: LayerComponent, writer: SiteWriter) -> dict[str, Any]:
    return {
        "model": request.model.name,
        "corpus": request.corpus.name,
        "site": str(site),
        "device": request.model.device.type,
        "d_in": writer.d_in,
        "dtype": request.spec.dtype,
        "n_rows": request.corpus.n_rows,
        "n_samples": writer.selection.n_samples,
        "n_rows_without_samples": writer.selection.n_rows_without,
        **request.cut_facts,
        "shards": [shard.to_json() for shard in writer.shards],
    }
