"""Which features the report shows: those that match planted concepts, else those that read most alike.

Without planted concepts a feature is ranked by how alike its largest activations are on the surface: among its
stored top samples (one a document where there are `DOCUMENTS_MIN`, else one a row; at most `TOP_LOOKED_AT`), the
largest of

    share of one value - its share among all samples

over the values of the sample's token, of the token before it, of any token among the `WINDOW` before it, and of every
group and token column. A feature also needs `TOP_MIN` such samples and a density between `DENSITY_MIN` and
`DENSITY_MAX` (the nearest to that where too few are inside). Three quarters of the places go to contexts: features
whose top samples hold many different tokens, ranked by that share times min(1, different tokens / `MANY_TOKENS`). The
rest goes to single words. The ranking looks at all rows and claims nothing; it only decides what is printed first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mechscope.core import Spec
from mechscope.features import ConceptMatch, FeatureInputs, MatchResult
from mechscope.reports import show_token
from mechscope.services.main_job import MainJob

__all__ = ["Shown", "choose_shown"]

DENSITY_MIN, DENSITY_MAX = 0.001, 0.05
TOP_LOOKED_AT = 40
DOCUMENTS_MIN = 12
TOP_MIN = 6
MIN_TOKENS = 8
MANY_TOKENS = 20
WINDOW = 6
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
    n_tokens: int
    unit: str

    @property
    def likeness(self) -> float:
        """How much more common the value is among the largest activations than everywhere."""
        return self.share - self.base

    @property
    def context_score(self) -> float:
        """Likeness, for as many different tokens as possible."""
        return self.likeness * min(1.0, self.n_tokens / MANY_TOKENS)


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
        subtitle=f"so in {surface.share:.0%} of its {surface.n} largest activations (one a {surface.unit}, "
        f"{surface.n_tokens} different tokens), against {surface.base:.2%} of all samples",
        chosen_by="features whose largest activations are most alike on the surface (ranked over all rows, most "
        f"of them with at least {MIN_TOKENS} different tokens among those activations)",
    )


def _most_alike(inputs: FeatureInputs, n_shown: int) -> list[_Surface]:
    attributes, documents = _attributes(inputs), _documents(inputs)
    candidates = _candidates(inputs.store.counts() / inputs.store.n_samples, n_shown)
    found = [_surface(inputs, feature, attributes, documents) for feature in candidates.tolist()]
    surfaces = sorted((surface for surface in found if surface is not None), key=lambda surface: -surface.likeness)
    contexts = sorted((s for s in surfaces if s.n_tokens >= MIN_TOKENS), key=lambda surface: -surface.context_score)
    chosen: dict[int, _Surface] = {}
    readings: set[str] = set()
    kinds: Counter[str] = Counter()
    # Two features of one reading teach less than two readings, and so do many of one kind.
    for pool, n, of_a_kind in (
        (contexts, -(-3 * n_shown // 4), max(1, n_shown // 3)),
        (surfaces, n_shown, n_shown),
    ):
        for surface in pool:
            is_new = surface.feature not in chosen and surface.value not in readings
            if len(chosen) < n and is_new and kinds[surface.what] < of_a_kind:
                chosen[surface.feature] = surface
                readings.add(surface.value)
                kinds[surface.what] += 1
    return list(chosen.values())


def _candidates(density: np.ndarray, n_shown: int) -> np.ndarray:
    """Features neither very rare nor very common; where too few are, the live ones nearest to that."""
    within = np.flatnonzero((density >= DENSITY_MIN) & (density <= DENSITY_MAX))
    if len(within) >= 2 * n_shown:
        return within
    live = np.flatnonzero(density > 0)
    off = np.maximum(np.log(DENSITY_MIN / density[live]), np.log(density[live] / DENSITY_MAX))
    nearest: np.ndarray = live[np.argsort(np.maximum(off, 0.0), kind="stable")][: 2 * n_shown]
    return nearest


def _surface(
    inputs: FeatureInputs, feature: int, attributes: list[_Attribute], documents: np.ndarray
) -> _Surface | None:
    top = np.asarray(inputs.store.stats(feature).top_samples, dtype=np.int64)
    top = top[np.sort(np.unique(documents[inputs.tokens.row[top]], return_index=True)[1])][:TOP_LOOKED_AT]
    if len(top) < TOP_MIN:
        return None
    unit = "row" if documents.max() + 1 == inputs.corpus.n_rows else "document"
    n_tokens = MIN_TOKENS if inputs.tokens.current is None else len(np.unique(inputs.tokens.current[top]))
    found: list[tuple[float, float, str, str]] = []
    for attribute in attributes:
        codes, n_with = np.unique(attribute.code[top], return_counts=True)
        code, share = int(codes[n_with.argmax()]), float(n_with.max()) / len(top)
        found.append((share, float(attribute.base[code]), attribute.what, attribute.names[code]))
    if inputs.tokens.current is not None:
        found.append(_nearby(inputs, top))
    if not found:
        return None
    share, base, what, value = max(found, key=lambda item: item[0] - item[1])
    return _Surface(
        feature=feature, what=what, value=value, share=share, base=base, n=len(top), n_tokens=n_tokens, unit=unit
    )


def _nearby(inputs: FeatureInputs, top: np.ndarray) -> tuple[float, float, str, str]:
    """The token that most of the windows before the samples hold, beside the chance that a random window holds it."""
    corpus, tokens = inputs.corpus, inputs.tokens
    back = np.arange(1, WINDOW + 1)
    places = (corpus.tokens.indptr[tokens.row[top]] + tokens.pos[top])[:, None] - back
    is_inside = tokens.pos[top][:, None] >= back
    ids = np.where(is_inside, corpus.tokens.ids[np.maximum(places, 0)], -1)
    seen = np.concatenate([np.unique(row[row >= 0]) for row in ids])
    if not len(seen):
        return 0.0, 0.0, "near", ""
    counts = np.bincount(seen, minlength=tokens.d_vocab) / len(top)
    chance = 1 - (1 - inputs.n_samples_with / inputs.store.n_samples) ** WINDOW
    best = int((counts - chance).argmax())
    return float(counts[best]), float(chance[best]), f"within {WINDOW} tokens after", corpus.vocabulary[best]


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
    rows = np.arange(inputs.corpus.n_rows)
    if not names:
        return rows
    documents: np.ndarray = np.unique(inputs.corpus.column(names[0]).astype(str), return_inverse=True)[1]
    # With a handful of documents, one sample a row is the most variety there is.
    return documents if documents.max() + 1 >= DOCUMENTS_MIN else rows
