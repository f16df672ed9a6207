"""Which features the report shows: those that match planted concepts, else those that read most alike.

Without planted concepts a feature is ranked by how alike its largest activations are on the surface: among its
stored top samples (one a row), the largest of

    share of one value - its share among all samples        over the values of the sample's token, of the token
                                                             before it, and of every group and token column

A feature also needs samples from several documents and a density that is neither tiny nor a large part of the corpus.
Half of the places go to features whose top samples hold at least `MIN_TOKENS` different tokens: contexts, not words.
The ranking looks at all rows and claims nothing; it only decides what is printed first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechscope.core import Spec
from mechscope.features import ConceptMatch, FeatureInputs, MatchResult
from mechscope.reports import show_token
from mechscope.services.main_job import MainJob

__all__ = ["Shown", "choose_shown"]

DENSITY_MAX = 0.05
ACTIVE_MIN = 50
TOP_LOOKED_AT = 40
DOCUMENTS_MIN = 6
MIN_TOKENS = 6
COLUMN_VALUES_MAX = 1000


class Shown(Spec):
    """One feature of the report, with what it may be and why it is shown."""

    feature: int
    title: str
    subtitle: str
    chosen_by: str


@dataclass(frozen=True)
class _Attribute:
    """One surface property of every sample, coded: names[code[i]] is sample i's value, base[c] its share of all."""

    what: str
    names: list[str]
    code: np.ndarray
    base: np.ndarray


@dataclass(frozen=True)
class _Surface:
    """What a feature's largest activations have in common on the surface."""

    feature: int
    what: str
    value: str
    share: float
    base: float
    n: int
    n_documents: int
    n_tokens: int

    @property
    def score(self) -> float:
        return self.share - self.base


def choose_shown(made: MainJob, matches: MatchResult | None, *, n_shown: int) -> tuple[Shown, ...]:
    """The features to show, best first; at most `n_shown`."""
    shown: dict[int, Shown] = {}
    if matches is not None:
        for match in sorted(matches.matches, key=lambda m: (not m.counts, -m.feature.auroc)):
            shown.setdefault(match.feature.candidate, _shown_match(match))
    else:
        for surface in _most_alike(made.inputs, n_shown):
            shown[surface.feature] = _shown_surface(surface)
    return tuple(list(shown.values())[:n_shown])


def _shown_match(match: ConceptMatch) -> Shown:
    area = match.feature
    return Shown(
        feature=area.candidate,
        title=match.concept,
        subtitle=f"best match of a planted concept: {match.description}; held-out AUROC {area.auroc:.3f} "
        f"[{area.low:.3f}, {area.high:.3f}] on {match.n_score:,} samples; it "
        + ("counts" if match.counts else "does not count"),
        chosen_by="the features that best match planted concepts",
    )


def _shown_surface(surface: _Surface) -> Shown:
    return Shown(
        feature=surface.feature,
        title=f"{surface.what}: {show_token(surface.value)}",
        subtitle=f"{surface.share:.0%} of its {surface.n} largest activations (one a row, {surface.n_documents} "
        f"documents, {surface.n_tokens} different tokens), against {surface.base:.2%} of all samples",
        chosen_by="features whose largest activations are most alike on the surface (ranked over all rows; half of "
        f"them with at least {MIN_TOKENS} different tokens among those activations)",
    )


def _most_alike(inputs: FeatureInputs, n_shown: int) -> list[_Surface]:
    attributes, documents = _attributes(inputs), _documents(inputs)
    counts = inputs.store.counts()
    candidates = np.flatnonzero((counts >= ACTIVE_MIN) & (counts <= DENSITY_MAX * inputs.store.n_samples))
    found = [_surface(inputs, feature, attributes, documents) for feature in candidates.tolist()]
    surfaces = sorted((surface for surface in found if surface is not None), key=lambda surface: -surface.score)
    contexts = [surface for surface in surfaces if surface.n_tokens >= MIN_TOKENS]
    chosen: dict[int, _Surface] = {}
    readings: set[tuple[str, str]] = set()
    for pool, n in ((contexts, (n_shown + 1) // 2), (surfaces, n_shown)):
        for surface in pool:
            reading = (surface.what, surface.value)
            # Two features of one reading teach less than two readings.
            if len(chosen) < n and reading not in readings:
                chosen[surface.feature] = surface
                readings.add(reading)
    return list(chosen.values())


def _surface(
    inputs: FeatureInputs, feature: int, attributes: list[_Attribute], documents: np.ndarray
) -> _Surface | None:
    top = np.asarray(inputs.store.stats(feature).top_samples, dtype=np.int64)
    rows = inputs.tokens.row[top]
    top = top[np.sort(np.unique(rows, return_index=True)[1])][:TOP_LOOKED_AT]
    n_documents = len(np.unique(documents[inputs.tokens.row[top]]))
    if n_documents < DOCUMENTS_MIN:
        return None
    n_tokens = MIN_TOKENS if inputs.tokens.current is None else len(np.unique(inputs.tokens.current[top]))
    best: _Surface | None = None
    for attribute in attributes:
        codes, n_with = np.unique(attribute.code[top], return_counts=True)
        code, share = int(codes[n_with.argmax()]), float(n_with.max()) / len(top)
        surface = _Surface(
            feature=feature,
            what=attribute.what,
            value=attribute.names[code],
            share=share,
            base=float(attribute.base[code]),
            n=len(top),
            n_documents=n_documents,
            n_tokens=n_tokens,
        )
        if best is None or surface.score > best.score:
            best = surface
    return best


def _attributes(inputs: FeatureInputs) -> list[_Attribute]:
    corpus, tokens = inputs.corpus, inputs.tokens
    found = [_coded(name, names.tolist(), index) for name, (names, index) in inputs.groups.items()]
    if tokens.current is None:
        return found
    flat = corpus.tokens.indptr[tokens.row] + tokens.pos
    names = [*corpus.vocabulary, "start of row"]
    before = np.where(tokens.pos > 0, corpus.tokens.ids[np.maximum(flat - 1, 0)], len(corpus.vocabulary))
    found += [_coded("token", names, tokens.current), _coded("after", names, before)]
    for name in corpus.token_columns:
        values, index = np.unique(corpus.column(name)[flat].astype(str), return_inverse=True)
        if len(values) <= COLUMN_VALUES_MAX:
            found.append(_coded(name, values.tolist(), index))
    return found


def _coded(what: str, names: list[str], code: np.ndarray) -> _Attribute:
    return _Attribute(what, names, code, np.bincount(code, minlength=len(names)) / len(code))


def _documents(inputs: FeatureInputs) -> np.ndarray:
    names = inputs.corpus.names_with_role("document", "row")
    if not names:
        return np.arange(inputs.corpus.n_rows)
    documents: np.ndarray = np.unique(inputs.corpus.column(names[0]).astype(str), return_inverse=True)[1]
    return documents
