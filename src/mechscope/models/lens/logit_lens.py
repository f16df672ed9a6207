"""The logit lens: what the stream after each block would predict if it were the last.

For each site of the stream: its values at the places asked for, through the model's own final norm and unembedding,
with logit scale and soft cap. nostalgebraist 2020, "interpreting GPT: the logit lens"; as there, each stream is
normed at its own scale. It says what can be read out of a stream, not what the model does with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.lens.predictions import Vocabulary, require_finite, vocabulary_of
from mechscope.models.lens.readings import Reading, read_streams
from mechscope.models.lens.results import LensQuery, LensResult
from mechscope.models.model import Model

__all__ = ["StreamSites", "logit_lens", "look_through", "named_sites", "stream_sites"]

STREAM_KINDS = frozenset({"embed", "resid_pre", "resid_mid", "resid_post"})
CHUNK_NUMBERS = 1 << 24  # logits held at once beside the results
StreamSites: TypeAlias = str | LayerComponent | Sequence[LayerComponent | str]
Translate = Callable[[LayerComponent, Tensor], Tensor]
AS_IS = LensQuery()


def logit_lens(
    model: Model,
    batch: Batch,
    sites: StreamSites | None = None,
    query: LensQuery = AS_IS,
) -> LensResult:
    """What each stream predicts.

    Args:
        model: any whose head is final norm, (mean over the row,) linear unembedding, scale and soft cap.
        batch: rows of tokens, padded on either side.
        sites: a selector ("resid_post:0-3"), a site, or a list of both, of `embed`, `resid_pre`, `resid_mid`,
            `resid_post`; by default `embed` and every `resid_post`.
        query: where to read and what to keep.

    Cost: one forward with its LM head, and one unembedding of n readings a site. Memory beside the forward: the
    sites' values [sites batch pos d_model] while it runs, then [n d_vocab] and chunks of 16 million logits; never
    [sites n d_vocab] unless `keeps_logits`.

    Raises:
        UsageError: a head that is not linear or was measured not to hold, outputs of unknown meaning, a site outside
            of the stream, positions, targets or top_k that do not fit.
        NotFoundError: a site that the model lacks, or that failed its check.
        BadDataError: the lens of the last stream is not the model's output; logits that are not finite.

    Example:
        found = logit_lens(model, batch, query=LensQuery(at="all", targets=7))
        found.kl_to_output.mean(dim=1)  # a number for each site
    """
    chosen = stream_sites(model) if sites is None else named_sites(model, sites)
    return look_through(model, batch, chosen, query, name="logit lens")


def named_sites(model: Model, sites: StreamSites) -> list[LayerComponent]:
    """Sites given as a selector, as one site, or as a list of both. Raises as `Model.parse_sites` does."""
    given = [sites] if isinstance(sites, str | LayerComponent) else sites
    return [site for one in given for site in (model.parse_sites(one) if isinstance(one, str) else [one])]


def stream_sites(model: Model) -> list[LayerComponent]:
    """`embed` and the `resid_post` of every layer that stand, in the order of the forward pass."""
    return [site for site in model.sites() if site.stack is None and site.kind in {"embed", "resid_post"}]


def look_through(
    model: Model,
    batch: Batch,
    sites: Sequence[LayerComponent],
    query: LensQuery,
    *,
    name: str,
    translate: Translate = lambda site, stream: stream,
) -> LensResult:
    """`logit_lens` with `translate(site, values [m d_model])` applied to each stream first."""
    _require_stream(sites)
    vocabulary = vocabulary_of(model)
    reading = read_streams(model, batch, sites, query.at)
    look = _Look(reading, vocabulary, query, targets=_targets(query, reading, model), name=model.name)
    tables = [look.at_site(translate(site, reading.values[site])) for site in sites]
    joined = {key: torch.stack([table[key] for table in tables]) for key in tables[0]}
    places = reading.places
    how = (
        f"{name} of {model.name}: {reading.describe()} on {len(sites)} streams, each normed at its own scale; "
        f"{places.n_readings} readings ({query.at if isinstance(query.at, str) else 'chosen'} positions) in "
        f"{batch.n_rows} rows; observed, nothing was intervened on"
    )
    return LensResult(
        how=how,
        sites=tuple(sites),
        rows=places.reading_rows,
        columns=places.reading_columns,
        top_tokens=joined["top_tokens"],
        top_log_probs=joined["top_log_probs"],
        entropy=joined["entropy"],
        kl_to_output=joined["kl"],
        target_log_probs=joined.get("target_log_probs"),
        target_ranks=joined.get("target_ranks"),
        logits=joined.get("logits"),
        output_error=reading.output_error,
    )


class _Look:
    """The measurements at one site, in chunks of readings."""

    def __init__(
        self, reading: Reading, vocabulary: Vocabulary, query: LensQuery, *, targets: Tensor | None, name: str
    ) -> None:
        self.reading = reading
        self.vocabulary = vocabulary
        self.query = query
        self.targets = targets
        self.name = name
        n_readings, d_vocab = reading.output.shape
        # a pooled reading needs all tokens of its row, so its readings (one a row) are not cut into chunks
        self.is_pooled = reading.places.pooling is not None
        self.chunk = n_readings if self.is_pooled else max(1, CHUNK_NUMBERS // d_vocab)

    @torch.no_grad()
    def at_site(self, stream: Tensor) -> dict[str, Tensor]:
        parts = [*self._chunks(stream)]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def _chunks(self, stream: Tensor) -> Iterator[dict[str, Tensor]]:
        places = self.reading.places
        for first in range(0, places.n_readings, self.chunk):
            here = slice(first, first + self.chunk)
            part, values = (places, stream) if self.is_pooled else (places.subset(here), stream[here])
            logits = self.reading.readout.logits(values, part)
            require_finite(logits, f"a stream of {self.name}")
            yield self._measured(logits, here)

    def _measured(self, logits: Tensor, here: slice) -> dict[str, Tensor]:
        log_probs = self.vocabulary.log_probs(logits)
        top = log_probs.topk(self.query.top_k, dim=-1)
        found = {
            "top_tokens": top.indices,
            "top_log_probs": top.values,
            "entropy": self.vocabulary.entropy(logits),
            "kl": self.vocabulary.divergence(self.reading.output[here], logits),
        }
        if self.targets is not None:
            target = self.targets[here, None]
            found["target_log_probs"] = log_probs.gather(1, target)[:, 0]
            found["target_ranks"] = (logits > logits.gather(1, target)).sum(dim=1)
        return found | ({"logits": logits} if self.query.keeps_logits else {})


def _require_stream(sites: Sequence[LayerComponent]) -> None:
    wrong = [site for site in sites if site.kind not in STREAM_KINDS or site.stack is not None]
    if wrong or not sites or len(set(sites)) < len(sites):
        raise UsageError(
            f"a lens on {wrong[0]}" if wrong else f"a lens on {len(sites)} sites, {len(set(sites))} of them different",
            expected=f"different sites of the stream that makes the logits: {', '.join(sorted(STREAM_KINDS))}",
            todo="use direct_logit_attribution for parts of the stream" if wrong else "name each site once",
        )


def _targets(query: LensQuery, reading: Reading, model: Model) -> Tensor | None:
    n_readings = reading.places.n_readings
    if not 0 <= query.top_k <= model.d_vocab:
        raise UsageError(f"top_k {query.top_k}", expected=f"0..{model.d_vocab}", todo="ask for fewer tokens")
    if query.targets is None:
        return None
    targets = torch.as_tensor(query.targets, dtype=torch.int64, device=model.device)
    targets = targets.expand(n_readings) if targets.ndim == 0 else targets
    if targets.shape != (n_readings,):
        raise UsageError(
            f"targets of shape {tuple(targets.shape)} for {n_readings} readings",
            expected="one token id, or one a reading in the order of rows and columns",
            todo="pass a tensor of that length",
        )
    if bool(((targets < 0) | (targets >= model.d_vocab)).any()):
        raise BadDataError(
            f"targets in {int(targets.min())}..{int(targets.max())}",
            expected=f"token ids in 0..{model.d_vocab - 1}",
            todo="use the tokenizer that belongs to the model",
        )
    return targets
