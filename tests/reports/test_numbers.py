"""Numbers as people read them."""

import pytest

from mechscope.reports import write_interval, write_number
from mechscope.reports.numbers import NumberForm


@pytest.mark.parametrize(
    ("value", "form", "digits", "written"),
    [
        (0.98123, "number", None, "0.981"),
        (0.0, "number", None, "0"),
        (0.0, "number", 3, "0.000"),
        (-1.5, "number", 2, "−1.50"),
        (1234567, "number", None, "1,234,567"),
        (3.14e-7, "number", None, "3.14×10⁻⁷"),
        (2.5e9, "number", None, "2.50×10⁹"),
        (0.00042, "number", None, "0.000420"),
        (12345.6, "number", None, "12,346"),
        (0.8333, "percent", 0, "83\u00a0%"),
        (0.08671, "percent", None, "8.7\u00a0%"),
        (60000.0, "integer", None, "60,000"),
    ],
)
def test_a_number_is_written(value: float, form: NumberForm, digits: int | None, written: str) -> None:
    assert write_number(value, form, digits=digits) == written


def test_a_small_number_never_reads_as_zero() -> None:
    assert write_number(0.0001, digits=2) == "1.00×10⁻⁴"


def test_both_ends_of_an_interval_are_written_alike() -> None:
    assert write_interval(0.9, 0.95123, digits=3) == "[0.900, 0.951]"
