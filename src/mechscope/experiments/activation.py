"""A feature's activation as a function of contexts: batched through model and dictionary, each distinct input once.

1. Contexts that were not seen before become rows of a corpus, and go through the model in batches of like length.
2. The site's vectors, reduced as the subject's activations were (pooled, mean, or each marked token), are encoded.
3. The sparse codes of all features are kept by context, so that another feature costs no further forward.
Where a row has one activation a token, the activation of a context is the largest over its marked positions.
Before the floor: what a feature is before ReLU or TopK selects, taken from the same forwards once it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mechscope.activations.batching import make_batches
from mechscope.activations.policy import TokenPolicy
from mechscope.activations.selection import Selection
from mechscope.core import LayerComponent, NotFoundError, UsageError
from mechscope.corpora import Column, Corpus, Ragged
from mechscope.corpora.domain import Context, ContextKey
from mechscope.dictionaries import Dictionary
from mechscope.models import Model

__all__ = ["ActivationFunction", "Reading"]

BATCH_TOKENS = 8192
CONTEXTS_A_RUN = 65_536
ENTRIES_KEPT = 64_000_000


@dataclass(frozen=True)
class Reading:
    """How a subject's activations were taken from its site.

    Attributes:
        site: where; policy: which tokens, None where the site has one vector a row; special_ids: for the policy.
    """

    site: LayerComponent
    policy: TokenPolicy | None
    special_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class _Codes:
    """The codes of one run: entries in rising order of feature, with the place of their context."""

    features: np.ndarray
    places: np.ndarray
    values: np.ndarray


class ActivationFunction:
    """`activation(contexts, feature)` -> float64 [n]: what the model and the dictionary give for any context.

    Attributes:
        n_forwards: distinct contexts run so far. is_token_level: whether the largest over positions is taken.
    """

    def __init__(
        self,
        model: Model,
        reading: Reading,
        dictionary: Dictionary,
        corpus: Corpus,
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.model, self.dictionary = model, dictionary
        self.reading = reading
        self._like = corpus
        self._batch_tokens = batch_tokens
        self._input_names = tuple(corpus.names_with_role("input", "row"))
        self.n_forwards = 0
        self._before: dict[int, np.ndarray] = {}
        self._forget()

    @property
    def site(self) -> LayerComponent:
        """The site of the dictionary."""
        return self.reading.site

    @property
    def is_token_level(self) -> bool:
        """Whether a context has an activation a token, of which the largest is taken."""
        return self.reading.policy is not None and self.reading.policy.how == "each"

    def __call__(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        """The activation of one feature in each context, float64 [n]. Contexts seen before cost nothing.

        Raises:
            NotFoundError: no such feature.
            UsageError: a context without one of the model's inputs, or without a token that the policy marks.
            BadDataError: tokens that the model does not have, or more than it takes.
        """
        self._require(feature)
        keys = [context.key for context in contexts]
        new = {key: context for key, context in zip(keys, contexts, strict=True) if key not in self._places}
        if new:
            if self._n_entries > ENTRIES_KEPT:
                self._forget()
                new = dict(zip(keys, contexts, strict=True))
            self._add(new)
        places = np.fromiter((self._places[key] for key in keys), dtype=np.int64, count=len(keys))
        found: np.ndarray = self._column(feature)[places]
        return found

    def before_floor(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        """The feature before ReLU or TopK selects, negative values and all, float64 [n].

        Equal to the activation where that is above 0 and a context has one vector; the largest over positions where
        it has one a token. TopK leaves out values above 0 too, below the k-th largest. From the first call on the
        forwards of new contexts keep it, so that activations cost nothing more afterwards; contexts run before are
        run once more. Raises as a call.
        """
        self._require(feature)
        self._before.setdefault(feature, np.full(len(self._places), -np.inf))
        self(contexts, feature)
        places = np.fromiter((self._places[context.key] for context in contexts), np.int64, count=len(contexts))
        lacking = np.isneginf(self._before[feature][places])
        if lacking.any():
            again = {int(place): context for place, context, is_lacking in zip(places, contexts, lacking, strict=True)
                     if is_lacking}  # fmt: skip
            at = np.array(list(again), dtype=np.int64)
            for vectors, owner in self._vectors(self._as_corpus(list(again.values()))):
                self._keep_before(feature, vectors, at[owner])
            self.n_forwards += len(again)
        found: np.ndarray = self._before[feature][places]
        return found

    def _require(self, feature: int) -> None:
        if not 0 <= feature < self.dictionary.n_features:
            raise NotFoundError(
                f"feature {feature} is not in this dictionary",
                expected=f"an id from 0 to {self.dictionary.n_features - 1}",
                todo="choose one of these",
            )

    def _keep_before(self, feature: int, vectors: Tensor, places: np.ndarray) -> None:
        values = self.dictionary.pre_activation(vectors, feature).cpu().numpy().astype(np.float64)
        np.maximum.at(self._before[feature], places, values)

    def _forget(self) -> None:
        self._before = {feature: np.zeros(0) for feature in self._before}
        self._places: dict[ContextKey, int] = {}
        self._runs: list[_Codes] = []
        self._columns: dict[int, tuple[int, np.ndarray]] = {}
        self._n_entries = 0

    def _add(self, new: dict[ContextKey, Context]) -> None:
        contexts = list(new.values())
        for start in range(0, len(contexts), CONTEXTS_A_RUN):
            part = contexts[start : start + CONTEXTS_A_RUN]
            codes = self._run(self._as_corpus(part), len(self._places))
            self._runs.append(codes)
            self._n_entries += len(codes.values)
            for context in part:
                self._places[context.key] = len(self._places)
        self.n_forwards += len(contexts)

    def _run(self, corpus: Corpus, first: int) -> _Codes:
        for feature, kept in self._before.items():
            self._before[feature] = np.concatenate([kept[:first], np.full(corpus.n_rows, -np.inf)])
        features, places, values = [], [], []
        for vectors, owner in self._vectors(corpus):
            codes = self.dictionary.encode(vectors)
            features.append(codes.features.cpu().numpy())
            places.append(first + owner[codes.rows().cpu().numpy()])
            values.append(codes.values.cpu().numpy())
            for feature in self._before:
                self._keep_before(feature, vectors, first + owner)
        joined = np.concatenate(features)
        order = np.argsort(joined, kind="stable")
        return _Codes(joined[order], np.concatenate(places)[order], np.concatenate(values)[order])

    def _vectors(self, corpus: Corpus) -> Iterator[tuple[Tensor, np.ndarray]]:
        """The site's vectors of the marked samples, a batch at a time, with the row that each belongs to."""
        selection = Selection.of(corpus, self.reading.policy, self.reading.special_ids)
        if selection.n_rows_without:
            raise UsageError(
                f"{selection.n_rows_without} contexts have no token that the token policy marks",
                expected="contexts with at least one such token",
                todo="leave them out, or look at a longer context",
            )
        owner = np.repeat(np.arange(corpus.n_rows), np.diff(selection.first_sample))
        batches = make_batches(corpus, np.arange(corpus.n_rows), self.model, self._batch_tokens, with_targets=False)
        for rows, batch in batches:
            vectors, samples = selection.gather(self.model.capture(batch, [self.site])[self.site], rows)
            yield vectors.to(self.dictionary.b_dec.device), owner[samples]

    def _as_corpus(self, contexts: list[Context]) -> Corpus:
        columns = {name: Column(level="row", role="input") for name in self._input_names}
        for name in self._input_names:
            if lacking := next((context for context in contexts if name not in context.inputs), None):
                raise UsageError(
                    f"a context without {name!r} (it has {sorted(lacking.inputs)})",
                    expected=f"the inputs {', '.join(self._input_names)}",
                    todo="make contexts through the domain",
                )
        return Corpus(
            name="contexts",
            kind=self._like.kind,
            tokens=Ragged.from_rows([list(context.tokens) for context in contexts]),
            vocabulary=self._like.vocabulary,
            row_columns={
                name: np.array([context.inputs[name] for context in contexts], dtype=np.int64)
                for name in self._input_names
            },
            columns=columns,
            pad_id=self._like.pad_id,
        )

    def _column(self, feature: int) -> np.ndarray:
        n_runs, column = self._columns.get(feature, (0, np.zeros(0)))
        if n_runs < len(self._runs):
            column = np.concatenate([column, np.zeros(len(self._places) - len(column))])
            for run in self._runs[n_runs:]:
                inside = slice(*np.searchsorted(run.features, [feature, feature + 1]))
                np.maximum.at(column, run.places[inside], run.values[inside].astype(np.float64))
            self._columns[feature] = (len(self._runs), column)
        return column
