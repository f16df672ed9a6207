"""What every analysis of a feature works from: store, corpus, dictionary, and where there are any, model and cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from mechscope.activations import ActivationCache
from mechscope.core import BadDataError
from mechscope.corpora import Corpus
from mechscope.dictionaries import Dictionary
from mechscope.features.samples import SampleTokens
from mechscope.models import Model
from mechscope.store.sparse import FeatureStore, read_tensors

__all__ = ["FeatureInputs", "infer_families"]

RUNG = re.compile(r"^(?P<family>.+)_(?P<rung>\d+)$")
SPECIAL = re.compile(r"^(<.*>|\[[A-Z]+\])$")


@dataclass(frozen=True, eq=False)
class FeatureInputs:
    """An open feature store with everything it was made from. Use as a context manager, or `close` it.

    Attributes:
        store, corpus, dictionary, model, cache: model and cache may be None; what needs them says so.
        tokens: the tokens behind each sample.
        n_samples_with, idf: per token, over all samples and over the rows of the corpus.
        influences, influence_facts: what the build stored of the decoder.
        families: family -> its tokens in rising order (`family_T`); empty when the vocabulary has none.
        binary_tokens: tokens that are on or off: neither in a family nor special.
        groups: group column -> (names, index of each sample's name).
    """

    store: FeatureStore
    corpus: Corpus
    dictionary: Dictionary
    model: Model | None
    cache: ActivationCache | None
    tokens: SampleTokens
    n_samples_with: np.ndarray
    idf: np.ndarray
    influences: dict[str, np.ndarray]
    influence_facts: dict[str, Any]
    families: dict[str, tuple[str, ...]]
    binary_tokens: tuple[str, ...]
    groups: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def open(
        cls,
        folder: Path,
        corpus: Corpus,
        dictionary: Dictionary,
        *,
        model: Model | None = None,
        cache: ActivationCache | None = None,
        families: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Self:
        """Open a built store and check that it was made from these inputs.

        Args:
            folder: folder given to `build_features`.
            families: family -> tokens; by default those in the corpus' facts, else what `family_T` names show.

        Raises:
            BadDataError: no finished store, or one that was built from another corpus, dictionary, cache or model.
        """
        store = FeatureStore.open(folder)
        _require(store, "corpus", corpus.digest)
        _require(store, "dictionary", dictionary.digest)
        if cache is not None:
            _require(store, "activations", cache.key_digest)
        if model is not None and store.key["model"] is not None:
            _require(store, "model", model.weights_digest)
        samples, tokens = store.extra("samples"), store.extra("tokens")
        influences, influence_facts = read_tensors(store.path / "decoder.safetensors")
        chosen = _families(corpus, families)
        row = samples["row"]
        return cls(
            store=store,
            corpus=corpus,
            dictionary=dictionary,
            model=model,
            cache=cache,
            tokens=SampleTokens.of(corpus, row, samples["pos"]),
            n_samples_with=tokens["n_samples_with"],
            idf=tokens["idf"],
            influences=influences,
            influence_facts=influence_facts,
            families=chosen,
            binary_tokens=_binary_tokens(corpus, chosen),
            groups={name: _group(corpus, name, row) for name in corpus.names_with_role("group", "row")},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    @property
    def site(self) -> str:
        """The site of the activations."""
        return str(self.store.key["site"])

    def output_name(self, output: int) -> str:
        """The string of an output of the model; its number where the model has more outputs than we have strings."""
        names = self.model.vocabulary if self.model is not None and self.model.vocabulary else self.corpus.vocabulary
        return names[output] if output < len(names) else f"output {output}"


def infer_families(vocabulary: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Families shown by names alone: at least two tokens `<family>_<number>`, in rising order of the number."""
    rungs: dict[str, list[tuple[int, str]]] = {}
    for token in vocabulary:
        if match := RUNG.match(token):
            rungs.setdefault(match["family"], []).append((int(match["rung"]), token))
    return {family: tuple(token for _, token in sorted(found)) for family, found in rungs.items() if len(found) > 1}


def _families(corpus: Corpus, given: Mapping[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]]:
    if given is not None:
        return dict(given)
    stated = corpus.facts.get("token_families")
    if isinstance(stated, dict):
        return {str(family): tuple(map(str, tokens)) for family, tokens in stated.items()}
    return infer_families(corpus.vocabulary) if corpus.kind == "set" else {}


def _binary_tokens(corpus: Corpus, families: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    stated = corpus.facts.get("binary_tokens")
    if isinstance(stated, list | tuple):
        return tuple(map(str, stated))
    in_family = {token for tokens in families.values() for token in tokens}
    if corpus.kind != "set":
        return ()
    return tuple(token for token in corpus.vocabulary if token not in in_family and not SPECIAL.match(token))


def _group(corpus: Corpus, name: str, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    names, index = np.unique(corpus.column(name).astype(str), return_inverse=True)
    return names, index[row]


def _require(store: FeatureStore, part: str, digest: str) -> None:
    if store.key[part] != digest:
        store.close()
        raise BadDataError(
            f"the feature store in {store.path.parent} was built from {part} {str(store.key[part])[:12]}…",
            expected=f"{part} {digest[:12]}…",
            todo=f"build the features again for this {part}, or give the {part} it was built from",
        )
