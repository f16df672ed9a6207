"""What the main job prints when it is done: figures with how they were obtained, the report, what to try next."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from mechscope.cli.output import print_result, print_table
from mechscope.services.results import ReportedJob

__all__ = ["print_job"]


def print_job(found: ReportedJob, workspace: Path) -> None:
    """Print a finished main job for people."""
    rows = [(m.label, m.text(), m.how) for m in found.measures]
    print_table(found.title + (" (reused)" if found.was_reused else ""), ("measure", "value", "how obtained"), rows)
    if found.concepts:
        table = [
            (c.concept, c.feature, c.auroc, c.best_token, c.pca, c.random_dictionary, "yes" if c.counts else "no")
            for c in found.concepts
        ]
        print_table(
            "planted concepts and the features that match them",
            ("concept", "feature", "AUROC", "best token", "PCA", "random", "counts"),
            table,
            caption="Picked on training rows, scored on held-out rows; counts above 0.9 and all three baselines.",
        )
    at = f" --workspace {workspace}" if str(workspace) != "." else ""
    first = found.shown[0] if found.shown else 0
    print_result(
        [
            f"[bold]report[/bold]  {escape(found.report)}",
            f"record  {escape(found.run)}",
            "",
            "next:",
            f"  mechscope features overview {first} --model {found.subject}{at}",
            f"  mechscope features decoder {first} --model {found.subject}{at}",
            f"  mechscope features similar {first} --model {found.subject}{at}",
        ]
    )
