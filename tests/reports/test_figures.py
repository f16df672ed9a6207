"""Every figure is valid Plotly, names its axes, says its n, and says so plainly when there is nothing to draw."""

from collections.abc import Callable

import numpy as np
import plotly.graph_objects
import pytest

from mechscope.core import UsageError
from mechscope.reports import (
    Estimate,
    Figure,
    Grid,
    NamedValue,
    PlantedMatch,
    RegionBar,
    SplicedLoss,
    TokenRatio,
    TokenScore,
    activation_histogram,
    decoder_outputs,
    feature_density,
    loss_recovered,
    named_bars,
    planted_match,
    region_bars,
    token_enrichment,
    training_curves,
)

REGIONS = [
    RegionBar(name="≤ 1 %", low=0.0, high=0.02, n=0, share=0.0),
    RegionBar(name="core", low=0.02, high=1.5, n=3, share=0.03, mean=0.8),
    RegionBar(name="90 % +", low=1.5, high=None, n=1, share=0.01, mean=1.9),
]
MATCHES = [
    PlantedMatch(
        concept="a <b>", feature=3, auroc=Estimate(value=0.95, low=0.93, high=0.97), best_token=0.7, found=True
    ),
    PlantedMatch(concept="b", feature=4, auroc=Estimate(value=0.6), pca=0.5),
    PlantedMatch(concept="c", feature=None, auroc=None),
]
HISTORY: dict[str, list[float]] = {
    "step": [0, 10],
    "loss": [1.0, float("nan")],
    "fvu": [0.5, 0.2],
    "l0": [9.0, 8.0],
    "dead_share": [0.0, 0.1],
}
NAMED = [
    NamedValue(name="<shooter>", estimate=Estimate(value=0.5, low=0.4, high=0.7, n=7)),
    NamedValue(name="roller", estimate=Estimate(value=-0.1)),
]
SPLICED = SplicedLoss(clean=1.0, spliced=1.1, zero=3.0, mean=2.0, recovered=0.95, n=100)

FULL: dict[str, Callable[[], Figure | Grid]] = {
    "curves": lambda: training_curves(HISTORY),
    "density": lambda: feature_density([0.0, 1e-3, 0.5], n_samples=1000),
    "density of one": lambda: feature_density([0.5], n_samples=2),
    "matches": lambda: planted_match(MATCHES, n_rows=500),
    "histogram": lambda: activation_histogram(
        [0.0, 1.0, 2.0], [3, 1], n_zero=96, regions=REGIONS, effective_maximum=1.9
    ),
    "one sample": lambda: activation_histogram(np.array([0.0, 1.0]), np.array([1]), n_zero=0),
    "regions": lambda: region_bars(REGIONS, n_samples=100),
    "decoder": lambda: decoder_outputs([TokenScore(token="</script>", value=1.0)], [], n_outputs=140),
    "enrichment": lambda: token_enrichment([TokenRatio(token="x", ratio=4.0, n_active=2)], n_active=4, n_samples=100),
    "bars": lambda: named_bars(NAMED, title="t", caption="n = 7", value_title="mean", reference=0.0),
    "loss": lambda: loss_recovered(SPLICED),
}
EMPTY: dict[str, Callable[[], Figure | Grid]] = {
    "curves": lambda: training_curves({}),
    "density": lambda: feature_density([], n_samples=0),
    "all dead": lambda: feature_density([0.0, 0.0], n_samples=10),
    "matches": lambda: planted_match([], n_rows=0),
    "histogram": lambda: activation_histogram([], [], n_zero=10),
    "histogram of zeros": lambda: activation_histogram([0.0, 1.0], [0], n_zero=10, regions=REGIONS),
    "regions": lambda: region_bars([], n_samples=0),
    "decoder": lambda: decoder_outputs([], []),
    "bars": lambda: named_bars([], title="t", caption="", value_title="mean"),
    "enrichment": lambda: token_enrichment([], n_active=0, n_samples=10),
}


def figures(made: Figure | Grid) -> list[Figure]:
    if isinstance(made, Figure):
        return [made]
    return [block for cell in made.cells for block in cell if isinstance(block, Figure)]


