"""What a direction at the dictionary's site does to the model's outputs, in base contexts that are corpus rows.

With a the feature's activation, f its decoder row, d a direction of f's length (f itself, or a control) and y the
logits at the position that is read (centred over the vocabulary but for set models, where a constant says something):

    ablate    y(x) - y(x - a d)     at every sample where the feature is active; with d = f the feature is set to 0
                                    and what the dictionary leaves unexplained stays
    steer     y(x + s d) - y(x)     at the position that is read (every marked one where a row's samples are averaged)

Both say what d adds, so that they are held against the weights alike. A token's outputs are read where the feature is
most active in its row, or at the last marked token where it is active nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.activations.batching import make_batches
from mechscope.activations.selection import Selection
from mechscope.experiments.contexts import ExperimentContext
from mechscope.models import Batch, Edit, Model

__all__ = ["Method", "OutputEffects", "OutputReader"]

Method = Literal["ablate", "steer"]
BATCH_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class OutputEffects:
    """What a direction adds to each output.

    Attributes:
        logits: float64 [n, d_vocab]. probabilities: the same of probabilities.
    """

    logits: np.ndarray
    probabilities: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Root mean square over the outputs of the change of logits, float64 [n]."""
        found: np.ndarray = np.sqrt(np.square(self.logits).mean(axis=1))
        return found


@dataclass(frozen=True, eq=False)
class _Part:
    """One batch: places of its rows among those asked for, how much of the feature each vector at the site holds,
    where a steering vector goes, the position that is read (None where a row has one output), and the outputs."""

    places: np.ndarray
    batch: Batch
    activation: Tensor
    steered: Tensor
    read_at: Tensor | None
    clean: Float[Tensor, "batch d_vocab"]


class OutputReader:
    """Runs rows with a direction taken out or put in, and reads the outputs.

    Args:
        context: the subject, with its model.
        rows: of the corpus, each once, int64 [n].
        feature: whose activation says where and how much.

    Attributes:
        activations: largest activation of the feature in each row, float64 [n].
        n_forwards: rows run so far.
    """

    def __init__(self, context: ExperimentContext, rows: np.ndarray, feature: int) -> None:
        self.model: Model = context.model
        self.site = self.model.site(context.inputs.site)
        self.d_vocab = self.model.d_vocab
        self._context, self._feature = context, feature
        self._selection = Selection.of(context.corpus, context.policy, context.special_ids)
        self._n = len(rows)
        self.n_forwards = 0
        self.activations = np.zeros(len(rows))
        place_of = {int(row): place for place, row in enumerate(rows)}
        batches = make_batches(context.corpus, rows, self.model, BATCH_TOKENS, with_targets=False)
        self._parts = [self._clean(np.array([place_of[int(row)] for row in taken]), taken, batch)
                       for taken, batch in batches]  # fmt: skip

    def effects(self, direction: Float[Tensor, "d_in"], method: Method, *, strength: float = 1.0) -> OutputEffects:
        """What `direction` adds to the outputs of every row; rows without the feature are not moved by "ablate".

        Args:
            direction: of the length of the feature's decoder row, so that the activation scales both alike.
            method: see the head of this file.
            strength: s of "steer", in units of activation.

        Cost: one forward of every row.
        """
        logits, probabilities = np.zeros((self._n, self.d_vocab)), np.zeros((self._n, self.d_vocab))
        for part in self._parts:
            amount = -part.activation if method == "ablate" else strength * part.steered
            edited = self._read(part.batch, part.read_at, [Edit(self.site, _added(amount, direction))])
            before, after = (part.clean, edited) if method == "steer" else (edited, part.clean)
            change = self._centred(after) - self._centred(before)
            logits[part.places] = change.double().cpu().numpy()
            moved = self._probabilities(after) - self._probabilities(before)
            probabilities[part.places] = moved.double().cpu().numpy()
        return OutputEffects(logits, probabilities)

    def _clean(self, places: np.ndarray, rows: np.ndarray, batch: Batch) -> _Part:
        value = self.model.capture(batch, [self.site])[self.site]
        vectors, samples = self._selection.gather(value, rows)
        codes = self._context.inputs.dictionary.encode(vectors.to(self._context.inputs.dictionary.b_dec.device))
        is_own = codes.features == self._feature
        of_sample = torch.zeros(len(vectors), dtype=torch.float32)
        of_sample[codes.rows()[is_own].cpu()] = codes.values[is_own].cpu().float()
        first = torch.from_numpy(self._selection.first_sample[rows])
        owner = torch.from_numpy(np.searchsorted(self._selection.first_sample, samples, side="right") - 1)
        of_row = {int(row): at for at, row in enumerate(rows)}
        at_row = torch.tensor([of_row[int(row)] for row in owner], dtype=torch.int64)
        largest = torch.zeros(len(rows)).scatter_reduce_(0, at_row, of_sample, "amax")
        self.activations[places] = largest.double().numpy()
        if self._selection.how == "pooled":
            activation, steered, read_at = largest, torch.ones(len(rows)), None
        else:
            marked = self._marked(rows, batch)
            activation = torch.zeros(marked.shape)
            if self._selection.how == "each":
                # samples of a row follow one another in the order of its marked positions
                rank = torch.from_numpy(samples) - first[at_row]
                where = _nth_marked(marked, at_row, rank)
                activation[at_row, where] = of_sample
            else:
                activation = marked * largest[:, None]
            last = marked.shape[1] - 1 - marked.flip(1).int().argmax(dim=1)
            read_at = torch.where(activation.amax(dim=1) > 0, activation.argmax(dim=1), last)
            steered = marked.float()
            if self._selection.how == "each":
                steered = torch.zeros(marked.shape).scatter_(1, read_at[:, None], 1.0)
        device = value.device
        read_at = None if read_at is None else read_at.to(device)
        clean = self._read(batch, read_at, [])
        return _Part(places, batch, activation.to(device), steered.to(device), read_at, clean)

    def _marked(self, rows: np.ndarray, batch: Batch) -> Tensor:
        """Marked positions of the batch, boolean [batch pos]."""
        starts, ends = self._selection.indptr[rows], self._selection.indptr[rows + 1]
        marked = torch.zeros(batch.input_ids.shape, dtype=torch.bool)
        for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            marked[at, : end - start] = torch.from_numpy(self._selection.mask[start:end])
        return marked

    def _read(self, batch: Batch, read_at: Tensor | None, edits: list[Edit]) -> Float[Tensor, "batch d_vocab"]:
        with torch.no_grad():
            logits = self.model.logits(batch, edits=edits)
        self.n_forwards += batch.n_rows
        if logits.ndim == 3:
            assert read_at is not None
            logits = logits[torch.arange(len(logits), device=logits.device), read_at]
        return logits.float()

    def _centred(self, logits: Tensor) -> Tensor:
        return logits if self.model.kind == "set" else logits - logits.mean(dim=1, keepdim=True)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.model.kind == "set" else logits.softmax(dim=1)


def _nth_marked(marked: Tensor, rows: Tensor, rank: Tensor) -> Tensor:
    """The position of the `rank`-th marked token of each row."""
    order = torch.where(marked, marked.int().cumsum(dim=1) - 1, -1)
    return (order[rows] == rank[:, None]).int().argmax(dim=1)


def _added(amount: Tensor, direction: Tensor) -> Callable[[Tensor, Batch], Tensor]:
    def apply(value: Tensor, batch: Batch) -> Tensor:
        del batch
        step = amount[..., None].float() * direction.to(value.device).float()
        return (value.float() + step.reshape(value.shape)).to(value.dtype)

    return apply
