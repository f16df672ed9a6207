from __future__ import annotations

import pytest

from mechscope.core import UsageError
from mechscope.training import TrainSpec


def test_two_widths_are_refused() -> None:
    fields = {"architecture": "relu", "n_steps": 3, "n_features": 40, "expansion": 4.0}
    with pytest.raises(UsageError, match=r"leave n_features away .* or leave expansion away") as found:
        TrainSpec.parse(fields)
    assert "n_features 40 and expansion 4" in found.value.seen
    with pytest.raises(UsageError, match="two settings of one width"):
        TrainSpec(architecture="relu", n_steps=3, n_features=40).updated(expansion=2.0)


@pytest.mark.parametrize(
    ("width", "wanted"),
    [({"n_features": 40}, 40), ({"expansion": 2.5}, 40), ({"n_features": 40, "expansion": 8.0}, 40), ({}, 128)],
)
def test_a_spec_written_out_is_read_back(width: dict[str, float], wanted: int) -> None:
    spec = TrainSpec.parse({"architecture": "relu", "n_steps": 3, **width})
    again = TrainSpec.parse(spec.to_json())
    assert (again, again.digest) == (spec, spec.digest)
    assert again.dictionary_spec(16).n_features == wanted
