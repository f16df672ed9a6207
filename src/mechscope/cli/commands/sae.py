"""`mechscope sae`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.options import (
    AnyModel,
    AsJson,
    CorpusOptions,
    CorpusSource,
    DataCsv,
    Quiet,
    SiteSelector,
    TextPaths,
    VocabPath,
    WeaponVocabPath,
    WorkspaceFolder,
)
from mechscope.cli.output import print_envelope, print_result, print_table, progress_for

__all__ = ["app"]

app = typer.Typer(help="Sparse dictionaries: train one on the activations of a site.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Sparse dictionaries: train one on the activations of a site."""


@app.command("train")
def train(
    model: AnyModel = None,
    site: SiteSelector = None,
    activations: Annotated[Path | None, typer.Option(help="Folder of a dense cache, instead of a model.")] = None,
    corpus: CorpusSource = None,
    corpus_option: CorpusOptions = None,
    text: TextPaths = None,
    data_csv: DataCsv = None,
    vocab_path: VocabPath = None,
    weapon_vocab_path: WeaponVocabPath = None,
    spec: Annotated[Path | None, typer.Option(help="YAML or JSON with training settings; options win over it.")] = None,
    architecture: Annotated[str | None, typer.Option(help="See `mechscope list architectures`. Default: topk.")] = None,
    expansion: Annotated[
        float | None, typer.Option("--expansion", "--expansion-factor", help="Features a unit of width. Default: 8.")
    ] = None,
    n_features: Annotated[int | None, typer.Option(help="Features; instead of --expansion.")] = None,
    k: Annotated[int | None, typer.Option(help="Features kept a sample (topk). Default: 32.")] = None,
    l1_coefficient: Annotated[
        float | None, typer.Option("--l1-coefficient", "--l1-coeff", help="Weight of the L1 term (relu).")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the activations. Default: 5.")] = None,
    n_steps: Annotated[int | None, typer.Option(help="Optimiser steps; instead of --epochs.")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "--sae-batch-size", help="Samples a step. Default: 1024.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate. Default: 0.003.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order. Default: 0.")] = None,
    save_dir: Annotated[Path | None, typer.Option(help="Also copy cfg.json and sae_weights.safetensors there.")] = None,
    subject: Annotated[
        str | None, typer.Option(help="Name the result in the workspace. Default: the subject's own, at its own site.")
    ] = None,
    workspace: WorkspaceFolder = Path(),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a dictionary; collect the activations first when they are not there. Resumes where it was stopped."""
    from mechscope.cli.corpus_request import corpus_request
    from mechscope.services.dictionaries import train_dictionary, train_settings
    from mechscope.training import TrainSpec
    from mechscope.workspace import Workspace

    given = {
        "architecture": architecture,
        "expansion": expansion,
        "n_features": n_features,
        "k": k,
        "l1_coefficient": l1_coefficient,
        "epochs": epochs,
        "n_steps": n_steps,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
    }
    request = corpus_request(
        corpus,
        corpus_option,
        text,
        data_csv=data_csv,
        vocab_path=vocab_path,
        weapon_vocab_path=weapon_vocab_path,
    )
    found = train_dictionary(
        Workspace.open(workspace),
        model=model,
        site=site,
        request=request,
        spec=TrainSpec.parse(train_settings(spec, given), where="the training settings"),
        activations=activations,
        save_dir=save_dir,
        subject=subject,
        progress=progress_for(quiet=quiet),
    )
    if as_json:
        print_envelope("sae train", found.to_json())
        return
    rows: list[tuple[str, object]] = [("features", found.n_features), ("samples trained on", found.n_samples_trained)]
    if found.evaluation is not None:
        e = found.evaluation
        rows += [
            ("held-out samples", e.n_samples),
            ("FVU (held out) ± one standard error", f"{e.fvu:.4g} ± {e.fvu_standard_error:.2g}"),
            ("independent units behind it", e.n_samples if e.n_clusters is None else e.n_clusters),
            ("explained variance", e.explained_variance),
            ("L0", e.l0),
            ("dead share", e.dead_share),
            ("cosine", e.cosine),
        ]
    print_table("dictionary" + (" (reused)" if found.was_reused else ""), ("measure", "value"), rows)
    print_result([f"folder: {found.folder}"])
