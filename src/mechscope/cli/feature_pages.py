"""Pages about one feature for people. Every table says its n; nothing is worded as a cause."""

from __future__ import annotations

from rich.text import Text

from mechscope.cli.output import print_result, print_table
from mechscope.features import ActivationExample, DecoderOutputs, FeatureOverview, Share, SimilarFeatures
from mechscope.reports import running_text, show_token

__all__ = ["print_decoder", "print_overview", "print_similar"]

SHADES = ("", "on grey15", "on dark_green", "bold on green4", "bold black on green3")
TOKENS_SHOWN_MAX = 40


def print_overview(found: FeatureOverview) -> None:
    """The whole overview, most telling first."""
    print_result(
        [
            Text.assemble(
                (f"feature {found.feature}", "bold"), f"  site {found.site}  corpus {found.corpus}  ({found.unit})"
            ),
            Text(found.statement, style="dim"),
        ]
    )
    for flag in found.flags:
        print_result([Text.assemble((f"! {flag.kind}", "yellow"), f"  {flag.text}")])
    _statistics(found)
    _shares(f"tokens that co-occur most ({found.tokens.unit})", found.tokens.top)
    _shares("tokens that co-occur least", found.tokens.bottom)
    if found.families:
        rows = [
            (f.share.name, f.share.share, f.share.base_share, f.share.lift, f.mean_top_rung, f.base_mean_top_rung)
            for f in found.families
        ]
        print_table("families", ("family", "active", "all", "lift", "mean rung", "mean rung, all"), rows)
    for group in found.groups:
        _shares(f"{group.column} ({group.n_values} values)", group.top)
        _spans(group.column, group.in_all_regions, [share.name for share in group.only_extreme])
    _regions(found)
    _binaries(found)
    print_decoder(found.decoder)
    for near in found.similar:
        _neighbours(near)
    _examples(found)


def print_decoder(found: DecoderOutputs) -> None:
    """Promoted and suppressed outputs side by side, and percentiles."""
    if found.reason:
        print_result([f"no outputs: {found.reason}"])
    pad = max(len(found.promoted), len(found.suppressed))
    promoted = [(show_token(s.output), s.value) for s in found.promoted] + [("", None)] * (pad - len(found.promoted))
    suppressed = [(show_token(s.output), s.value) for s in found.suppressed] + [("", None)] * (
        pad - len(found.suppressed)
    )
    if pad:
        print_table(
            f"decoder of feature {found.feature}: outputs by one unit of activation ({found.path})",
            ("promoted", "logits", "suppressed", "logits "),
            [(*up, *down) for up, down in zip(promoted, suppressed, strict=True)],
            caption=f"read off the weights, of {found.n_outputs:,} outputs"
            + ("; centred over the vocabulary" if found.is_centred else ""),
        )
    rows: list[tuple[str, float | None]] = [("length of the decoder row", found.decoder_norm_percentile)]
    rows.append(("length of its effect on the outputs", found.output_norm_percentile))
    rows.append(("that effect times the mean activation", found.contribution_percentile))
    print_table(f"percentile among {found.n_features:,} features", ("measure", "percentile"), rows)


def print_similar(feature: int, found: dict[str, SimilarFeatures]) -> None:
    """The nearest features by each method."""
    print_result([Text(f"features similar to {feature}", style="bold")])
    for near in found.values():
        _neighbours(near)


def _statistics(found: FeatureOverview) -> None:
    s = found.stats
    rows = [
        ("samples", s.n_samples),
        ("active", s.n_nonzero),
        ("density", f"{s.density:.4%} [{found.density_low:.4%}, {found.density_high:.4%}]"),
        ("mean, zeros counted", s.mean),
        ("sd, zeros counted", s.sd),
        ("median of the non-zeros", s.median),
        ("effective maximum (99.5th percentile of the non-zeros)", s.effective_maximum),
        ("maximum", s.maximum),
    ]
    print_table("activation", ("measure", "value"), rows)


