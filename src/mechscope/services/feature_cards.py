"""The report's cards about single features, drawn from their overviews."""

from __future__ import annotations

from collections.abc import Sequence

from mechscope.core import Progress
from mechscope.features import ActivationExample, FeatureOverview, Share, overview
from mechscope.reports import (
    Block,
    Column,
    Estimate,
    Example,
    Examples,
    Fact,
    FeatureCard,
    Figure,
    Grid,
    Heading,
    NamedValue,
    Note,
    Prose,
    RegionBar,
    Section,
    SimilarFeature,
    Table,
    Token,
    TokenRatio,
    TokenScore,
    activation_histogram,
    decoder_outputs,
    named_bars,
    region_bars,
    running_text,
    show_token,
    similar_features_table,
    token_enrichment,
)
from mechscope.services.main_job import MainJob
from mechscope.services.showing import Shown

__all__ = ["feature_blocks"]

N_EXAMPLES = 8
N_BARS = 10
# These mislead a reader of the examples; the others are said beside the regions.
LOUD_FLAGS = ("tail marker", "dominating group", "never active")


def feature_blocks(made: MainJob, shown: tuple[Shown, ...], progress: Progress) -> list[Block]:
    """A heading, how the features were chosen, and a card for each."""
    blocks: list[Block] = [Heading(text="Features"), Prose(text=_how_chosen(shown))]
    with progress.task("draw features", total=len(shown), unit="features") as task:
        for item in shown:
            found = overview(made.inputs, item.feature, max_examples=N_EXAMPLES)
            blocks.append(_card(found, item))
            task.advance()
    return blocks


def _how_chosen(shown: tuple[Shown, ...]) -> str:
    if not shown:
        return "No feature is active on enough samples to be shown."
    reasons = list(dict.fromkeys(item.chosen_by for item in shown))
    return "Shown are " + "; and ".join(reasons) + ". Each card is tier 0: what co-occurs with the activation."


def _card(found: FeatureOverview, item: Shown) -> FeatureCard:
    stats = found.stats
    blocks: list[Block] = [
        Note(text=flag.text, title=flag.kind, tone="warning") for flag in found.flags if flag.kind in LOUD_FLAGS
    ]
    blocks.append(_examples(found))
    regions = [RegionBar(name=r.name, low=r.low, high=r.high, n=r.n, share=r.share, mean=r.mean) for r in found.regions]
    blocks.append(Grid(cells=((_histogram(found, regions),), (region_bars(regions, n_samples=stats.n_samples),))))
    blocks.append(Grid(cells=((_tokens(found),), (_outputs(found),))))
    groups = tuple((_groups(found, index),) for index in range(len(found.groups)))
    if groups:
        blocks.append(Section(title="Groups that co-occur", blocks=(Grid(cells=groups),)))
    blocks.append(Section(title="Regions, similar features, drawn examples", blocks=_more(found)))
    facts = (
        Fact(name="density", value=stats.density, form="percent", digits=2, help=f"{stats.n_nonzero:,} active samples"),
        Fact(name="effective maximum", value=stats.effective_maximum, help="99.5th percentile of the non-zeros"),
        Fact(name="mean, zeros counted", value=stats.mean),
        Fact(name="decoder percentile", value=found.decoder.output_norm_percentile, digits=0),
    )
    return FeatureCard(
        feature=found.feature, title=item.title, subtitle=item.subtitle, tier=0, facts=facts, blocks=tuple(blocks)
    )


def _histogram(found: FeatureOverview, regions: list[RegionBar]) -> Figure:
    stats, histogram = found.stats, found.stats.histogram
    return activation_histogram(
        [] if histogram is None else histogram.edges,
        [] if histogram is None else histogram.counts,
        n_zero=stats.n_samples - stats.n_nonzero,
        regions=regions,
        effective_maximum=stats.effective_maximum,
    )


def _tokens(found: FeatureOverview) -> Figure:
    ratios = [
        TokenRatio(token=s.name, ratio=s.lift, n_active=s.n_with, low=s.lift_low, high=s.lift_high)
        for s in found.tokens.top[:N_BARS]
        if s.lift is not None
    ]
    return token_enrichment(ratios, n_active=found.stats.n_nonzero, n_samples=found.stats.n_samples)


def _outputs(found: FeatureOverview) -> Figure:
    decoder = found.decoder
    return decoder_outputs(
        [TokenScore(token=s.output, value=s.value) for s in decoder.promoted[:N_BARS]],
        [TokenScore(token=s.output, value=s.value) for s in decoder.suppressed[:N_BARS]],
        unit=f"logits a unit of activation, {decoder.path}",
        n_outputs=decoder.n_outputs,
    )


