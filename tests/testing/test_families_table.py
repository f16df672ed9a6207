"""docs/models.md is what the zoo measures today."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mechscope.core.kinds import FAMILIES
from mechscope.models import Model
from mechscope.services.model_checks import CHECK_MEANINGS
from mechscope.testing.families_table import Family, families_page, measure_families, measure_family, stale_lines
from mechscope.testing.zoo import DECODERS, ZOO

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(scope="module")
def families() -> list[Family]:
    return measure_families()


def test_the_page_is_fresh(families: list[Family]) -> None:
    stale = stale_lines(PAGE.read_text(encoding="utf-8"), families_page(families))
    assert stale == [], "run: python -m mechscope.testing.families_table > docs/models.md"


def test_every_family_is_measured_and_holds(families: list[Family]) -> None:
    assert [family.name for family in families] == [*ZOO, "mechscope_set"]
    for family in families:
        assert family.logits_error == 0.0, family.name
        assert family.errors, family.name
        assert max(family.errors.values()) <= 1e-5, family


def test_no_family_file_is_without_a_row() -> None:
    built = {build().config.model_type for build in ZOO.values()} | {"mechscope_set"}
    assert not set(FAMILIES.names()) - built


def test_every_check_has_a_meaning() -> None:
    named = {check.name for name in ("t5", "mixtral", "bert") for check in Model.open(ZOO[name]()).verification.checks}
    assert named | {"reached"} == set(CHECK_MEANINGS)


def test_a_network_that_is_not_the_bare_one_shows_in_its_logits() -> None:
    built: list[nn.Module] = []

    def build() -> nn.Module:
        module: nn.Module = DECODERS["gpt2"]()
        with torch.no_grad():
            module.get_parameter("lm_head.weight")[0] += len(built)
        built.append(module)
        return module

    assert measure_family("gpt2", build).logits_error > 0.1


def test_a_site_that_fails_is_named_with_what_does_not_hold() -> None:
    right = Model.open(DECODERS["gpt2"]()).component_map
    wrong = measure_family("gpt2", DECODERS["gpt2"], component_map=right.updated(residual_multiplier=0.5))
    middle, stream = "resid_mid = what the MLP's norm reads", "resid_pre + attn_out + mlp_out = resid_post"
    assert wrong.unreached == (
        ("resid_mid:0-2", "refused", f"it does not hold that {middle}"),
        *(
            (f"{kind}:0-2", "refused", f"it does not hold that {stream}")
            for kind in ("attn_out", "head_out", "mlp_out")
        ),
    )
    assert wrong.errors.keys() == {"heads", "neurons", "stream", "output", "patterns", "apart", "padding"}
    row = next(line for line in families_page([wrong]).splitlines() if line.startswith("| `gpt2` |"))
    assert row.startswith("| `gpt2` | `resid_mid:0-2`, `attn_out:0-2`, `head_out:0-2`, `mlp_out:0-2` | ")


@pytest.mark.parametrize(
    ("old", "new", "n_stale"),
    [
        ("| `a` | 1e-06 | 0 |", "| `a` | 1e-06 | 0 |", 0),
        ("| `a` | 1e-06 | 0 |", "| `a` | 1e-05 | 0 |", 0),
        ("| `a` | 1e-07 | 0 |", "| `a` | 1e-05 | 0 |", 2),
        ("| `a` | 1e-06 | 0 |", "| `a` | 1e-06 | 1e-07 |", 2),
        ("| `a` | 1e-06 | – |", "| `a` | 1e-06 | 1e-06 |", 2),
        ("| `a` | `k` | 1e-06 |", "| `a` | `v` | 1e-06 |", 2),
        ("in 1e-06 | words", "in 1e-05 | words", 2),
        ("", "| `a` | 1e-06 | 0 |", 2),
    ],
)
def test_stale_lines_are_those_that_say_something_else(old: str, new: str, n_stale: int) -> None:
    assert len(stale_lines(f"# Page\n{old}\n", f"# Page\n{new}\n")) == n_stale
