"""Collection into the dense cache against the bare truncated forward pass, interleaved in one run.

    python benchmarks/collection.py [--rounds 5] [--threads 1]

"bare" is plain torch: the same padded batches, made beforehand, through the network cut behind the layer of the site;
nothing is hooked, checked, selected or written. "collect" is everything a user waits for: batches, capture, token
selection, shuffle, checksums, fsync, manifest. Ratios are taken within a round; the table shows their median and range.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from mechscope.activations import CollectSpec, collect, make_batches
from mechscope.corpora.corpus import Column, Corpus, Ragged
from mechscope.models.batch import Batch
from mechscope.models.model import Model
from mechscope.models.set_transformer import SetTransformerConfig, build_from_config


class Times(NamedTuple):
    cpu: float
    wall: float


class Case(NamedTuple):
    name: str
    model: Model
    corpus: Corpus
    site: str
    bare: Callable[[Batch], object]


def timed(work: Callable[[], object]) -> Times:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Times(time.process_time() - cpu, time.perf_counter() - wall)


def language_case(name: str, lengths: np.ndarray, layer: int = 3) -> Case:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=2048,
    )
    module = GPTNeoXForCausalLM(config).eval()
    cut = copy.deepcopy(module.gpt_neox)
    cut.layers = cut.layers[: layer + 1]
    cut.final_layer_norm = nn.Identity()
    generator = np.random.default_rng(0)
    tokens = Ragged.from_rows([generator.integers(0, 50304, n) for n in lengths])
    corpus = Corpus(name, "text", tokens, tuple(f"w{i}" for i in range(50304)))

    def bare(batch: Batch) -> object:
        return cut(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)

    return Case(name, Model.open(module), corpus, f"resid_post:{layer}", bare)


def set_case(n_rows: int) -> Case:
    module = build_from_config(SetTransformerConfig()).eval()
    generator = np.random.default_rng(0)
    rows = [generator.permutation(139)[: generator.integers(6, 13)] for _ in range(n_rows)]
    corpus = Corpus(
        name=f"set model, {n_rows:,} builds",
        kind="set",
        tokens=Ragged.from_rows(rows),
        vocabulary=tuple(f"t{i}" for i in range(140)),
        row_columns={"weapon_ids": generator.integers(0, 130, n_rows)},
        columns={"weapon_ids": Column(level="row", role="input")},
        pad_id=139,
    )
    cut = copy.deepcopy(module)
    cut.output = nn.Identity()  # type: ignore[assignment]

    def bare(batch: Batch) -> object:
        return cut(batch.input_ids, batch.attention_mask, batch.extra["weapon_ids"])

    return Case(corpus.name, Model.open(module), corpus, "pooled", bare)


def run_case(case: Case, n_rounds: int) -> list[tuple[Times, Times]]:
    spec = CollectSpec(sites=[case.site], shard_bytes=32 << 20)
    rows = np.arange(case.corpus.n_rows)
    batches = [batch for _, batch in make_batches(case.corpus, rows, case.model, spec.batch_tokens, with_targets=False)]
    _ = case.model.weights_digest  # once a model, not once a collection

    def run_bare() -> None:
        with torch.no_grad():
            for batch in batches:
                case.bare(batch)

    def run_collect() -> None:
        with tempfile.TemporaryDirectory() as folder:
            collect(case.model, case.corpus, spec, Path(folder))

    rounds = []
    for index in range(n_rounds + 1):
        # who goes first alternates, so that neither always follows a warm or a throttled moment
        first, second = (run_bare, run_collect) if index % 2 else (run_collect, run_bare)
        times = timed(first), timed(second)
        rounds.append(times if index % 2 else times[::-1])
    return rounds[1:]  # the first warms up both


def show(case: Case, rounds: list[tuple[Times, Times]]) -> None:
    for what in ("cpu", "wall"):
        bare = [getattr(pair[0], what) for pair in rounds]
        ours = [getattr(pair[1], what) for pair in rounds]
        ratios = sorted(b / a for a, b in zip(bare, ours, strict=True))
        print(
            f"| {case.name} | {case.site} | {case.corpus.n_tokens:,} | {what} "
            f"| {statistics.median(bare):.2f} | {statistics.median(ours):.2f} "
            f"| {statistics.median(ratios):.3f} | {ratios[0]:.3f} - {ratios[-1]:.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the default number of rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_blocks = max(8, int(128 * options.scale))
    uneven = np.random.default_rng(1).integers(8, 249, n_blocks)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, {platform.machine()}\n")
    print("| model and corpus | site | tokens | seconds | bare | collect | ratio (median) | range |")
    print("|---|---|---|---|---|---|---|---|")
    for case in (
        language_case("6 layers x 512, blocks of 128", np.full(n_blocks, 128)),
        language_case("6 layers x 512, rows of 8 to 248", uneven),
        set_case(max(100, int(20_000 * options.scale))),
    ):
        show(case, run_case(case, options.rounds))


if __name__ == "__main__":
    main()
