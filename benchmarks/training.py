"""Training steps a second of our TopK and ReLU dictionaries, against the dense matrix products alone.

    python benchmarks/training.py [--threads 2] [--small]

"five products" is what a plain dense step cannot avoid: encode, decode, gradient of the codes, and the two weight
gradients, with nothing else. "encoder alone" is the one product that every step here makes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mechscope.testing.planted import plant
from mechscope.training import ArraySource, TrainSpec
from mechscope.training.loop import advance
from mechscope.training.scaling import estimate_scaling
from mechscope.training.states import initial_state

SIZES = {"small": (128, 1024, 1024), "large": (512, 8192, 4096)}
WARM_STEPS, TIMED_STEPS = 3, 6
SPARSE_L0 = 32


def seconds_of(call: Callable[[], object], n: int) -> float:
    """Median CPU seconds over `n` calls, all threads together: other people's load does not count."""
    times = []
    for _ in range(n):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return sorted(times)[n // 2]


def product_seconds(d_in: int, n_features: int, batch: int) -> tuple[float, float]:
    x, W = torch.randn(batch, d_in), torch.randn(d_in, n_features)
    z, V = torch.randn(batch, n_features), torch.randn(n_features, d_in)
    products: list[Callable[[], Tensor]] = [
        lambda: x @ W,
        lambda: z @ V,
        lambda: x @ V.t(),
        lambda: z.t() @ x,
        lambda: x.t() @ z,
    ]
    times = [seconds_of(product, 4) for product in products]
    return times[0], sum(times)


def step_seconds(spec: TrainSpec, samples: Tensor, *, sparse_l0: int | None = None) -> tuple[float, float]:
    """CPU seconds a step, and mean L0 there; `sparse_l0` starts with a bias that lets so many features through."""
    source = ArraySource(samples)
    state = initial_state(spec, source.d_in, estimate_scaling(source, spec))
    x = samples[: spec.batch_size]
    if sparse_l0 is not None:
        with torch.no_grad():
            inputs = x[:256] * state.scale - state.dictionary.b_dec
            pre = (inputs @ state.dictionary.W_enc).flatten()
            rank = len(pre) * sparse_l0 // state.dictionary.n_features
            state.dictionary.b_enc.fill_(-float(pre.topk(rank).values[-1]))
    for _ in range(WARM_STEPS):
        advance(state, x, spec, n_steps=10_000)
    seconds = seconds_of(lambda: advance(state, x, spec, n_steps=10_000), TIMED_STEPS)
    return seconds, advance(state, x, spec, n_steps=10_000).n_active / len(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--small", action="store_true", help="the small size only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, float32; times are CPU seconds / threads")
    heads = f"{'ms/step':>9}{'steps/s':>9}{'samples/s':>11}{'x five':>8}{'L0':>8}"
    print(f"{'(d_in, n_features, batch)':28}{'what':30}{heads}")
    for d_in, n_features, batch in [SIZES["small"], *([] if options.small else [SIZES["large"]])]:
        samples = plant(batch, d_in=d_in, n_true=2 * d_in, true_l0=16.0).samples
        encoder, five = product_seconds(d_in, n_features, batch)
        common: dict[str, Any] = {"n_features": n_features, "n_steps": 10_000, "batch_size": batch, "lr": 1e-6}
        topk = TrainSpec(architecture="topk", k=32, **common)
        dead = topk.updated(dead_window_samples=1)
        relu = TrainSpec(architecture="relu", **common)
        rows: list[tuple[str, float, float | None]] = [("encoder alone", encoder, None), ("five products", five, None)]
        rows.append(("TopK step, no dead feature", *step_seconds(topk, samples)))
        rows.append(("TopK step, silent ones dead", *step_seconds(dead, samples)))
        rows.append(("ReLU step, dense start", *step_seconds(relu, samples)))
        rows.append(("ReLU step, sparse", *step_seconds(relu, samples, sparse_l0=SPARSE_L0)))
        for what, seconds, l0 in rows:
            wall, shown = seconds / options.threads, "" if l0 is None else f"{l0:.1f}"
            numbers = f"{1e3 * wall:9.1f}{1 / wall:9.2f}{batch / wall:11,.0f}{five / seconds:8.2f}{shown:>8}"
            print(f"{f'({d_in}, {n_features}, {batch})':28}{what:30}{numbers}", flush=True)


if __name__ == "__main__":
    main()
