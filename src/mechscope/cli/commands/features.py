"""`mechscope features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mechscope.cli.options import AsJson, FeatureId, Quiet, SubjectName, WorkspaceFolder
from mechscope.cli.output import print_envelope, print_result, print_table, progress_for
from mechscope.core.kinds import SIMILARITIES

__all__ = ["app"]

app = typer.Typer(help="Features: build the feature store, and look at one feature.", no_args_is_help=True)


@app.command("build")
def build(
    model: SubjectName = None,
    activations: Annotated[Path | None, typer.Option(help="Another dense cache than the subject's.")] = None,
    dictionary: Annotated[Path | None, typer.Option(help="Another dictionary than the subject's.")] = None,
    outputs: Annotated[bool, typer.Option(help="Open the model and store decoder influences.")] = True,
    workspace: WorkspaceFolder = Path(),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Stream the activations through the dictionary into the sparse feature store, with exact statistics."""
    from mechscope.services.feature_views import build_store
    from mechscope.workspace import Workspace

    name, folder, inputs = build_store(
        Workspace.open(workspace),
        model,
        activations=activations,
        dictionary=dictionary,
        with_model=outputs,
        progress=progress_for(quiet=quiet),
    )
    with inputs:
        store = inputs.store
        facts = {"n_samples": store.n_samples, "n_features": store.n_features, "nnz": store.nnz}
    if as_json:
        print_envelope("features build", {"subject": name, "folder": str(folder), **facts})
        return
    print_table(f"feature store of {name}", ("measure", "value"), list(facts.items()))
    print_result([f"folder: {folder}", f"next: `mechscope features overview 0 --model {name}`"])


@app.command("overview")
def overview(
    feature: FeatureId,
    model: SubjectName = None,
    max_examples: Annotated[
        int, typer.Option(help="Examples from the top, and from each band of quantiles.", min=1)
    ] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Longer lists and the extended analyses.")] = False,
    workspace: WorkspaceFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """One feature: statistics with zeros counted, tokens, groups, regions, examples, decoder, similar features."""
    from mechscope.cli.feature_pages import print_overview
    from mechscope.services.feature_views import view_overview
    from mechscope.workspace import Workspace

    found = view_overview(Workspace.open(workspace), model, feature, max_examples=max_examples, everything=everything)
    if as_json:
        print_envelope("features overview", found.to_json())
    else:
        print_overview(found)


@app.command("decoder")
def decoder(
    feature: FeatureId,
    model: SubjectName = None,
    top_k: Annotated[int, typer.Option(help="Outputs each way, at most 64.", min=1, max=64)] = 15,
    workspace: WorkspaceFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """What a feature's decoder row promotes and suppresses, and how large it is among all."""
    from mechscope.cli.feature_pages import print_decoder
    from mechscope.services.feature_views import view_decoder
    from mechscope.workspace import Workspace

    found = view_decoder(Workspace.open(workspace), model, feature, top_k=top_k)
    if as_json:
        print_envelope("features decoder", found.to_json())
    else:
        print_decoder(found)


@app.command("similar")
def similar(
    feature: FeatureId,
    model: SubjectName = None,
    method: Annotated[
        list[str] | None, typer.Option(help="See `mechscope list similarities`; may be repeated. Default: all.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Features a method.", min=1)] = 5,
    workspace: WorkspaceFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """The features most similar to one, by decoder cosine, co-activation and top tokens."""
    from mechscope.cli.feature_pages import print_similar
    from mechscope.services.feature_views import view_similar
    from mechscope.workspace import Workspace

    methods = tuple(method or SIMILARITIES.names())
    found = view_similar(Workspace.open(workspace), model, feature, methods=methods, top_k=top_k)
    if as_json:
        print_envelope("features similar", {m: near.to_json() for m, near in found.items()})
    else:
        print_similar(feature, found)
