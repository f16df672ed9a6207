"""`mechscope activations`."""

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
    TextPaths,
    VocabPath,
    WeaponVocabPath,
    WorkspaceFolder,
)
from mechscope.cli.output import print_envelope, print_result, print_table, progress_for

__all__ = ["app"]

app = typer.Typer(help="Activations: collect a corpus at sites of a model into the dense cache.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Activations: collect a corpus at sites of a model into the dense cache."""


@app.command("collect")
def collect(
    site: Annotated[
        list[str], typer.Option("--site", "--hook-target", help="Where to read, such as resid_post:3; may be repeated.")
    ],
    model: AnyModel = None,
    corpus: CorpusSource = None,
    corpus_option: CorpusOptions = None,
    text: TextPaths = None,
    data_csv: DataCsv = None,
    vocab_path: VocabPath = None,
    weapon_vocab_path: WeaponVocabPath = None,
    token_policy: Annotated[
        str, typer.Option(help="Which tokens give samples: `mechscope list token-policies`.")
    ] = "all",
    policy_option: Annotated[list[str] | None, typer.Option(help="key=value for the token policy.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens a forward pass.", min=1)] = 4096,
    shard_mb: Annotated[int, typer.Option(help="About the size of a shard in MB.", min=1)] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the shuffle inside shards.")] = 0,
    cut_long_rows: Annotated[bool, typer.Option(help="Cut rows to what the model takes; counted.")] = False,
    workspace: WorkspaceFolder = Path(),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a corpus through a model and cache the activations. A second identical call runs no forward pass."""
    from mechscope.cli.corpus_request import corpus_request
    from mechscope.services.collecting import collect_activations
    from mechscope.services.targets import parse_options
    from mechscope.workspace import Workspace

    request = corpus_request(
        corpus,
        corpus_option,
        text,
        data_csv=data_csv,
        vocab_path=vocab_path,
        weapon_vocab_path=weapon_vocab_path,
    )
    settings = {
        "sites": site,
        "token_policy": token_policy,
        "policy_options": parse_options(tuple(policy_option or ())),
        "dtype": dtype,
        "batch_tokens": batch_tokens,
        "shard_bytes": shard_mb << 20,
        "seed": seed,
        "cut_long_rows": cut_long_rows,
    }
    found = collect_activations(
        Workspace.open(workspace), model=model, request=request, settings=settings, progress=progress_for(quiet=quiet)
    )
    if as_json:
        print_envelope("activations collect", [cache.to_json() for cache in found])
        return
    rows = [(c.site, c.n_samples, c.d_in, c.dtype, c.n_bytes, "yes" if c.was_reused else "no", c.folder) for c in found]
    print_table("dense caches", ("site", "samples", "width", "dtype", "bytes", "reused", "folder"), rows)
    print_result(["next: `mechscope sae train --activations FOLDER`, or name the site again with --site"])
