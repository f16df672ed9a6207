"""Tables: ready-made ones, and how cells are written."""

from mechscope.reports import (
    Check,
    Column,
    Estimate,
    SimilarFeature,
    Table,
    similar_features_table,
    verification_table,
)
from mechscope.reports.table_html import table_html


def test_numbers_are_right_aligned_with_units_and_sort_keys() -> None:
    columns = (Column(name="loss", form="number", unit="nats", digits=2), Column(name="token", form="token"))
    html = table_html(Table(columns=columns, rows=((1.234, " <b>"), (None, "\n"))))
    assert '<th scope="col" class="num" aria-sort="none">' in html
    assert '<span class="unit"> nats</span>' in html
    assert '<td class="num" data-sort="1.234">1.23</td>' in html
    assert '<code class="token">␣&lt;b&gt;</code>' in html
    assert '<span class="none" title="not measured">–</span>' in html


def test_an_estimate_shows_its_interval_and_sorts_by_its_value() -> None:
    cell = Estimate(value=0.95, low=0.93, high=0.97, n=500)
    html = table_html(Table(columns=(Column(name="AUROC", form="number", digits=2),), rows=((cell,),)))
    assert 'data-sort="0.95"' in html
    assert '<span title="n = 500">0.95</span><span class="interval"> [0.93, 0.97]</span>' in html


def test_features_link_to_their_cards_only_when_there_is_one() -> None:
    table = similar_features_table([SimilarFeature(feature=3), SimilarFeature(feature=4)])
    html = table_html(table, linked_features={3})
    assert '<a href="#feature-3">#3</a>' in html
    assert "#feature-4" not in html


def test_an_empty_table_is_a_sentence() -> None:
    html = table_html(similar_features_table([]))
    assert "No similar feature is known." in html
    assert "<table" not in html


def test_verification_counts_what_passed() -> None:
    checks = [Check(check="a", passed=True, error=1e-7, tolerance=1e-5), Check(check="b", passed=False, reason="no")]
    table = verification_table(checks, model="tiny")
    assert table.caption.startswith("tiny: 1 of 2 checks passed")
    html = table_html(table)
    assert "✓ yes" in html
    assert "✕ no" in html
    assert verification_table([], model="tiny").empty_note == "tiny was opened without verification."
