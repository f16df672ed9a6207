"""pyvene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyvene
import torch
from subjects import Cell, Inputs, Subject, load
from torch import Tensor, nn

Values = dict[str, Tensor]
COMPONENTS = {
    "resid_pre": "block_input",
    "attn_out": "attention_output",
    "mlp_out": "mlp_output",
    "resid_post": "block_output",
    "z": "attention_value_output",
}


class Access:
    def __init__(self, subject: Subject, folder: Path, inputs: Inputs) -> None:
        self.subject, self.inputs = subject, inputs
        self.module = load(folder)

    def mid(self, ids: Tensor) -> Values:
        return self._collect(ids, [("resid_post", self.subject.middle)])

    def streams(self, ids: Tensor) -> Values:
        kinds = ("resid_pre", "attn_out", "mlp_out", "resid_post")
        return self._collect(ids, [(kind, layer) for layer in range(self.subject.n_layers) for kind in kinds])

    def z(self, ids: Tensor) -> Values:
        found = self._collect(ids, [("z", layer) for layer in range(self.subject.n_layers)])
        return {name: value.unflatten(-1, (self.subject.n_heads, -1)) for name, value in found.items()}

    @torch.no_grad()
    def head_out(self, ids: Tensor) -> Values:
        found = self.z(ids)
        return {
            f"head_out.{layer}": torch.einsum("bphd,hdm->bphm", found[f"z.{layer}"], self._output_matrix(layer))
            for layer in range(self.subject.n_layers)
        }

    def _output_matrix(self, layer: int) -> Tensor:
        block = getattr(self.module.base_model, self.subject.blocks)[layer]
        projection = block.get_submodule(self.subject.projection)
        weight = projection.weight.T if isinstance(projection, nn.Linear) else projection.weight
        return weight.unflatten(0, (self.subject.n_heads, -1))

    @torch.no_grad()
    def _collect(self, ids: Tensor, sites: Sequence[tuple[str, int]]) -> Values:
        model = pyvene.IntervenableModel(
            [
                {"layer": layer, "component": COMPONENTS[kind], "intervention": pyvene.CollectIntervention()}
                for kind, layer in sites
            ],
            model=self.module,
        )
        (_, collected), _ = model({"input_ids": ids}, use_cache=False)
        return {f"{kind}.{layer}": value for (kind, layer), value in zip(sites, collected, strict=True)}

    @torch.no_grad()
    def sweep(self, cells: Sequence[Cell]) -> Tensor:
        """An interchange with the clean prompt as the source, one call a cell."""
        base, source = {"input_ids": self.inputs.corrupt}, {"input_ids": self.inputs.clean}
        last = self.inputs.clean.shape[1] - 1
        models: dict[tuple[str, int], Any] = {}
        rows = []
        for cell in cells:
            key = (cell.kind, cell.layer)
            if key not in models:
                models[key] = self._interchange(*key)
            at: Any = cell.index if cell.kind == "resid" else ([[[[cell.index]], [[last]]]],) * 2
            _, output = models[key](base, [source], {"sources->base": at}, use_cache=False)
            rows.append(output.logits[:, -1])
        return torch.cat(rows)

    def _interchange(self, kind: str, layer: int) -> Any:
        component = ("block_input", "pos") if kind == "resid" else ("head_attention_value_output", "h.pos")
        representation = pyvene.RepresentationConfig(layer, *component, 1)
        config = pyvene.IntervenableConfig([representation], intervention_types=pyvene.VanillaIntervention)
        return pyvene.IntervenableModel(config, model=self.module)

    @torch.no_grad()
    def steer(self) -> Tensor:
        addition = pyvene.AdditionIntervention(
            source_representation=self.inputs.steering, embed_dim=self.subject.d_model
        )
        model = pyvene.IntervenableModel(
            [{"layer": self.subject.middle, "component": "block_output", "intervention": addition}], model=self.module
        )
        base = {"input_ids": self.inputs.prompts, "attention_mask": torch.ones_like(self.inputs.prompts)}
        _, tokens = model.generate(
            base,
            unit_locations=None,
            intervene_on_prompt=True,  # with no locations this means every step
            max_new_tokens=self.inputs.n_new,
            do_sample=False,
            pad_token_id=0,
        )
        return tokens