def _groups(found: FeatureOverview, index: int) -> Figure:
    group = found.groups[index]
    values = [
        NamedValue(name=s.name, estimate=Estimate(value=s.lift, low=s.lift_low, high=s.lift_high, n=s.n_with))
        for s in group.top[:N_BARS]
        if s.lift is not None
    ]
    everywhere = len(group.in_all_regions)
    return named_bars(
        values,
        title=group.column,
        caption=f"Share among {found.stats.n_nonzero:,} active samples over the share among all "
        f"{found.stats.n_samples:,}; 95 % Wilson intervals; {group.n_values:,} values, {everywhere:,} of them in all "
        "six regions.",
        value_title="lift",
        reference=1.0,
    )


def _examples(found: FeatureOverview) -> Examples:
    top = [example for example in found.examples if example.source == "top"]
    return _rows(found, top, title="Largest activations", caption="At most one a row, largest first.")


def _rows(found: FeatureOverview, examples: list[ActivationExample], *, title: str, caption: str) -> Examples:
    if all(example.focus is None for example in examples):
        return _set_rows(found, examples, title=title, caption=caption)
    return Examples(
        examples=tuple(_example(example, example.activations) for example in examples),
        title=title,
        caption=caption,
        maximum=found.stats.effective_maximum,
    )


def _set_rows(found: FeatureOverview, examples: list[ActivationExample], *, title: str, caption: str) -> Examples:
    # A pooled sample has one activation for the whole set, so tokens are shaded by how they co-occur with it.
    lift = {share.name: share.lift for share in found.tokens.top if share.lift is not None and share.lift > 1}
    return Examples(
        examples=tuple(_example(example, [lift.get(token) for token in example.tokens]) for example in examples),
        title=title,
        caption=f"{caption} Shaded: the {len(lift)} tokens that lead by lift among the active samples.",
        form="chips",
        maximum=found.stats.effective_maximum,
        token_maximum=max(lift.values(), default=1.0),
        token_unit="times as common as in all rows",
    )


def _example(example: ActivationExample, values: Sequence[float | None]) -> Example:
    texts = example.tokens if example.focus is None else running_text(example.tokens)
    pairs = zip(texts, values, strict=True)
    details = " · ".join(f"{name} {value}" for name, value in example.groups.items())
    return Example(
        tokens=tuple(Token(text=token, value=value) for token, value in pairs),
        value=example.activation,
        label=f"row {example.row}",
        details=details,
    )


def _more(found: FeatureOverview) -> tuple[Block, ...]:
    columns = (
        Column(name="region"),
        Column(name="samples", form="integer"),
        Column(name="share", form="percent", digits=2),
        Column(name="tokens by lift"),
        Column(name="leading groups"),
    )
    rows = tuple(
        (
            r.name,
            r.n,
            Estimate(value=r.share, low=r.share_low, high=r.share_high, n=r.n),
            ", ".join(_named(t) for t in r.tokens[:5]),
            "; ".join(f"{g.leading[0].name} {g.leading[0].share:.0%}" for g in r.groups if g.leading),
        )
        for r in found.regions
    )
    blocks: list[Block] = [Table(columns=columns, rows=rows, title="The six regions")]
    blocks += [Note(text=flag.text, title=flag.kind) for flag in found.flags if flag.kind not in LOUD_FLAGS]
    blocks.append(similar_features_table(_similar(found), n_samples=found.stats.n_samples))
    drawn = [example for example in found.examples if example.source != "top"]
    if drawn:
        blocks.append(_rows(found, drawn, title="Drawn examples", caption="Seeded draws from each band of quantiles."))
    return tuple(blocks)


def _named(share: Share) -> str:
    return show_token(share.name)


def _similar(found: FeatureOverview) -> list[SimilarFeature]:
    values: dict[int, dict[str, float]] = {}
    for near in found.similar:
        for neighbour in near.neighbours[:5]:
            values.setdefault(neighbour.feature, {})[near.method] = neighbour.value
    return [
        SimilarFeature(
            feature=feature,
            decoder_cosine=by.get("decoder_cosine"),
            coactivation=by.get("phi"),
            token_overlap=by.get("top_tokens"),
        )
        for feature, by in sorted(values.items(), key=lambda item: -sum(item[1].values()))
    ]
