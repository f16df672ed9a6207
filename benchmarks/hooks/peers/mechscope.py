"""mechscope."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from subjects import Cell, Inputs, Subject, load
from torch import Tensor

from mechscope.core import LayerComponent
from mechscope.models import interventions, positions
from mechscope.models.batch import Batch
from mechscope.models.model import Model
from mechscope.models.sweeps.cells import head_patches, residual_patches
from mechscope.models.sweeps.sources import capture_source

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
        captured = self.model.capture(rows(ids), sites)
        return {f"{site.kind}.{site.layer}": value for site, value in captured.values.items()}

    def sweep_batched(self, cells: Sequence[Cell]) -> Tensor:
        clean, corrupt = rows(self.inputs.clean), rows(self.inputs.corrupt)
        source = capture_source(self.model, clean)
        streams = residual_patches(self.model, corrupt, source)
        heads = head_patches(self.model, corrupt, source, at=positions.from_right(0))
        grids = {"resid": streams, "head": heads}
        variants = [grids[cell.kind].variants[cell.layer * grids[cell.kind].shape[1] + cell.index] for cell in cells]
        return self.model.sweep(corrupt, variants).logits[:, 0]

    def steer(self) -> Tensor:
        site = LayerComponent(kind="resid_post", layer=self.subject.middle)
        edit = interventions.add(site, self.inputs.steering)
        generation = self.model.generate(rows(self.inputs.prompts), max_new_tokens=self.inputs.n_new, edits=[edit])
        return generation.batch.input_ids

    def open(self) -> None:
        """Open the network that is in memory, every check included."""
        Model.open(self.module, verify="anew")


def rows(ids: Tensor) -> Batch:
    return Batch(ids, torch.ones_like(ids))
