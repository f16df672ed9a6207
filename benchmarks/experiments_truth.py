"""What experiments on the demo's splatoon features find of the planted playstyles, a line a seed.

    python benchmarks/experiments_truth.py --seeds 0 1 2 3 4 [--rows 40000 --steps 1000]

The dictionary is trained anew for every seed. Figures are in docs/experiments.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from mechscope.corpora.domains.splatoon.playstyles import PLANTED
from mechscope.corpora.domains.splatoon.traits import CHARGED_SPECIALS, LETHAL_SUBS, SCOUT_SUBS
from mechscope.experiments import load_context
from mechscope.testing.planted_builds import run_kind
from mechscope.testing.trained_builds import enhancers_of, make_trained_builds, sweeps_of_planted_families

KITS = {
    "special_farmer": ("special", CHARGED_SPECIALS),
    "beakon_support": ("sub", SCOUT_SUBS),
    "bomb_spammer": ("sub", LETHAL_SUBS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=1000)
    asked = parser.parse_args()
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            found = line_of(Path(folder) / "w", seed, asked.rows, asked.steps)
            print(f"seed {seed}: {found}, {time.perf_counter() - began:.0f} s", flush=True)


def line_of(folder: Path, seed: int, n_rows: int, n_steps: int) -> str:
    features = make_trained_builds(folder, seed=seed, n_rows=n_rows, n_steps=n_steps)
    with load_context("splatoon", workspace=folder) as context:
        sweeps = sweeps_of_planted_families(context, features)
        told = [result.aggregates.custom["direction"] for result in sweeps.values()]
        binaries, families = [], []
        for style in PLANTED:
            if style.name not in features:
                continue
            up, _ = enhancers_of(context, features[style.name])
            binaries += [name in up for name in style.mains if name in context.domain.binaries]
            families += [name in up for name in style.extras]
        kits = []
        for name, (kind, planted) in KITS.items():
            if name in features:
                result = run_kind(context, "kit_sweep", features[name], top_k=60)
                top = [row[kind] for row in result.tables[f"{kind}_stats"].rows][: len(planted)]
                kits.append(f"{name} {sum(one in planted for one in top)}/{len(planted)}")
    return (
        f"{len(features)}/11 playstyles; families {told.count('rises')}/{len(told)} rise, {told.count('falls')} fall; "
        f"enhancers {sum(binaries)}/{len(binaries)} main-only, {sum(families)}/{len(families)} families; "
        f"kits {', '.join(kits)}"
    )


if __name__ == "__main__":
    main()
