"""TransformerLens 4: `TransformerBridge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from subjects import Cell, Inputs, Subject
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

Values = dict[str, Tensor]
HOOKS = {
    "resid_pre": "hook_resid_pre",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "resid_post": "hook_resid_post",
    "z": "attn.hook_z",
    "head_out": "attn.hook_result",
}


class Access:
    def __init__(self, subject: Subject, folder: Path, inputs: Inputs) -> None:
        self.subject, self.inputs = subject, inputs
        self.model = TransformerBridge.boot_transformers(str(folder), device="cpu")

    @torch.no_grad()
    def mid(self, ids: Tensor) -> Values:
        middle = self.subject.middle
        name = f"blocks.{middle}.hook_resid_post"
        _, cache = self.model.run_with_cache(ids, names_filter=name, stop_at_layer=middle + 1)
        return {f"resid_post.{middle}": cache[name]}

    def streams(self, ids: Tensor) -> Values:
        return self._capture(ids, "resid_pre", "attn_out", "mlp_out", "resid_post")

    def z(self, ids: Tensor) -> Values:
        return self._capture(ids, "z")

    def head_out(self, ids: Tensor) -> Values:
        self.model.set_use_attn_result(True)
        try:
            return self._capture(ids, "head_out")
        finally:
            self.model.set_use_attn_result(False)

    @torch.no_grad()
    def _capture(self, ids: Tensor, *kinds: str) -> Values:
        names = {
            f"{kind}.{layer}": f"blocks.{layer}.{HOOKS[kind]}"
            for layer in range(self.subject.n_layers)
            for kind in kinds
        }
        _, cache = self.model.run_with_cache(ids, names_filter=list(names.values()))
        return {key: cache[name] for key, name in names.items()}

    @torch.no_grad()
    def sweep(self, cells: Sequence[Cell]) -> Tensor:
        """`generic_activation_patch`, with a metric that also keeps the logits."""
        names = [
            f"blocks.{layer}.{HOOKS[kind]}" for layer in range(self.subject.n_layers) for kind in ("resid_pre", "z")
        ]
        _, cache = self.model.run_with_cache(self.inputs.clean, names_filter=names)
        last = self.inputs.clean.shape[1] - 1
        kinds: dict[str, Any] = {
            "resid": (patching.layer_pos_patch_setter, "resid_pre", ("layer", "pos")),
            "head": (patching.layer_pos_head_vector_patch_setter, "z", ("layer", "pos", "head_index")),
        }
        found: dict[Cell, Tensor] = {}
        for kind, (setter, name, axes) in kinds.items():
            here = [cell for cell in cells if cell.kind == kind]
            rows: list[Tensor] = []

            def metric(logits: Tensor, rows: list[Tensor] = rows) -> Tensor:
                rows.append(logits[0, -1])
                return logits[0, -1, 0]

            places = [(c.layer, c.index) if kind == "resid" else (c.layer, last, c.index) for c in here]
            frame = pd.DataFrame(places, columns=list(axes))
            patching.generic_activation_patch(
                self.model, self.inputs.corrupt, cache, metric, setter, name, index_df=frame
            )
            found |= dict(zip(here, rows, strict=True))
        return torch.stack([found[cell] for cell in cells])

    @torch.no_grad()
    def steer(self) -> Tensor:
        def add(value: Tensor, hook: Any) -> Tensor:
            return value + self.inputs.steering

        with self.model.hooks(fwd_hooks=[(f"blocks.{self.subject.middle}.hook_resid_post", add)]):
            return self.model.generate(
                self.inputs.prompts,
                max_new_tokens=self.inputs.n_new,
                do_sample=False,
                stop_at_eos=False,
                prepend_bos=False,
                verbose=False,
            )
