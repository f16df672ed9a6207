"""What the demo runs on each shipped subject."""

from __future__ import annotations

from mechscope.corpora import CorpusSpec
from mechscope.services.main_job import MainJobSpec
from mechscope.training import TrainSpec

__all__ = ["DEMO_JOBS"]

DEMO_JOBS: dict[str, MainJobSpec] = {
    "splatoon": MainJobSpec(
        subject="splatoon",
        model="splatoon",
        site="pooled",
        corpus=CorpusSpec(source="splatoon", options={"n_rows": 40_000}),
        train=TrainSpec(
            architecture="relu", n_features=256, l1_coefficient=0.05, n_steps=1000, batch_size=1024, lr=3e-3
        ),
        evaluation_rows=2000,
    ),
    "agreement": MainJobSpec(
        subject="agreement",
        model="agreement",
        site="resid_post:1",
        corpus=CorpusSpec(source="agreement", options={"n_rows": 6000}),
        train=TrainSpec(architecture="topk", n_features=768, k=16, n_steps=2000, batch_size=1024, lr=2e-3),
    ),
    "pydocs": MainJobSpec(
        subject="pydocs",
        model="pydocs",
        site="resid_post:2",
        corpus=CorpusSpec(source="pydocs", options={"n_rows": 5000, "blocks_per_document": 24}),
        train=TrainSpec(architecture="topk", n_features=2048, k=24, n_steps=2500, batch_size=1024, lr=3e-3),
    ),
}
