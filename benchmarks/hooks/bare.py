"""What everything is held against: the bare network, with nothing read and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from subjects import Inputs, Subject, load, parts
from torch import Tensor

__all__ = ["Bare"]

N_PROMPT_RUNS = 8


class Enough(BaseException):
    """Leaves a forward."""


class Bare:
    """The same calls without any capture or edit."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.module = load(folder)
        self.middle = parts(subject, self.module)[subject.middle]

    @torch.no_grad()
    def base(self, ids: Tensor) -> Any:
        """All blocks and the final norm, no output head."""
        return self.module.base_model(input_ids=ids, use_cache=False)

    @torch.no_grad()
    def truncated(self, ids: Tensor) -> None:
        """As far as the middle block."""

        def leave(module: Any, args: Any, output: Any) -> None:
            raise Enough

        handle = self.middle.register_forward_hook(leave)
        try:
            self.module.base_model(input_ids=ids, use_cache=False)
        except Enough:
            pass
        finally:
            handle.remove()

    @torch.no_grad()
    def prompts(self, inputs: Inputs) -> None:
        """A few forwards of the short prompt with logits; a sweep's bare cost is one such forward a cell."""
        for _ in range(N_PROMPT_RUNS):
            self.module(input_ids=inputs.corrupt, use_cache=False)

    @torch.no_grad()
    def generate(self, inputs: Inputs) -> Tensor:
        return generate(self.module, inputs)


def generate(module: Any, inputs: Inputs) -> Tensor:
    """Greedy tokens with cached keys and values."""
    return module.generate(
        inputs.prompts,
        attention_mask=torch.ones_like(inputs.prompts),
        max_new_tokens=inputs.n_new,
        do_sample=False,
        pad_token_id=0,
    )
