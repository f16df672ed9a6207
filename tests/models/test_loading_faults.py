from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from mechscope.core import BadDataError, UsageError
from mechscope.models import Model
from mechscope.models.loading_faults import telling
from mechscope.models.remarks import quiet


@pytest.fixture
def folder(bare: Callable[[str], nn.Module], tmp_path: Path) -> Path:
    module = bare("gpt2")
    assert isinstance(module, PreTrainedModel)
    with quiet():
        module.save_pretrained(tmp_path)
    return tmp_path


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_quantised_weights_without_their_package_say_what_is_missing(folder: Path) -> None:
    configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UsageError) as caught:
        Model.open(folder)
    assert f"the weights in {folder} are quantised (gptq), and what reads them is not here: " in caught.value.seen
    assert "`pip install optimum`" in caught.value.seen
    assert "bfloat16" in caught.value.expected
    assert caught.value.todo == "install what is named, or open a copy without quantisation"


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            r"are quantised \(bitsandbytes\).*No module named x",
        ),
        ({"quantization_config": {"bits": 4}}, r"are quantised \(an unnamed method\).*No module named x"),
        ({}, "needs what is not installed: No module named x"),
    ],
)
def test_a_package_that_is_missing_is_named(folder: Path, changes: dict[str, Any], seen: str) -> None:
    configure(folder, **changes)
    with pytest.raises(UsageError, match=seen), telling(str(folder), ()):
        raise ImportError("No module named x\nand more")


def test_weights_of_other_sizes_are_named_with_both_sizes(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    save_file({**whole, "transformer.ln_f.weight": torch.ones(5)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadDataError, match=r"do not fit its config: 'transformer\.ln_f\.weight' is \[5\]\n") as caught:
        Model.open(folder)
    assert caught.value.expected == "[32], as config.json describes GPT2LMHeadModel"


def test_a_config_of_other_sizes_than_the_weights_is_told_as_such(folder: Path) -> None:
    configure(folder, n_embd=64)
    with pytest.raises(BadDataError, match=r"'transformer\.h\.0\.attn\.c_attn\.bias' is \[96\] and 39 more") as caught:
        Model.open(folder)
    assert "[192]" in caught.value.expected
    assert "report" not in str(caught.value)
