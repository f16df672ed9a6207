"""From what a person names (a subject, a model, text files, a CSV) to a model, a site and a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mechscope.core import SILENT, LayerComponent, NotFoundError, Progress, Spec, UsageError
from mechscope.corpora import Corpus, CorpusSpec, load_corpus, make_corpus
from mechscope.models import Model
from mechscope.services.demo_jobs import DEMO_JOBS
from mechscope.workspace import SubjectEntry, Workspace

__all__ = ["CorpusRequest", "Target", "corpus_spec", "one_site", "open_target", "parse_options"]


WEIGHTS_FILE = "model.safetensors"


class CorpusRequest(Spec):
    """What a person said about the corpus; at most one of the three ways.

    source, options: a registered source with its options.
    text: files, folders or patterns of text.
    builds_csv, vocab, weapon_vocab: the file forms of the founding documents.
    """

    source: str | None = None
    options: dict[str, Any] = {}
    text: tuple[str, ...] = ()
    builds_csv: str | None = None
    vocab: str | None = None
    weapon_vocab: str | None = None


@dataclass(frozen=True)
class Target:
    """An opened model with its corpus; `entry` is the subject it came from, if any."""

    model_source: str
    model: Model
    site: str | None
    corpus: Corpus
    corpus_folder: Path
    entry: SubjectEntry | None


def parse_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs; values are read as YAML, so that numbers are numbers. Raises UsageError."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"option {pair!r}", expected="key=value", todo="for example n_rows=2000")
        options[key] = yaml.safe_load(value)
    return options


def corpus_spec(request: CorpusRequest, *, model: str) -> CorpusSpec:
    """The corpus that a request means; a shipped model without a request gets the corpus of its demo."""
    ways = [way for way in (request.source, request.text, request.builds_csv) if way]
    if len(ways) > 1:
        raise UsageError(
            "more than one corpus was named",
            expected="one of --corpus, --text, --data-csv",
            todo="leave the others away",
        )
    if request.source:
        return CorpusSpec(source=request.source, options=request.options)
    if request.text:
        return CorpusSpec(source="text", options={"paths": list(request.text), "tokenizer": model, **request.options})
    if request.builds_csv:
        if not request.vocab or not request.weapon_vocab:
            raise UsageError(
                "a CSV of builds without its vocabularies",
                expected="--vocab-path and --weapon-vocab-path beside --data-csv",
                todo="name both JSON files",
            )
        files = {"csv": request.builds_csv, "vocab": request.vocab, "weapon_vocab": request.weapon_vocab}
        return CorpusSpec(source="builds_csv", options={**files, **request.options})
    if model in DEMO_JOBS:
        return DEMO_JOBS[model].corpus
    raise UsageError(
        f"no corpus for model {model!r}",
        expected="--text FILE..., --corpus SOURCE, --data-csv FILE, or a subject of the workspace",
        todo="name what the model should read",
    )


def open_target(
    workspace: Workspace, *, model: str | None, site: str | None, request: CorpusRequest, progress: Progress = SILENT
) -> Target:
    """Open what was named: a subject of the workspace first, else a shipped model, a folder or a hub id."""
    subjects = workspace.subjects()
    name = _model_folder(model) if model is not None else workspace.only_subject()
    if name in subjects and not (request.source or request.text or request.builds_csv):
        entry = subjects[name]
        if entry.corpus is None:
            raise NotFoundError(
                f"subject {name!r} names no corpus",
                expected="a corpus in mechscope.toml",
                todo="add one, or name a corpus in the call",
            )
        folder = workspace.resolve(entry.corpus)
        return Target(entry.model, Model.open(entry.model), site or entry.site, load_corpus(folder), folder, entry)
    source = subjects[name].model if name in subjects else name
    corpus, folder = make_corpus(corpus_spec(request, model=source), workspace.corpora, progress=progress)
    return Target(source, Model.open(source), site, corpus, folder, subjects.get(name))


def _model_folder(model: str) -> str:
    # The founding documents name the checkpoint file; its config lies beside it.
    return str(Path(model).parent) if Path(model).is_file() and Path(model).name == WEIGHTS_FILE else model


def one_site(model: Model, selector: str) -> LayerComponent:
    """The single site that a selector names. Raises UsageError when it names several."""
    sites = model.parse_sites(selector)
    if len(sites) != 1:
        raise UsageError(
            f"site {selector!r} names {len(sites)} sites", expected="one site a dictionary", todo="take them in turn"
        )
    return sites[0]
