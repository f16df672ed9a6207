"""Many builds judged and read at once, against each one by itself."""

from __future__ import annotations

import numpy as np
import pytest

from mechscope.corpora.domain import Context
from mechscope.corpora.domains.splatoon.coding import State, TokenCoding
from mechscope.corpora.domains.splatoon.domain import SplatoonDomain
from mechscope.corpora.domains.splatoon.tables import BuildTable
from mechscope.corpora.domains.splatoon.vocabulary import VOCABULARY, Encoding

ENCODINGS: tuple[Encoding, ...] = ("cumulative", "family")
WITHOUT_NULL = tuple(token for token in VOCABULARY if token != "<NULL>")


def drawn_states(coding: TokenCoding, generator: np.random.Generator, n: int) -> list[State]:
    """Few and many families, low and high rungs, up to five main-only abilities; often one change from legal."""
    states = []
    for _ in range(n):
        rungs = [0] * len(coding.families)
        for at in generator.choice(len(rungs), generator.integers(0, 7), replace=False):
            ladder = list(coding.families.values())[at].rungs
            rungs[at] = ladder[int(generator.integers(0, len(ladder)) * generator.random())]
        main_only = sum(1 << int(bit) for bit in generator.choice(len(coding.bit), generator.integers(0, 4)))
        states.append(State(tuple(rungs), main_only & ((1 << len(coding.bit)) - 1)))
    return states


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WITHOUT_NULL, tuple(t for t in VOCABULARY if "_12" not in t)])
def test_a_table_is_judged_as_each_build_is(vocabulary: tuple[str, ...]) -> None:
    coding = TokenCoding(vocabulary, "cumulative")
    table = BuildTable(coding)
    states = [*drawn_states(coding, np.random.default_rng(3), 3000), State((0,) * len(coding.families), 0)]
    places, bits = np.stack([table.places(state) for state in states]), np.array([s.main_only for s in states])
    reasons = table.judge.reasons(places, bits)
    said = [table.judge.words(int(why), places[at], int(bits[at])) if why else () for at, why in enumerate(reasons)]
    assert said == [coding.state_faults(state) for state in states]
    kinds = {text.split(" ")[0] for one in said for text in one}
    assert len(kinds) >= 3  # gear pieces that clash, too many points, slots that cannot carry them


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_many_contexts_are_read_and_judged_as_each_is(encoding: Encoding) -> None:
    domain, generator = SplatoonDomain(encoding=encoding), np.random.default_rng(4)
    coding = TokenCoding(VOCABULARY, encoding)
    contexts = []
    for state in drawn_states(coding, generator, 1500):
        tokens = list(coding.write(state))
        harm = generator.integers(0, 8)
        if harm == 0:
            tokens.pop(int(generator.integers(0, len(tokens))))
        elif harm == 1:
            tokens.append(int(generator.integers(-1, len(VOCABULARY) + 2)))
        elif harm == 2:
            tokens.append(tokens[0])
        elif harm == 3:
            generator.shuffle(tokens)
        contexts.append(Context(tuple(tokens), {"weapon_ids": int(generator.integers(-1, 131))}))
    contexts.append(Context((), {}))
    assert [list(faults) for faults in domain.faults_table(contexts)] == [domain.faults(one) for one in contexts]
    assert domain.faults_table([]) == []
    table = BuildTable(coding)
    places, bits, is_plain = table.read(contexts)
    assert 0.4 < is_plain.mean() < 0.9
    for at in np.flatnonzero(is_plain).tolist():
        state, wrong = coding.read(contexts[at].tokens)
        assert not wrong
        assert (places[at].tolist(), bits[at]) == (table.places(state).tolist(), state.main_only)
