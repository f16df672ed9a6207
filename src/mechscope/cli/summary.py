"""What the main job prints when it is done: figures with how they were obtained, the report, what to try next."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.text import Text

from mechscope.cli.output import print_result, print_table
from mechscope.services.results import ReportedJob

__all__ = ["print_job"]


def print_job(found: ReportedJob, workspace: Path) -> None:
    """Print a finished main job for people."""
    rows = [(m.label, m.text(), m.how) for m in found.measures]
    print_table(found.title + (" (reused)" if found.was_reused else ""), ("measure", "value", "how obtained"), rows)
    if found.concepts:
        table = [
            (
                c.concept,
                c.feature,
                f"{c.auroc:.3f} [{c.low:.3f}, {c.high:.3f}]",
                c.best_token,
                c.pca,
                c.random_dictionary,
                c.precision,
                c.n_positive,
                "yes" if c.counts and c.beats_clearly else "narrowly" if c.counts else "no",
            )
            for c in found.concepts
        ]
        columns = ("concept", "feature", "AUROC [95 %]", "token", "PCA", "random", "precision", "positive", "counts")
        print_table(
            "planted concepts and the features that match them",
            columns,
            table,
            caption=f"Picked on training rows, scored on {found.concepts[0].n:,} held-out samples. Counts: above "
            "0.9 and above all three baselines; narrowly: the interval of the gain reaches 0.",
        )
    print_result(
        [
            Text.assemble(("report", "bold"), f"  {found.report}"),
            f"record  {found.run}",
            "",
            "next:",
            *(f"  {command}" for command in _next_commands(found, workspace)),
        ]
    )


def _next_commands(found: ReportedJob, workspace: Path) -> list[str]:
    if not found.shown:
        return [shlex.join(["mechscope", "features", "overview", "0", "--model", found.subject])]
    where = ["--model", found.subject] + ([] if str(workspace) == "." else ["--workspace", str(workspace)])
    views = ("overview", "decoder", "similar")
    return [shlex.join(["mechscope", "features", view, str(found.shown[0]), *where]) for view in views]