def _shares(title: str, shares: tuple[Share, ...]) -> None:
    if not shares:
        return
    rows = [
        (show_token(s.name), f"{s.share:.1%}", f"{s.base_share:.1%}", s.lift, s.n_with, s.base_n_with, s.idf, s.mean)
        for s in shares
    ]
    n = shares[0].n
    columns = ("name", "active", "all", "lift", "n active", "n all", "idf", "mean")
    print_table(title, columns, rows, caption=f"of {n:,} active and {shares[0].base_n:,} samples in all")


def _spans(column: str, everywhere: tuple[str, ...], extreme: list[str]) -> None:
    if everywhere:
        names = ", ".join(everywhere[:12]) + (f" and {len(everywhere) - 12} more" if len(everywhere) > 12 else "")
        print_result([f"  {column} in all six regions ({len(everywhere)}): {names}"])
    if extreme:
        print_result([f"  {column} above 90 % only: {', '.join(extreme)}"])


def _regions(found: FeatureOverview) -> None:
    rows = [
        (
            r.name,
            f"{r.low:.3g} – " + ("" if r.high is None else f"{r.high:.3g}"),
            r.n,
            f"{r.share:.2%}",
            None if r.mean is None else f"{r.mean:.3g}",
            ", ".join(show_token(t.name) for t in r.tokens[:4]),
            "; ".join(f"{g.leading[0].name} ({g.leading[0].share:.0%})" for g in r.groups[:2] if g.leading),
        )
        for r in found.regions
    ]
    columns = ("region", "activation", "samples", "share", "mean", "tokens by lift", "leading groups")
    print_table("activation regions (shares of the effective maximum)", columns, rows)
    if found.coverage is not None and found.coverage.share is not None:
        c = found.coverage
        print_result(
            [
                f"  core coverage of {' + '.join(map(show_token, c.signature))}: {c.share:.0%} "
                f"[{c.low:.0%}, {c.high:.0%}] of {c.n_core:,} core samples: {c.guidance}"
            ]
        )


def _binaries(found: FeatureOverview) -> None:
    if not found.binary_tokens:
        return
    rows = [
        (b.token, b.n_tail_with, b.tail_share, b.n_core_with, b.core_share, b.base_share, b.tail_lift, b.core_lift)
        for b in found.binary_tokens
    ]
    columns = ("token", "n tail", "tail", "n core", "core", "all", "tail lift", "core lift")
    print_table("on-or-off tokens: tail (90 %+), core (25–75 %), all", columns, rows)


def _neighbours(near: SimilarFeatures) -> None:
    rows = [(n.feature, n.value, n.n_active) for n in near.neighbours]
    print_table(f"similar by {near.method}", ("feature", "value", "active samples"), rows)


def _examples(found: FeatureOverview) -> None:
    print_result([Text.assemble(("examples", "bold"), "  shaded by activation")])
    maximum = found.stats.effective_maximum or 1.0
    for example in found.examples:
        groups = "  ".join(f"{name}={value}" for name, value in example.groups.items())
        head = Text(f"  {example.activation:8.4g}  ")
        head.append(f"{example.source} · row {example.row} · {groups}", style="dim")
        print_result([head, _line(example, maximum)])


def _line(example: ActivationExample, maximum: float) -> Text:
    is_set = example.focus is None
    texts = list(example.tokens) if is_set else running_text(example.tokens)
    line = Text(" " * 12)
    for index, (token, value) in enumerate(zip(texts[:TOKENS_SHOWN_MAX], example.activations, strict=False)):
        level = 0 if not value else 1 + min(3, int(4 * value / maximum))
        line.append("  " if is_set and index else "")
        line.append(_visible(token), style=SHADES[level])
    if len(texts) > TOKENS_SHOWN_MAX:
        line.append(" …")
    return line


def _visible(token: str) -> str:
    return show_token(token, mark_edges=False)
