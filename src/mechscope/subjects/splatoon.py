"""Trains the set-completion model of the `splatoon` subject on generated builds, and writes its folder.

    python -m mechscope.subjects.splatoon FOLDER

The folder holds config.json, model.safetensors (float16), vocab.json (token -> id), weapon_vocab.json and
training_record.json: the spec with its seed, the losses, and micro-F1 on held-out rows beside the baseline's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mechscope import __version__
from mechscope.core import SILENT, Progress, Spec, derive_seed, digest_file
from mechscope.corpora.corpus import Corpus, Ragged
from mechscope.corpora.domains.splatoon import PAD_ID, VOCABULARY, weapon_vocabulary
from mechscope.corpora.sources.splatoon import SplatoonSource
from mechscope.models.set_transformer import (
    SetTransformer,
    SetTransformerConfig,
    build_from_config,
    load_set_transformer,
)
from mechscope.store.atomic import atomic_path, write_json
from mechscope.subjects.set_completion import F1Score, FrequencyBaseline, pick_threshold, score_f1

__all__ = ["TrainSplatoonSpec", "TrainedSplatoon", "headline", "main", "train_splatoon"]

BASELINE_STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


class TrainSplatoonSpec(Spec):
    """How the shipped model was trained.

    Attributes:
        seed: weights and the order of rows derive from it; `corpus.seed` is apart.
        corpus: the builds; rows of the split "train" are learnt, "valid" and "test" only scored.
        n_epochs: passes over the train rows.
        lr: peak learning rate of AdamW; warm-up over the first 5 % of the steps, then a cosine down to 0.
    """

    seed: int = 0
    corpus: SplatoonSource = SplatoonSource(n_rows=120_000, seed=20_220_909)
    config: SetTransformerConfig = SetTransformerConfig()
    n_epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=256, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    stored_dtype: Literal["float16", "float32"] = "float16"


class TrainedSplatoon(Spec):
    """What training gave. Losses are mean binary cross-entropies per token of the vocabulary, in nats.

    `scores` has "model_removed" and "baseline_removed" (cells of tokens that the row lacks) and "model_all" and
    "baseline_all" (every cell; tokens shown count as certain for both), scored on the split "test".
    """

    spec: TrainSplatoonSpec
    n_parameters: int
    train_losses: list[float]
    test_loss: float
    scores: dict[str, F1Score]
    baseline_strength: dict[str, float]
    corpus_digest: str
    weights_sha256: str
    seconds: float
    n_threads: int
    versions: dict[str, str]
    headline: str


def train_splatoon(spec: TrainSplatoonSpec, folder: Path, progress: Progress = SILENT) -> TrainedSplatoon:
    """Train, score on held-out rows and write the folder. Deterministic on one machine and thread count.

    Cost: about 0.08 s a step of 256 rows on one CPU core for the default sizes, two minutes in all.
    """
    started = time.monotonic()
    corpus = spec.corpus.build(progress)
    model = build_from_config(spec.config, seed=derive_seed(spec.seed, "weights"))
    losses = _fit(model, _Rows(corpus, "train"), spec, progress)
    _write_model(model, spec, folder)
    opened = load_set_transformer(folder)
    scores, strength, test_loss = _score(opened, corpus)
    trained = TrainedSplatoon(
        spec=spec,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        train_losses=losses,
        test_loss=test_loss,
        scores=scores,
        baseline_strength=strength,
        corpus_digest=corpus.digest,
        weights_sha256=digest_file(folder / "model.safetensors"),
        seconds=round(time.monotonic() - started, 1),
        n_threads=torch.get_num_threads(),
        versions={"mechscope": __version__, "torch": torch.__version__, "numpy": np.__version__},
        headline=headline(scores),
    )
    write_json(folder / "training_record.json", trained.to_json())
    return trained


def headline(scores: dict[str, F1Score]) -> str:
    """The held-out figures in one line."""
    parts = []
    for name, said in (("removed", "removed tokens"), ("all", "all tokens")):
        model, base = scores[f"model_{name}"], scores[f"baseline_{name}"]
        parts.append(
            f"{said}: micro-F1 {model.f1:.3f} [{model.low:.3f}, {model.high:.3f}], "
            f"conditional frequencies {base.f1:.3f} [{base.low:.3f}, {base.high:.3f}]"
        )
    return "; ".join(parts) + f" ({scores['model_all'].n_rows} held-out builds)"


class _Rows:
    """The rows of one split as padded tensors."""

    def __init__(self, corpus: Corpus, split: str) -> None:
        rows = np.flatnonzero(corpus.column("split") == split)
        part = corpus.select(rows)
        assert part.targets is not None
        self.shown = _multi_hot(part.tokens)
        self.whole = _multi_hot(part.targets)
        self.weapon = torch.from_numpy(part.column("weapon_ids"))
        lengths = part.tokens.lengths
        self.mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None]).long()
        self.ids = torch.full(self.mask.shape, PAD_ID)
        self.ids[self.mask.bool()] = torch.from_numpy(part.tokens.ids.astype(np.int64))
        self.targets = torch.from_numpy(self.whole).float()

    def __len__(self) -> int:
        return len(self.ids)

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
        return self.ids[rows], self.mask[rows], self.weapon[rows]


def _multi_hot(rows: Ragged) -> np.ndarray:
    hot = np.zeros((len(rows), len(VOCABULARY)), dtype=bool)
    hot[np.repeat(np.arange(len(rows)), rows.lengths), rows.ids] = True
    return hot


def _fit(model: SetTransformer, rows: _Rows, spec: TrainSplatoonSpec, progress: Progress) -> list[float]:
    n_steps = spec.n_epochs * -(-len(rows) // spec.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, spec.lr, total_steps=n_steps + 1, pct_start=0.05)
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
    losses = []
    model.train()
    with progress.task("Training the set model", total=n_steps, unit="steps") as task:
        for _ in range(spec.n_epochs):
            total = 0.0
            for at in torch.split(torch.randperm(len(rows), generator=generator), spec.batch_size):
                loss = binary_cross_entropy_with_logits(model(*rows.batch(at)), rows.targets[at])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(at)
                task.advance(1, note=f"loss {loss.item():.4f}")
            losses.append(total / len(rows))
    return losses


def _write_model(model: SetTransformer, spec: TrainSplatoonSpec, folder: Path) -> None:
    dtype = {"float16": torch.float16, "float32": torch.float32}[spec.stored_dtype]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file({name: value.to(dtype) for name, value in model.state_dict().items()}, temporary)
    write_json(folder / "config.json", spec.config.to_json())
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(VOCABULARY)})
    write_json(folder / "weapon_vocab.json", weapon_vocabulary())


@torch.no_grad()
def _model_scores(model: SetTransformer, rows: _Rows) -> np.ndarray:
    parts = [model(*rows.batch(at)) for at in torch.split(torch.arange(len(rows)), 2048)]
    return torch.cat(parts).double().numpy()


def _score(model: SetTransformer, corpus: Corpus) -> tuple[dict[str, F1Score], dict[str, float], float]:
    """Micro-F1 of model and baseline, on the removed tokens and on all; thresholds and strength from "valid"."""
    train, valid, test = (_Rows(corpus, split) for split in ("train", "valid", "test"))
    baseline = FrequencyBaseline.fit(train.shown, train.whole, train.weapon.numpy(), len(weapon_vocabulary()))
    logits = [_model_scores(model, rows) for rows in (valid, test)]
    loss = binary_cross_entropy_with_logits(torch.from_numpy(logits[1]), test.targets.double()).item()
    scores: dict[str, F1Score] = {}
    strengths: dict[str, float] = {}
    for name in ("removed", "all"):
        scores[f"model_{name}"] = _threshold_and_score(logits[0], logits[1], valid, test, name)
        tried = {s: _valid_f1(baseline, valid, s, name) for s in BASELINE_STRENGTHS}
        strengths[name] = max(tried, key=lambda s: tried[s])
        base = [baseline.scores(rows.shown, rows.weapon.numpy(), strength=strengths[name]) for rows in (valid, test)]
        scores[f"baseline_{name}"] = _threshold_and_score(base[0], base[1], valid, test, name)
    return scores, strengths, loss


def _cells(rows: _Rows, name: str) -> np.ndarray:
    return ~rows.shown if name == "removed" else np.ones_like(rows.shown)


def _given(scores: np.ndarray, rows: _Rows) -> np.ndarray:
    """Scores in which the tokens shown are certain: both model and baseline are told that they belong."""
    return np.where(rows.shown & (np.arange(len(VOCABULARY)) < PAD_ID - 1), scores.max() + 1, scores)


def _threshold_and_score(on_valid: np.ndarray, on_test: np.ndarray, valid: _Rows, test: _Rows, name: str) -> F1Score:
    threshold = pick_threshold(_given(on_valid, valid), valid.whole, _cells(valid, name))
    return score_f1(_given(on_test, test), test.whole, _cells(test, name), threshold=threshold)


def _valid_f1(baseline: FrequencyBaseline, valid: _Rows, strength: float, name: str) -> float:
    scores = _given(baseline.scores(valid.shown, valid.weapon.numpy(), strength=strength), valid)
    threshold = pick_threshold(scores, valid.whole, _cells(valid, name))
    return score_f1(scores, valid.whole, _cells(valid, name), threshold=threshold).f1


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train the shipped model into the folder named on the command line; the record as JSON types."""
    parser = argparse.ArgumentParser(description="Train the model of the splatoon subject.")
    parser.add_argument("folder", type=Path, help="where the model folder goes")
    parser.add_argument("--spec", type=Path, help="a YAML or JSON file with a TrainSplatoonSpec")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; the recorded run used 1")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    spec = TrainSplatoonSpec.read(given.spec) if given.spec else TrainSplatoonSpec()
    return train_splatoon(spec, given.folder).to_json()


if __name__ == "__main__":
    main()
