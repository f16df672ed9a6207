"""Trains the language model of the `agreement` subject on generated texts, and writes its folder.

    python -m mechscope.subjects.agreement FOLDER

The folder is in Hugging Face's layout (float16 weights, word-level fast tokenizer); training_record.json holds the
spec with its seeds, the losses, and the scores of the model as it opens from that folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Int
from pydantic import Field
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from mechscope import __version__
from mechscope.core import SILENT, Progress, Spec, digest_file
from mechscope.corpora.corpus import Corpus
from mechscope.corpora.domains.agreement import BOS_ID, EOS_ID, MAX_TOKENS, PAD_ID, WORDS, make_tokenizer
from mechscope.corpora.sources.agreement import AgreementSource
from mechscope.store import write_json
from mechscope.subjects.agreement_scores import AgreementScores, score_agreement_model
from mechscope.subjects.language_models import LanguageModelTrainSpec, save_language_model, train_causal_lm

__all__ = ["TrainAgreementSpec", "TrainedAgreement", "train_agreement"]


N_WATCHED = 512


class TrainAgreementSpec(Spec):
    """How the shipped model was trained.

    Attributes:
        seed: weights and the order of rows derive from it; `corpus.seed` and `score_seed` are apart.
        corpus: the texts; rows of the split "train" are learnt, "valid" watched, "test" only scored.
        d_model: width of the residual stream; a multiple of `n_heads`.
        n_layers: layers.
        n_heads: attention heads a layer.
        training: the optimiser's settings; its own seed is not used, `seed` takes its place.
        n_scored_pairs: minimal pairs scored for each kind of head noun and each number of distractors.
        score_seed: seed of those pairs.
    """

    seed: int = 0
    corpus: AgreementSource = AgreementSource(n_rows=40_000, seed=1)
    d_model: int = Field(default=96, ge=8)
    n_layers: int = Field(default=3, ge=1)
    n_heads: int = Field(default=4, ge=1)
    training: LanguageModelTrainSpec = LanguageModelTrainSpec(
        batch_size=32, n_steps=3600, lr=3e-3, warmup=100, weight_decay=0.1, beta2=0.98, n_threads=1
    )
    n_scored_pairs: int = Field(default=500, ge=1)
    score_seed: int = 2


class TrainedAgreement(Spec):
    """What training gave. Losses are in nats a token; `scores` are of the stored float16 weights."""

    headline: str
    spec: TrainAgreementSpec
    n_parameters: int
    history: dict[str, list[float]]
    scores: AgreementScores
    corpus_digest: str
    weights_sha256: str
    cpu_seconds: float
    versions: dict[str, str]


def train_agreement(spec: TrainAgreementSpec, folder: Path, progress: Progress = SILENT) -> TrainedAgreement:
    """Train, write the folder, open it again and score that. Deterministic on one machine and thread count.

    Cost: about 0.1 s a step of 32 texts on one CPU core for the default sizes.
    """
    started = time.process_time()
    corpus = spec.corpus.build(progress)
    train, valid = (padded_rows(corpus, split) for split in ("train", "valid"))
    training = spec.training.updated(seed=spec.seed)
    model, history = train_causal_lm(model_config(spec), train, valid[:N_WATCHED], training, progress)
    save_language_model(model, wrapped_tokenizer(), folder, {}, half=True)
    opened = GPTNeoXForCausalLM.from_pretrained(folder).float().eval()
    scores = score_agreement_model(opened, corpus, n_pairs=spec.n_scored_pairs, seed=spec.score_seed)
    trained = TrainedAgreement(
        headline=headline(scores),
        spec=spec,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        history=history,
        scores=scores,
        corpus_digest=corpus.digest,
        weights_sha256=digest_file(folder / "model.safetensors"),
        cpu_seconds=round(time.process_time() - started, 1),
        versions={
            "mechscope": __version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )
    write_json(folder / "training_record.json", trained.to_json())
    return trained


def headline(scores: AgreementScores) -> str:
    """One line: agreement on held-out head nouns by number of distractors, all of the other number."""
    held_out = [score for score in scores.agreement if score.heads != "no" and score.distractors == "other"]
    n_right, n = (sum(getattr(score.overall, key) for score in held_out) for key in ("n_right", "n"))
    by_number = [
        sum(score.by_n_distractors[key].n_right for score in held_out)
        / sum(score.by_n_distractors[key].n for score in held_out)
        for key in sorted(held_out[0].by_n_distractors)
    ]
    shares = ", ".join(f"{share:.1%}" for share in by_number)
    return (
        f"agreement on held-out heads across distractors of the other number {n_right / n:.1%} (n={n:,}; "
        f"{shares} with 0 to {len(by_number) - 1} distractors; chance 50 %)"
    )


def model_config(spec: TrainAgreementSpec) -> GPTNeoXConfig:
    """The model's shape: GPT-NeoX with attention and MLP one after the other, four times d_model wide."""
    return GPTNeoXConfig(
        vocab_size=len(WORDS),
        hidden_size=spec.d_model,
        num_hidden_layers=spec.n_layers,
        num_attention_heads=spec.n_heads,
        intermediate_size=4 * spec.d_model,
        max_position_embeddings=MAX_TOKENS,
        use_parallel_residual=False,
        # Rotary positions on the whole head: a quarter of 24 dimensions is too few to find the token before.
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
        hidden_dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
    )


def wrapped_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer as `transformers` knows one. It puts `<bos>` before each text, as training did."""
    return PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(),
        pad_token=WORDS[PAD_ID],
        bos_token=WORDS[BOS_ID],
        eos_token=WORDS[EOS_ID],
        unk_token="<unk>",
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def padded_rows(corpus: Corpus, split: str) -> Int[Tensor, "n pos"]:
    """The rows of one split as int16 ids, padded to the right up to the longest."""
    rows = corpus.tokens.select(np.flatnonzero(corpus.column("split") == split))
    real = np.arange(int(rows.lengths.max())) < rows.lengths[:, None]
    ids = np.full(real.shape, PAD_ID, dtype=np.int16)
    ids[real] = rows.ids
    return torch.from_numpy(ids)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Train the shipped model into the folder named on the command line; the record as JSON types."""
    parser = argparse.ArgumentParser(description="Train the model of the agreement subject.")
    parser.add_argument("folder", type=Path, help="where the model folder goes")
    parser.add_argument("--spec", type=Path, help="a YAML or JSON file with a TrainAgreementSpec")
    given = parser.parse_args(arguments)
    spec = TrainAgreementSpec.read(given.spec) if given.spec else TrainAgreementSpec()
    return train_agreement(spec, given.folder).to_json()


if __name__ == "__main__":
    main()
