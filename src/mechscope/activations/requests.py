"""What is asked for: the collect spec, resolved against a model and a corpus, and the key that names the result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from mechscope.activations.planning import DTYPES
from mechscope.activations.policy import TokenPolicy, read_policy, token_offsets
from mechscope.activations.selection import Selection
from mechscope.core import LayerComponent, Spec, UsageError
from mechscope.corpora.corpus import Corpus, Ragged
from mechscope.models.model import Model

__all__ = ["CollectSpec", "Request"]

FORMAT_VERSION = 1


class CollectSpec(Spec):
    """What to collect and how it is laid out.

    sites: site selectors ("resid_post:2", "resid_post:*", "pooled"); all are taken in one forward pass.
    token_policy, policy_options: which tokens give samples (`mechscope list token-policies`). `pooled` has one vector
        a row and ignores them.
    dtype: how vectors are stored.
    batch_tokens: padded tokens a forward pass. shard_bytes: about the size of a shard, and the memory per site.
    seed: of the shuffle inside shards.
    cut_long_rows: cut rows to what the model takes instead of refusing them; counted in the manifest's facts.
    """

    sites: list[str]
    token_policy: str = "all"
    policy_options: dict[str, Any] = {}
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch_tokens: int = 4096
    shard_bytes: int = 128 << 20
    seed: int = 0
    cut_long_rows: bool = False


@dataclass(frozen=True)
class Request:
    """A spec with what the model and the corpus add to it."""

    model: Model
    corpus: Corpus
    spec: CollectSpec
    sites: tuple[LayerComponent, ...]
    policy: TokenPolicy
    special_ids: frozenset[int]
    cut_to: int | None

    @classmethod
    def of(cls, model: Model, corpus: Corpus, spec: CollectSpec) -> Request:
        """Check the spec against model and corpus. Raises UsageError or NotFoundError."""
        if not spec.sites:
            raise UsageError("a collection at no site", expected="at least one site", todo="for example 'resid_post:*'")
        if spec.batch_tokens < 1 or spec.shard_bytes < 1:
            raise UsageError(
                f"batch_tokens {spec.batch_tokens}, shard_bytes {spec.shard_bytes}",
                expected="both 1 or more",
                todo="leave them to their defaults",
            )
        sites = dict.fromkeys(site for selector in spec.sites for site in model.parse_sites(selector))
        if patterns := [str(site) for site in sites if site.kind.endswith("pattern")]:
            raise UsageError(
                f"a collection of {patterns[0]}, which has a value for every pair of positions",
                expected="sites with a vector a token or a row",
                todo="collect 'z' or 'q' and 'k' of that layer, or read patterns batch by batch with model.capture",
            )
        policy = read_policy(spec.token_policy, spec.policy_options)
        longest = model.max_positions
        cut = spec.cut_long_rows and longest is not None and bool(corpus.tokens.lengths.max() > longest)
        special_ids = _special_ids(model, corpus) if policy.needs_special_ids else frozenset[int]()
        return cls(model, corpus, spec, tuple(sites), policy, special_ids, longest if cut else None)

    def key(self, site: LayerComponent) -> dict[str, Any]:
        """What names the artifact of a site: everything that its bytes depend on, the software versions apart."""
        return {
            "kind": "activations",
            "format": FORMAT_VERSION,
            "model": self.model.weights_digest,
            "site": str(site),
            "corpus": self._corpus_digest,
            "token_policy": None if self.is_per_row(site) else self._policy_key,
            "cut_to": self.cut_to,
            **self.spec.model_dump(mode="json", include={"dtype", "batch_tokens", "shard_bytes", "seed"}),
        }

    def selection(self, site: LayerComponent) -> Selection:
        """The samples of a site."""
        return Selection.of(self.used, None if self.is_per_row(site) else self.policy, self.special_ids)

    def is_per_row(self, site: LayerComponent) -> bool:
        """Whether the site itself has one vector a row, so that no token policy applies."""
        return site.kind == "pooled" or (site.kind == "logits" and self.model.kind == "set")

    def d_in(self, site: LayerComponent) -> int:
        """Length of a vector at a site: its trailing axes joined."""
        return int(np.prod(self.model.site_shape(site)))

    @property
    def dtype(self) -> torch.dtype:
        """How vectors are stored."""
        return DTYPES[self.spec.dtype]

    @cached_property
    def used(self) -> Corpus:
        """The corpus as the model sees it: rows cut when that was asked for and is needed."""
        return self.corpus if self.cut_to is None else _cut(self.corpus, self.cut_to)

    @property
    def cut_facts(self) -> dict[str, int]:
        """How many rows and tokens were cut."""
        n_rows = 0 if self.cut_to is None else int((self.corpus.tokens.lengths > self.cut_to).sum())
        return {"n_rows_cut": n_rows, "n_tokens_cut": self.corpus.n_tokens - self.used.n_tokens}

    @cached_property
    def _corpus_digest(self) -> str:
        return self.corpus.digest

    @property
    def _policy_key(self) -> dict[str, Any]:
        options = self.policy.to_json()
        return {"name": self.spec.token_policy, "options": options, "special_ids": sorted(self.special_ids)}


def _special_ids(model: Model, corpus: Corpus) -> frozenset[int]:
    ids = set() if corpus.pad_id is None else {corpus.pad_id}
    if model.tokenizer is not None:
        ids |= {int(token) for token in model.tokenizer.all_special_ids}
    if not ids:
        raise UsageError(
            f"skip_special with model {model.name!r}, which has no tokenizer, and a corpus without padding id",
            expected="a tokenizer that knows its special tokens",
            todo="leave skip_special away, or use skip_first",
        )
    return frozenset(ids)


def _cut(corpus: Corpus, longest: int) -> Corpus:
    kept = token_offsets(corpus) < longest
    lengths = np.minimum(corpus.tokens.lengths, longest)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Corpus(
        name=corpus.name,
        kind=corpus.kind,
        tokens=Ragged(corpus.tokens.ids[kept], indptr),
        vocabulary=corpus.vocabulary,
        row_columns=corpus.row_columns,
        token_columns={name: values[kept] for name, values in corpus.token_columns.items()},
        columns=corpus.columns,
        targets=corpus.targets,
        pad_id=corpus.pad_id,
        facts=corpus.facts,
    )
