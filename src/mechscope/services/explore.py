"""`mechscope explore`: the main job for anybody's own model and text, in one line."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from mechscope.core import SILENT, Progress, Spec, UsageError
from mechscope.corpora import Corpus, CorpusSpec, make_corpus
from mechscope.models import Model
from mechscope.services.defaults import choose_defaults
from mechscope.services.held_out import train_rows
from mechscope.services.main_job import MainJobSpec, Materials
from mechscope.services.reported import ReportedJob, run_reported_job
from mechscope.services.targets import CorpusRequest, corpus_spec, one_site
from mechscope.workspace import Workspace

__all__ = ["ExploreSpec", "explore"]

DEFAULT_BLOCK_LENGTH = 128
DEFAULT_MAX_TOKENS = 1_000_000


class ExploreSpec(Spec):
    """What `explore` was asked for; None means "choose for me, and say what was chosen".

    model: a shipped model, a folder or a hub id. corpus: what it reads. name: of the subject in the workspace.
    max_tokens: of text at most. seed: of sampling and training.
    """

    model: str
    corpus: CorpusRequest
    name: str | None = None
    site: str | None = None
    n_features: int | None = None
    k: int | None = None
    n_steps: int | None = None
    max_tokens: int | None = None
    block_length: int | None = None
    n_shown: int = 12
    seed: int = 0


def explore(workspace: Workspace, spec: ExploreSpec, progress: Progress = SILENT) -> ReportedJob:
    """Open and verify, collect, train, build, report. Defaults are chosen from the sizes and said."""
    model = Model.open(spec.model)
    refused = sorted({check.site for check in model.verification.checks if not check.passed})
    progress.say(
        f"model {model.name}: {model.n_layers} blocks, d_model {model.d_model}, vocabulary {model.d_vocab:,}; "
        f"{len(model.sites())} sites verified" + (f", refused: {', '.join(refused)}" if refused else "")
    )
    text = _corpus_spec(spec, model, progress)
    corpus, folder = make_corpus(text, workspace.corpora, progress=progress)
    n_samples = _n_samples(corpus, train_rows(corpus))
    chosen = choose_defaults(
        n_layers=model.n_layers,
        d_model=model.d_model,
        n_samples=n_samples,
        site=spec.site,
        n_features=spec.n_features,
        seed=spec.seed,
    )
    given = {name: value for name in ("n_features", "k", "n_steps") if (value := getattr(spec, name)) is not None}
    for choice in chosen.choices:
        if choice.setting not in given:
            progress.say(f"chosen: {choice.setting} = {choice.value} ({choice.reason})")
    job = MainJobSpec(
        subject=spec.name or subject_name(spec.model),
        model=spec.model,
        site=str(one_site(model, chosen.site)),
        corpus=text,
        train=chosen.train.updated(**given),
        seed=spec.seed,
    )
    choices = tuple(choice for choice in chosen.choices if choice.setting not in given)
    return run_reported_job(
        workspace,
        job,
        Materials(model, corpus, folder),
        title=f"Features of {model.name}",
        choices=choices,
        command=_command(spec),
        n_shown=spec.n_shown,
        progress=progress,
    )


def subject_name(model: str) -> str:
    """A name for the workspace from a model's source: its last part, with letters that TOML keys can hold bare."""
    last = Path(model).name or "model"
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in last)


def _corpus_spec(spec: ExploreSpec, model: Model, progress: Progress) -> CorpusSpec:
    options = dict(spec.corpus.options)
    if spec.corpus.text:
        if model.tokenizer is None:
            raise UsageError(
                f"model {spec.model!r} has no tokenizer",
                expected="a folder with tokenizer.json beside the model",
                todo="save the tokenizer there, or name a corpus source with --corpus",
            )
        length = spec.block_length or min(DEFAULT_BLOCK_LENGTH, model.max_positions or DEFAULT_BLOCK_LENGTH)
        options.setdefault("block_length", length)
        options.setdefault("n_rows", max(1, (spec.max_tokens or DEFAULT_MAX_TOKENS) // options["block_length"]))
        options.setdefault("seed", spec.seed)
        progress.say(
            f"text: at most {options['n_rows']:,} rows of up to {options['block_length']} tokens "
            "(--max-tokens, --block-length)"
        )
    return corpus_spec(spec.corpus.updated(options=options), model=spec.model)


def _n_samples(corpus: Corpus, rows: np.ndarray) -> int:
    return int(rows.sum()) if corpus.kind == "set" else int(corpus.tokens.lengths[rows].sum())


def _command(spec: ExploreSpec) -> str:
    parts = ["mechscope", "explore", "--model", spec.model]
    for path in spec.corpus.text:
        parts += ["--text", path]
    if spec.corpus.source:
        parts += ["--corpus", spec.corpus.source]
    for key, value in spec.corpus.options.items():
        parts += ["--corpus-option", f"{key}={value}"]
    for name in ("name", "site", "n_features", "k", "n_steps", "max_tokens", "block_length", "n_shown", "seed"):
        if (given := getattr(spec, name)) is not None:
            parts += [f"--{name.replace('_', '-')}", str(given)]
    return shlex.join(parts)