@pytest.mark.parametrize("name", FULL)
def test_a_figure_is_valid_plotly_with_named_axes_and_a_count(name: str) -> None:
    for figure in figures(FULL[name]()):
        drawn = plotly.graph_objects.Figure(figure.to_plotly())
        assert len(drawn.data) == len(figure.traces) > 0
        assert drawn.layout.xaxis.title.text
        assert drawn.layout.yaxis.title.text or drawn.layout.yaxis.ticktext
        assert any(character.isdigit() for character in figure.caption)
        assert figure.empty_note == ""
        assert Figure.parse(figure.to_json()) == figure


@pytest.mark.parametrize("name", EMPTY)
def test_with_nothing_to_draw_there_is_a_note(name: str) -> None:
    for figure in figures(EMPTY[name]()):
        assert figure.traces == ()
        assert figure.empty_note.endswith(".")


def test_curves_leave_gaps_and_say_so() -> None:
    loss, *_ = figures(training_curves(HISTORY))
    assert loss.traces[0]["y"] == [1.0, None]
    assert "1 points without a finite value are not drawn" in loss.caption


def test_dead_features_are_counted_in_the_caption() -> None:
    figure = feature_density([0.0, 0.0, 0.1, 0.2], n_samples=50)
    assert sum(figure.traces[0]["y"]) == 2
    assert "n = 4 features over 50 samples; 2 never active, not drawn." in figure.caption


def test_the_match_names_what_is_missing() -> None:
    figure = planted_match(MATCHES, n_rows=500)
    assert "1 of 3 concepts" in figure.caption
    assert "Missing: b, c." in figure.caption
    assert [trace["name"] for trace in figure.traces if len(trace["x"]) == 1 and "error_x" in trace] == [
        "dictionary feature, counts",
        "dictionary feature, does not count",
    ]
    assert figure.layout["yaxis"]["ticktext"][0] == "a &lt;b&gt;"
    assert figure.layout["shapes"][0]["x0"] == 0.9


def test_the_histogram_counts_zeros_and_marks_borders_inside_its_range() -> None:
    figure = activation_histogram([0.0, 1.0, 2.0], [3, 1], n_zero=96, regions=REGIONS, effective_maximum=1.9)
    assert "n = 100 samples; active on 4 (4.00\u00a0%), zero on 96" in figure.caption
    assert [shape["x0"] for shape in figure.layout["shapes"] if shape["type"] == "line"] == [0.02, 1.5]


def test_edges_must_fit_the_counts() -> None:
    with pytest.raises(UsageError, match="2 bin edges for 2 counts"):
        activation_histogram([0.0, 1.0], [1, 2], n_zero=0)


def test_tokens_that_never_occur_are_counted_not_drawn() -> None:
    tokens = [TokenRatio(token="x", ratio=2.0, n_active=3), TokenRatio(token="y", ratio=0.0, n_active=0)]
    figure = token_enrichment(tokens, n_active=4, n_samples=100)
    assert figure.traces[0]["x"] == [1.0]
    assert "1 tokens never occur" in figure.caption
    assert figure.numbers is not None
    assert len(figure.numbers.rows) == 2


def test_decoder_rows_run_from_most_promoted_to_most_suppressed() -> None:
    promoted = [TokenScore(token="a", value=2.0), TokenScore(token="b", value=1.0)]
    suppressed = [TokenScore(token="z", value=-3.0), TokenScore(token="y", value=-1.0)]
    assert decoder_outputs(promoted, suppressed).traces[0]["x"] == [2.0, 1.0, -1.0, -3.0]


def test_bars_carry_interval_and_count_to_hover() -> None:
    figure = named_bars(NAMED, title="t", caption="n = 7", value_title="mean", reference=0.0)
    assert figure.traces[0]["customdata"] == ["&lt;shooter&gt;: 0.5 [0.4, 0.7]<br>n = 7", "roller: -0.1"]
    assert figure.traces[0]["error_x"]["array"] == pytest.approx([0.2, 0.0])
    assert figure.layout["shapes"][0]["x0"] == 0.0
