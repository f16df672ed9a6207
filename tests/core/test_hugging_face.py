"""Transformers stays away until it is needed, and its things are known for what they are all the same."""

from __future__ import annotations

import subprocess
import sys

import torch
import transformers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from mechscope.core import hugging_face
from mechscope.core.hugging_face import (
    is_transformers_config,
    is_transformers_conv1d,
    is_transformers_model,
    transformers_version,
)

HEAVY = ("transformers", "torch._dynamo", "torch.distributed.tensor", "sympy")


def assert_stays_light(program: str) -> None:
    """Run a program in a process of its own, and see that none of the heavy modules came along."""
    asked = f"{program}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_jobs_of_experiments_are_imported_without_transformers() -> None:
    assert_stays_light("import mechscope.services.experiment_jobs, mechscope.models, mechscope.corpora.blocks")


def test_a_network_of_our_own_is_opened_checked_and_run_without_transformers() -> None:
    assert_stays_light(
        "import torch\n"
        "from dataclasses import replace\n"
        "from mechscope.models import Batch, Model\n"
        "model = Model.open('splatoon', verify='anew')\n"
        "batch = replace(Batch.from_rows([[1, 2, 3], [4, 5]]), extra={'weapon_ids': torch.tensor([0, 1])})\n"
        "model.capture(batch, 'mlp_out')\n"
        "assert model.logits(batch).isfinite().all()\n"
    )


def test_the_names_of_transformers_are_read_when_asked_for() -> None:
    assert hugging_face.transformers.AutoTokenizer is transformers.AutoTokenizer
    assert transformers_version() == transformers.__version__


def test_things_of_transformers_are_told_from_others() -> None:
    config = GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=8, n_positions=8)
    module = GPT2LMHeadModel(config)
    linear = nn.Linear(2, 3)
    assert is_transformers_model(module)
    assert not is_transformers_model(linear)
    assert is_transformers_config(config)
    assert not is_transformers_config({"model_type": "gpt2"})
    assert is_transformers_conv1d(Conv1D(2, 3))
    assert not is_transformers_conv1d(linear)
    assert not is_transformers_conv1d(torch.zeros(2, 3))
