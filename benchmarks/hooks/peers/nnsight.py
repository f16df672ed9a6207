"""nnsight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nnsight.modeling.transformers import TransformersModel
from subjects import Cell, Inputs, Subject, load
from torch import Tensor, nn
from transformers import AutoTokenizer

Values = dict[str, Tensor]


class Access:
    def __init__(self, subject: Subject, folder: Path, inputs: Inputs) -> None:
        self.subject, self.inputs = subject, inputs
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = TransformersModel(load(folder), tokenizer=tokenizer, task="text-generation")
        base = getattr(self.model, {"h": "transformer", "layers": "model"}[subject.blocks], None) or self.model.gpt_neox
        self.blocks = list(getattr(base, subject.blocks))
        self.attentions = [self._below(block, subject.attention) for block in self.blocks]
        self.projections = [self._below(block, subject.projection) for block in self.blocks]

    @staticmethod
    def _below(envoy: Any, path: str) -> Any:
        for name in path.split("."):
            envoy = getattr(envoy, name)
        return envoy

    @torch.no_grad()
    def mid(self, ids: Tensor) -> Values:
        block = self.blocks[self.subject.middle]
        with self.model.trace(ids) as tracer:
            value = block.output.save()
            tracer.stop()
        return {f"resid_post.{self.subject.middle}": value}

    @torch.no_grad()
    def streams(self, ids: Tensor) -> Values:
        values: Values = {}
        blocks, attentions = self.blocks, self.attentions
        with self.model.trace(ids) as tracer:
            for layer, block in enumerate(blocks):
                values[f"resid_pre.{layer}"] = block.input.save()
                values[f"attn_out.{layer}"] = attentions[layer].output[0].save()
                values[f"mlp_out.{layer}"] = block.mlp.output.save()
                values[f"resid_post.{layer}"] = block.output.save()
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
    def sweep_batched(self, cells: Sequence[Cell]) -> Tensor:
        """One trace a layer, an invoke a cell."""
        blocks, projections = self.blocks, self.projections
        streams: list[Tensor] = []
        heads: list[Tensor] = []
        with self.model.trace(self.inputs.clean) as tracer:
            for layer, block in enumerate(blocks):
                streams.append(block.input.clone().save())
                heads.append(projections[layer].input.clone().save())
            tracer.stop()
        d_head = self.subject.d_model // self.subject.n_heads
        corrupt, output = self.inputs.corrupt, self.model.lm_head
        rows: list[Tensor] = []
        for layer in range(self.subject.n_layers):
            here = [cell for cell in cells if cell.layer == layer]
            if not here:
                continue
            with self.model.trace() as tracer:
                for cell in here:
                    place = slice(cell.index * d_head, (cell.index + 1) * d_head)
                    with tracer.invoke(corrupt):
                        if cell.kind == "resid":
                            blocks[layer].input[:, cell.index] = streams[layer][:, cell.index]
                        else:
                            projections[layer].input[:, -1, place] = heads[layer][:, -1, place]
                        rows.append(output.output[:, -1].save())
        return torch.cat(rows)

    @torch.no_grad()
    def steer(self) -> Tensor:
        block, n_new, vector = self.blocks[self.subject.middle], self.inputs.n_new, self.inputs.steering
        with self.model.generate(
            self.inputs.prompts,
            attention_mask=torch.ones_like(self.inputs.prompts),
            max_new_tokens=n_new,
            do_sample=False,
            pad_token_id=0,
        ) as tracer:
            for _ in tracer.iter[:n_new]:
                block.output[:] += vector
            tokens = tracer.result.save()
        return tokens  # noqa: RET504 - the trace's block is cut out and run elsewhere
