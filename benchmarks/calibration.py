"""How often each kind of experiment claims something about features that are noise.

    python benchmarks/calibration.py            200 null features a kind, mode and sort of null: half an hour
    python benchmarks/calibration.py --n 50

Prints the table of docs/experiments.md. The rule: at most alpha + 2 %, 7 %, of null features may have a claim.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from mechscope.activations import CollectSpec, collect
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.dictionaries import Dictionary, DictionarySpec
from mechscope.experiments import OBSERVED, find_kind
from mechscope.features import FeatureInputs
from mechscope.features.build import build_features
from mechscope.models import Model
from mechscope.models.set_transformer import SetTransformer, SetTransformerConfig
from mechscope.store.sparse import StoreSpec
from mechscope.testing.calibration import CLAIMING, NullSort, calibrate, null_features

FEATURE, ALLOWED = 3, 0.07


def subject(root: Path, n_rows: int) -> FeatureInputs:
    """Gear builds through an untrained set model: what the model computes plays no part here."""
    torch.manual_seed(0)
    model = Model.open(SetTransformer(SetTransformerConfig(d_model=16, n_layers=1, n_heads=2, d_mlp=32)).eval())
    corpus = SplatoonSource(n_rows=n_rows, seed=1).build()
    cache = next(iter(collect(model, corpus, CollectSpec(sites=["pooled"]), root / "activations").values()))
    dictionary = Dictionary.random(DictionarySpec(architecture="topk", d_in=cache.d_in, n_features=48, k=6), seed=0)
    build_features(cache, corpus, dictionary, root / "store", model=model, spec=StoreSpec()).close()
    return FeatureInputs.open(root / "store", corpus, dictionary, model=model, cache=cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200, help="null features")
    parser.add_argument("--rows", type=int, default=1500, help="rows of the corpus")
    parser.add_argument("--kinds", default=",".join(CLAIMING), help="joined by commas")
    parser.add_argument("--sorts", default="dense,sparse,shuffled", help="of null features, joined by commas")
    parser.add_argument("--seed", type=int, default=2026)
    given = parser.parse_args()
    sorts: list[NullSort] = given.sorts.split(",")
    print(f"{given.n} null features, {given.rows} rows, seed {given.seed}; a claim is false.\n")
    print("| kind | mode | null | claims | share [95 %] | failed | s |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, subject(Path(folder), given.rows) as inputs:
        totals = dict.fromkeys(sorts, (0, 0))
        for kind in given.kinds.split(","):
            for mode in find_kind(kind).modes:
                for sort in sorts:
                    if sort == "shuffled" and mode != OBSERVED:
                        continue
                    started = time.perf_counter()
                    features = null_features(inputs, sort, given.n, seed=given.seed, feature=FEATURE)
                    found = calibrate(kind, mode, sort, features, feature=FEATURE)
                    low, high = found.interval
                    mark = "" if found.share <= ALLOWED else " TOO OFTEN"
                    seconds = time.perf_counter() - started
                    print(
                        f"| `{kind}` | {mode} | {sort} | {found.n_claiming} | {100 * found.share:.1f} % "
                        f"[{100 * low:.1f}, {100 * high:.1f}]{mark} | {found.n_failed} | {seconds:.0f} |",
                        flush=True,
                    )
                    claiming, n = totals[sort]
                    totals[sort] = claiming + found.n_claiming, n + found.n - found.n_failed
        for sort, (claiming, n) in totals.items():
            print(f"| all | | {sort} | {claiming} | {100 * claiming / max(1, n):.1f} % of {n} | | |")


if __name__ == "__main__":
    main()
