"""nnterp: its own names over the nnsight that it runs with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from nnterp import StandardizedTransformer
from subjects import Cell, Inputs, Subject
from torch import Tensor, nn

Values = dict[str, Tensor]


class Access:
    def __init__(self, subject: Subject, folder: Path, inputs: Inputs) -> None:
        self.subject, self.inputs = subject, inputs
        self.model = StandardizedTransformer(str(folder), device_map="cpu")
        name = subject.projection.rpartition(".")[2]
        self.projections = [getattr(self.model.layers[layer].self_attn, name) for layer in range(subject.n_layers)]

    @torch.no_grad()
    def mid(self, ids: Tensor) -> Values:
        model, middle = self.model, self.subject.middle
        with model.trace(ids) as tracer:
            value = model.layers_output[middle].save()
            tracer.stop()
        return {f"resid_post.{middle}": value}

    @torch.no_grad()
    def streams(self, ids: Tensor) -> Values:
        values: Values = {}
        model, n_layers = self.model, self.subject.n_layers
        with model.trace(ids) as tracer:
            for layer in range(n_layers):
                values[f"resid_pre.{layer}"] = model.layers_input[layer].save()
                values[f"attn_out.{layer}"] = model.attentions_output[layer].save()
                values[f"mlp_out.{layer}"] = model.mlps_output[layer].save()
                values[f"resid_post.{layer}"] = model.layers_output[layer].save()
            tracer.stop()
        return values

    @torch.no_grad()
    def z(self, ids: Tensor) -> Values:
        values: Values = {}
        projections = self.projections
        with self.model.trace(ids) as tracer:
            for layer, projection in enumerate(projections):
                values[f"z.{layer}"] = projection.input.save()
            tracer.stop()
        return {name: value.unflatten(-1, (self.subject.n_heads, -1)) for name, value in values.items()}

    @torch.no_grad()
    def head_out(self, ids: Tensor) -> Values:
        found = self.z(ids)
        return {
            f"head_out.{layer}": torch.einsum("bphd,hdm->bphm", found[f"z.{layer}"], self._output_matrix(layer))
            for layer in range(self.subject.n_layers)
        }

    def _output_matrix(self, layer: int) -> Tensor:
        projection = self.projections[layer]._module
        weight = projection.weight.T if isinstance(projection, nn.Linear) else projection.weight
        return weight.unflatten(0, (self.subject.n_heads, -1))

    @torch.no_grad()
    def sweep(self, cells: Sequence[Cell]) -> Tensor:
        """One trace a cell."""
        model, projections = self.model, self.projections
        streams: list[Tensor] = []
        heads: list[Tensor] = []
        with model.trace(self.inputs.clean) as tracer:
            for layer, projection in enumerate(projections):
                streams.append(model.layers_input[layer].clone().save())
                heads.append(projection.input.clone().save())
            tracer.stop()
        d_head = self.subject.d_model // self.subject.n_heads
        rows: list[Tensor] = []
        for cell in cells:
            place = slice(cell.index * d_head, (cell.index + 1) * d_head)
            with model.trace(self.inputs.corrupt):
                if cell.kind == "resid":
                    model.layers_input[cell.layer][:, cell.index] = streams[cell.layer][:, cell.index]
                else:
                    projections[cell.layer].input[:, -1, place] = heads[cell.layer][:, -1, place]
                logits = model.logits[:, -1].save()
            rows.append(logits)
        return torch.cat(rows)

    @torch.no_grad()
    def steer(self) -> Tensor:
        model, middle = self.model, self.subject.middle
        n_new, vector = self.inputs.n_new, self.inputs.steering
        with model.generate(
            self.inputs.prompts,
            attention_mask=torch.ones_like(self.inputs.prompts),
            max_new_tokens=n_new,
            do_sample=False,
            pad_token_id=0,
        ) as tracer:
            for _ in tracer.iter[:n_new]:
                model.layers_output[middle][:] += vector
            tokens = model.generator.output.save()
        return tokens  # noqa: RET504 - the trace's block is cut out and run elsewhere
