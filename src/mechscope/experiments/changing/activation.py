"""A feature's activation as a function of contexts: batched through model and dictionary, each distinct input once.

1. Contexts that were not seen before become rows of a corpus, and go through the model in batches of like length.
2. The site's vectors, reduced as the subject's activations were (pooled, mean, or each marked token), are encoded.
3. What is kept by context serves every feature, so that another one costs no further forward: the vectors where a
   feature follows from its own pre-activation (ReLU) and that takes less room or little more, else all sparse codes.
Where a row has one activation a token, the activation of a context is the largest over its marked positions.
Before the floor: what a feature is before ReLU or TopK selects, taken from the same forwards once it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from mechscope.activations.batching import make_batches
from mechscope.activations.policy import TokenPolicy
from mechscope.activations.selection import Selection
from mechscope.core import LayerComponent, NotFoundError, UsageError
from mechscope.corpora import Column, Corpus, Ragged
from mechscope.corpora.domain import Context
from mechscope.dictionaries import Dictionary
from mechscope.models import Model

__all__ = ["ActivationFunction", "Reading"]

BATCH_TOKENS = 8192
CONTEXTS_A_RUN = 65_536
ENTRIES_KEPT = 64_000_000
WIDEST_KEPT = 256
"""Width up to which vectors are kept in place of codes: some four times the entries that a sample usually has."""


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

    @property
    def n_numbers(self) -> int:
        return len(self.values)

    def of(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and values of one feature where it is active."""
        inside = slice(*np.searchsorted(self.features, [feature, feature + 1]))
        return self.places[inside], self.values[inside]


