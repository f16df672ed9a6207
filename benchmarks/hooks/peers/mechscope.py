"""mechscope."""

from __future__ import annotations

from pathlib import Path

import torch
from subjects import Inputs, Subject, load
from torch import Tensor

from mechscope.models.batch import Batch
from mechscope.models.model import Model

Values = dict[str, Tensor]
STREAMS = ("resid_pre", "attn_out", "mlp_out", "resid_post")


class Access:
    def __init__(self, subject: Subject, folder: Path, inputs: Inputs) -> None:
        self.subject, self.inputs = subject, inputs
        self.module = load(folder)
        self.model = Model.open(self.module)

    def mid(self, ids: Tensor) -> Values:
        return self._capture(ids, f"resid_post:{self.subject.middle}")

    def streams(self, ids: Tensor) -> Values:
        return self._capture(ids, *(f"{kind}:*" for kind in STREAMS))

    def z(self, ids: Tensor) -> Values:
        return self._capture(ids, "z:*")

    def head_out(self, ids: Tensor) -> Values:
        return self._capture(ids, "head_out:*")

    def _capture(self, ids: Tensor, *selectors: str) -> Values:
        sites = [site for selector in selectors for site in self.model.parse_sites(selector)]
        captured = self.model.capture(Batch(ids, torch.ones_like(ids)), sites)
        return {f"{site.kind}.{site.layer}": value for site, value in captured.values.items()}

    def open(self) -> None:
        """Open the network that is in memory, every check included."""
        Model.open(self.module)
