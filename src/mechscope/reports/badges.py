"""Badges of evidence tiers, key-figure cards and verdicts to HTML."""

from __future__ import annotations

from mechscope.reports.blocks import TIERS, Fact, KeyFigure, KeyFigures, Verdict
from mechscope.reports.markup import Html, element, escape, join
from mechscope.reports.numbers import write_interval, write_number

__all__ = ["badge", "facts_html", "key_figures_html", "verdict_html"]


def badge(tier: int) -> Html:
    """An evidence tier as a badge: its number and its name."""
    return element("span", f"tier {tier} · {TIERS[tier]}", class_=f"badge tier-{tier}", title="evidence tier")


def key_figures_html(block: KeyFigures) -> Html:
    """Cards side by side."""
    return element("div", *[_key_figure(item) for item in block.items], class_="block key-figures")


def facts_html(facts: tuple[Fact, ...]) -> Html:
    """Names and short values in a row."""
    pairs = [
        element("div", element("dt", fact.name), element("dd", _value(fact)), title=fact.help or None) for fact in facts
    ]
    return element("dl", *pairs, class_="facts")


def verdict_html(block: Verdict) -> Html:
    """A sentence with its badge and the tests behind it."""
    tests = [element("li", name, class_="passed") for name in block.passed]
    tests += [element("li", name, class_="failed") for name in block.failed]
    listed = element("ul", *tests, class_="tests") if tests else None
    return element("div", badge(block.tier), element("p", block.sentence), listed, class_="block verdict")


def _key_figure(item: KeyFigure) -> Html:
    unit = element("span", f" {item.unit}", class_="unit") if item.unit else None
    return element(
        "div",
        element("div", item.label, class_="label"),
        element("div", _value(item), unit, class_="value"),
        element("div", *_how(item), class_="how"),
        badge(item.tier) if item.tier is not None else None,
        class_="key-figure",
    )


def _value(item: KeyFigure | Fact) -> Html:
    if item.value is None:
        return element("span", "not measured", class_="none")
    if isinstance(item.value, str):
        return escape(item.value)
    return escape(write_number(item.value, item.form, digits=item.digits))


def _how(item: KeyFigure) -> list[Html]:
    lines = [escape(item.how)]
    if item.low is not None and item.high is not None:
        ends = write_interval(item.low, item.high, item.form, digits=item.digits)
        lines.insert(0, join([f"{item.level * 100:g} % interval ", element("b", ends)]))
    if item.n is not None:
        lines.append(join([f"n = {item.n:,} {item.n_unit}"]))
    if item.control:
        lines.append(join(["control: ", item.control]))
    return [element("div", line) for line in lines]