@dataclass(frozen=True, eq=False)
class _Vectors:
    """The vectors of one run, with the place of their context."""

    dictionary: Dictionary
    vectors: Tensor
    places: np.ndarray

    @property
    def n_numbers(self) -> int:
        return self.vectors.numel()

    def of(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and values of one feature."""
        return self.places, self.dictionary.pre_activation(self.vectors, feature).clamp_(min=0).cpu().numpy()


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
        return self.of_rows(*self.rows_of(contexts), feature)

    def before_floor(self, contexts: Sequence[Context], feature: int) -> np.ndarray:
        """The feature before ReLU or TopK selects, negative values and all, float64 [n].

        Equal to the activation where that is above 0 and a context has one vector; the largest over positions where
        it has one a token. TopK leaves out values above 0 too, below the k-th largest. From the first call on the
        forwards of new contexts keep it, so that activations cost nothing more afterwards; contexts run before are
        run once more. Raises as a call.
        """
        return self.before_floor_of_rows(*self.rows_of(contexts), feature)

    def rows_of(self, contexts: Sequence[Context]) -> tuple[Ragged, dict[str, np.ndarray]]:
        """Contexts as `of_rows` takes them. Raises UsageError for one without an input of the model."""
        for name in self._input_names:
            if lacking := next((context for context in contexts if name not in context.inputs), None):
                raise UsageError(
                    f"a context without {name!r} (it has {sorted(lacking.inputs)})",
                    expected=f"the inputs {', '.join(self._input_names)}",
                    todo="make contexts through the domain",
                )
        lengths = np.fromiter((len(context.tokens) for context in contexts), np.int64, count=len(contexts))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = np.fromiter(chain.from_iterable(context.tokens for context in contexts), np.int32, count=int(indptr[-1]))
        inputs = {name: np.array([context.inputs[name] for context in contexts], np.int64)
                  for name in self._input_names}  # fmt: skip
        return Ragged(ids, indptr), inputs

    def of_rows(self, tokens: Ragged, inputs: Mapping[str, np.ndarray], feature: int) -> np.ndarray:
        """As a call, for contexts in arrays: their tokens, and each input of the model, int64 [n]. Raises as a call."""
        self._require(feature)
        places = self._places_of(tokens, inputs)
        found: np.ndarray = self._column(feature)[places]
        return found

    def before_floor_of_rows(self, tokens: Ragged, inputs: Mapping[str, np.ndarray], feature: int) -> np.ndarray:
        """As `before_floor`, for contexts in arrays. Raises as a call."""
        self._require(feature)
        self._before.setdefault(feature, np.full(len(self._places), -np.inf))
        places = self._places_of(tokens, inputs)
        lacking = np.flatnonzero(np.isneginf(self._before[feature][places]))
        if len(lacking):
            at, first = np.unique(places[lacking], return_index=True)
            for vectors, owner in self._vectors(self._as_corpus(tokens, inputs, lacking[first])):
                self._keep_before(feature, vectors, at[owner])
            self.n_forwards += len(at)
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
        self._places: dict[bytes, int] = {}
        self._runs: list[_Codes | _Vectors] = []
        self._columns: dict[int, tuple[int, np.ndarray]] = {}
        self._n_entries = 0

    def _places_of(self, tokens: Ragged, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Where each context is kept, int64 [n]; runs those that were not seen before."""
        keys = self._keys(tokens, inputs)
        new = {key: at for at, key in enumerate(keys) if key not in self._places}
        if new:
            if self._n_entries > ENTRIES_KEPT:
                self._forget()
                new = {key: at for at, key in enumerate(keys)}
            self._add(list(new), tokens, inputs, np.fromiter(new.values(), np.int64, count=len(new)))
        return np.fromiter(map(self._places.__getitem__, keys), np.int64, count=len(keys))

    def _keys(self, tokens: Ragged, inputs: Mapping[str, np.ndarray]) -> list[bytes]:
        """What tells contexts apart: the bytes of the inputs and of the tokens."""
        beside = np.zeros((len(tokens), len(self._input_names)), np.int64)
        for at, name in enumerate(self._input_names):
            beside[:, at] = inputs[name]
        ids, given, width = tokens.ids.astype(np.int32).tobytes(), beside.tobytes(), 8 * beside.shape[1]
        ends = (4 * tokens.indptr).tolist()
        return [given[width * at : width * (at + 1)] + ids[ends[at] : ends[at + 1]] for at in range(len(tokens))]

    def _add(self, keys: list[bytes], tokens: Ragged, inputs: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
        for start in range(0, len(keys), CONTEXTS_A_RUN):
            part = slice(start, start + CONTEXTS_A_RUN)
            first = len(self._places)
            run = self._run(self._as_corpus(tokens, inputs, rows[part]), first)
            self._runs.append(run)
            self._n_entries += run.n_numbers
            self._places.update(zip(keys[part], range(first, first + len(keys[part])), strict=True))
        self.n_forwards += len(keys)

    def _run(self, corpus: Corpus, first: int) -> _Codes | _Vectors:
        for feature, kept in self._before.items():
            self._before[feature] = np.concatenate([kept[:first], np.full(corpus.n_rows, -np.inf)])
        if self.dictionary.architecture.is_elementwise and self.dictionary.d_in <= WIDEST_KEPT:
            return self._run_vectors(corpus, first)
        features, places, values = [], [], []
        for vectors, owner in self._vectors(corpus):
            codes = self.dictionary.encode(vectors)
            features.append(codes.features.cpu().numpy())
            places.append(first + owner[codes.rows().cpu().numpy()])
            values.append(codes.values.cpu().numpy())
            for feature in self._before:
                self._keep_before(feature, vectors, first + owner)
        joined = np.concatenate(features)
        # numbers of 16 bits are sorted in one pass
        order = np.argsort(joined.astype(np.uint16) if self.dictionary.n_features <= 1 << 16 else joined, kind="stable")
        return _Codes(joined[order], np.concatenate(places)[order], np.concatenate(values)[order])

    def _run_vectors(self, corpus: Corpus, first: int) -> _Vectors:
        parts = [(vectors, first + owner) for vectors, owner in self._vectors(corpus)]
        vectors, places = torch.cat([part for part, _ in parts]), np.concatenate([owner for _, owner in parts])
        for feature in self._before:
            self._keep_before(feature, vectors, places)
        return _Vectors(self.dictionary, vectors, places)

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

    def _as_corpus(self, tokens: Ragged, inputs: Mapping[str, np.ndarray], rows: np.ndarray) -> Corpus:
        return Corpus(
            name="contexts",
            kind=self._like.kind,
            tokens=tokens.select(rows),
            vocabulary=self._like.vocabulary,
            row_columns={name: inputs[name][rows].astype(np.int64) for name in self._input_names},
            columns={name: Column(level="row", role="input") for name in self._input_names},
            pad_id=self._like.pad_id,
        )

    def _column(self, feature: int) -> np.ndarray:
        n_runs, column = self._columns.get(feature, (0, np.zeros(0)))
        if n_runs < len(self._runs):
            column = np.concatenate([column, np.zeros(len(self._places) - len(column))])
            for run in self._runs[n_runs:]:
                places, values = run.of(feature)
                np.maximum.at(column, places, values.astype(np.float64))
            self._columns[feature] = (len(self._runs), column)
        return column
