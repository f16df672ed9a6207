"""Plain hooks over transformers, as one writes them by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bare import generate
from subjects import Cell, Inputs, Subject, load, parts
from torch import Tensor, nn

Values = dict[str, Tensor]


class Enough(BaseException):
    """Leaves a forward."""


@contextmanager
def hanging(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    except Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def keep_output(module: nn.Module, values: Values, name: str) -> Any:
    return module.register_forward_hook(lambda _, args, output: values.__setitem__(name, first(output)))


def keep_input(module: nn.Module, values: Values, name: str) -> Any:
    def hook(_: Any, args: Any, kwargs: Any) -> None:
        values[name] = args[0] if args else kwargs["hidden_states"]

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def change_input(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Any:
    def hook(_: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(hook, with_kwargs=True)


class Access:
    def __init__(self, subject: Subject, folder: Path, inputs: Inputs) -> None:
        self.subject, self.inputs = subject, inputs
        self.module = load(folder)
        self.blocks = parts(subject, self.module)
        self.attentions = [block.get_submodule(subject.attention) for block in self.blocks]
        self.projections = [block.get_submodule(subject.projection) for block in self.blocks]

    @torch.no_grad()
    def mid(self, ids: Tensor) -> Values:
        values: Values = {}

        def keep(module: Any, args: Any, output: Any) -> None:
            values[f"resid_post.{self.subject.middle}"] = first(output)
            raise Enough

        with hanging([self.blocks[self.subject.middle].register_forward_hook(keep)]):
            self.module.base_model(input_ids=ids, use_cache=False)
        return values

    @torch.no_grad()
    def streams(self, ids: Tensor) -> Values:
        values: Values = {}
        handles = []
        for layer, block in enumerate(self.blocks):
            handles += [
                keep_input(block, values, f"resid_pre.{layer}"),
                keep_output(self.attentions[layer], values, f"attn_out.{layer}"),
                keep_output(block.mlp, values, f"mlp_out.{layer}"),
                keep_output(block, values, f"resid_post.{layer}"),
            ]
        with hanging(handles):
            self.module.base_model(input_ids=ids, use_cache=False)
        return values

    @torch.no_grad()
    def z(self, ids: Tensor) -> Values:
        values: Values = {}
        with hanging([keep_input(each, values, f"z.{layer}") for layer, each in enumerate(self.projections)]):
            self.module.base_model(input_ids=ids, use_cache=False)
        return {name: value.unflatten(-1, (self.subject.n_heads, -1)) for name, value in values.items()}

    @torch.no_grad()
    def head_out(self, ids: Tensor) -> Values:
        found = self.z(ids)
        return {
            f"head_out.{layer}": torch.einsum("bphd,hdm->bphm", found[f"z.{layer}"], self.output_matrix(layer))
            for layer in range(self.subject.n_layers)
        }

    def output_matrix(self, layer: int) -> Tensor:
        """[n_heads d_head d_model]."""
        projection = self.projections[layer]
        weight = projection.weight.T if isinstance(projection, nn.Linear) else projection.weight
        return weight.unflatten(0, (self.subject.n_heads, -1))

    @torch.no_grad()
    def sweep(self, cells: Sequence[Cell]) -> Tensor:
        clean = self.sources(self.inputs.clean)
        rows = []
        for cell in cells:
            module = self.blocks[cell.layer] if cell.kind == "resid" else self.projections[cell.layer]
            with hanging([change_input(module, self.writing([cell], clean))]):
                rows.append(self.module(input_ids=self.inputs.corrupt, use_cache=False).logits[:, -1])
        return torch.cat(rows)

    @torch.no_grad()
    def sweep_batched(self, cells: Sequence[Cell]) -> Tensor:
        """One forward a layer, a patch a row, from the patched block on; the output head at the last position."""
        clean, corrupt = self.sources(self.inputs.clean), self.sources(self.inputs.corrupt)
        base, name = self.module.base_model, self.subject.blocks
        rows = []
        for layer in range(self.subject.n_layers):
            here = [cell for cell in cells if cell.layer == layer]
            if not here:
                continue
            streams = [cell if cell.kind == "resid" else None for cell in here]
            heads = [cell if cell.kind == "head" else None for cell in here]
            start = corrupt["resid", layer].expand(len(here), -1, -1)
            write_streams, write_heads = self.writing(streams, clean), self.writing(heads, clean)
            all_blocks = getattr(base, name)
            setattr(base, name, all_blocks[layer:])
            handles = [
                change_input(self.blocks[layer], lambda _, start=start, write=write_streams: write(start)),
                change_input(self.projections[layer], write_heads),
            ]
            try:
                with hanging(handles):
                    ids = self.inputs.corrupt.expand(len(here), -1)
                    rows.append(self.module(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1])
            finally:
                setattr(base, name, all_blocks)
        return torch.cat(rows)

    def sources(self, ids: Tensor) -> dict[tuple[str, int], Tensor]:
        values: Values = {}
        handles = [keep_input(block, values, f"resid.{layer}") for layer, block in enumerate(self.blocks)]
        handles += [keep_input(each, values, f"head.{layer}") for layer, each in enumerate(self.projections)]
        with hanging(handles):
            self.module.base_model(input_ids=ids, use_cache=False)
        return {(key.split(".")[0], int(key.split(".")[1])): value for key, value in values.items()}

    def writing(self, cells: Sequence[Cell | None], clean: dict[Any, Tensor]) -> Callable[[Tensor], Tensor]:
        """A function that writes the cell of each row."""
        d_head = self.subject.d_model // self.subject.n_heads

        def change(value: Tensor) -> Tensor:
            value = value.clone()
            for row, cell in enumerate(cells):
                if cell is None:
                    continue
                source = clean[cell.kind, cell.layer][0]
                if cell.kind == "resid":
                    value[row, cell.index] = source[cell.index]
                else:
                    place = slice(cell.index * d_head, (cell.index + 1) * d_head)
                    value[row, -1, place] = source[-1, place]
            return value

        return change

    @torch.no_grad()
    def steer(self) -> Tensor:
        def add(_: Any, args: Any, output: Any) -> Any:
            steered = first(output) + self.inputs.steering
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        with hanging([self.blocks[self.subject.middle].register_forward_hook(add)]):
            return generate(self.module, self.inputs)
