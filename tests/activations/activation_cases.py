"""Tiny models and corpora, and collections that a test can kill.

Run as a script, it answers lines on stdin: `start ROOT` forks a process that collects into ROOT and prints its id,
`wait ID` prints its exit status. Torch is imported once for all of them, and does no work before the forks.
"""

import os
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from mechscope.activations import CollectSpec, collect
from mechscope.corpora.corpus import Column, Corpus, Ragged
from mechscope.models.batch import Batch
from mechscope.models.model import Model
from mechscope.models.set_transformer import SetTransformer, SetTransformerConfig

D_MODEL = 16
N_POSITIONS = 24
D_VOCAB = 60
KILLED_SPEC = CollectSpec(
    sites=["resid_post:1", "mlp_out:0"], batch_tokens=64, shard_bytes=24_000, dtype="bfloat16", seed=3
)


def make_language_model(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=D_VOCAB,
        hidden_size=D_MODEL,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=N_POSITIONS,
    )
    return Model.open(GPTNeoXForCausalLM(config).eval())


@lru_cache(maxsize=1)
def language_model() -> Model:
    return make_language_model()


@lru_cache(maxsize=1)
def set_model() -> Model:
    torch.manual_seed(1)
    config = SetTransformerConfig(
        d_vocab=D_VOCAB, n_weapons=5, d_model=D_MODEL, n_layers=1, n_heads=2, d_mlp=32, n_inducing=4, pad_token_id=59
    )
    return Model.open(SetTransformer(config).eval())


def text_corpus(n_rows: int = 50, seed: int = 0, shortest: int = 1, longest: int = N_POSITIONS) -> Corpus:
    generator = np.random.default_rng(seed)
    rows = [generator.integers(0, D_VOCAB, generator.integers(shortest, longest + 1)) for _ in range(n_rows)]
    n_tokens = sum(map(len, rows))
    return Corpus(
        name="tiny",
        kind="text",
        tokens=Ragged.from_rows(rows),
        vocabulary=tuple(f"w{i}" for i in range(D_VOCAB)),
        row_columns={"split": np.where(np.arange(n_rows) % 5 == 0, "test", "train")},
        token_columns={
            "is_noun": generator.random(n_tokens) < 0.15,
            "depth": generator.integers(0, 4, n_tokens),
            "word": np.full(n_tokens, "x"),
        },
        columns={
            "split": Column(level="row", role="split"),
            "is_noun": Column(level="token"),
            "depth": Column(level="token"),
            "word": Column(level="token"),
        },
    )


def set_corpus(n_rows: int = 40, seed: int = 0) -> Corpus:
    generator = np.random.default_rng(seed)
    whole = [generator.permutation(D_VOCAB - 1)[: generator.integers(2, 9)] for _ in range(n_rows)]
    return Corpus(
        name="sets",
        kind="set",
        tokens=Ragged.from_rows([row[:-1] for row in whole]),
        vocabulary=tuple(f"t{i}" for i in range(D_VOCAB)),
        row_columns={"weapon_ids": generator.integers(0, 5, n_rows), "style": generator.integers(0, 2, n_rows)},
        columns={"weapon_ids": Column(level="row", role="input"), "style": Column(level="row", role="group")},
        targets=Ragged.from_rows(whole),
        pad_id=D_VOCAB - 1,
    )


def run_alone(model: Model, corpus: Corpus, row: int, site: str) -> Tensor:
    """The slow, obvious way: one row by itself, without padding."""
    ids = torch.tensor(corpus.tokens[row].astype(np.int64))[None]
    inputs = {name: torch.tensor(corpus.row_columns[name][[row]]) for name in corpus.names_with_role("input", "row")}
    (wanted,) = model.parse_sites(site)
    value = model.capture(Batch(ids, torch.ones_like(ids), inputs), [wanted]).values[wanted]
    return value[0].detach().reshape(len(value[0]), -1) if site != "pooled" else value[0].detach()


class ForwardCounter:
    """Counts how often the model's first block really runs."""

    def __init__(self, model: Model) -> None:
        self.n = 0
        block = model.module.get_submodule(f"{model.component_map.blocks}.0")
        self._handle = block.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.n += 1

    def close(self) -> None:
        self._handle.remove()


def killed_corpus() -> Corpus:
    return text_corpus(n_rows=700, seed=9)


def start_collecting(root: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        torch.set_num_threads(1)
        collect(make_language_model(), killed_corpus(), KILLED_SPEC, root)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    for line in sys.stdin:
        command, argument = line.split()
        answer = start_collecting(Path(argument)) if command == "start" else os.waitpid(int(argument), 0)[1]
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
