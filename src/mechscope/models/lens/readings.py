"""One forward for a lens: streams and logits at the places asked for, and proof that the readout is the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, UsageError
from mechscope.models.batch import Batch
from mechscope.models.lens.places import PlaceChoice, Places, choose_places
from mechscope.models.lens.readout import Readout, readout_of
from mechscope.models.model import Model

__all__ = ["Reading", "last_stream", "read_streams", "tolerance_of"]

STREAM_AXES = 3
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@dataclass(frozen=True, eq=False)
class Reading:
    """What one forward gave at the places: values by site [m ...], and the model's own logits [n d_vocab].

    `output_error` is max |readout of the last stream - logits| / max |logits| over the readings.
    """

    readout: Readout
    places: Places
    values: dict[LayerComponent, Tensor]
    output: Float[Tensor, "n d_vocab"]
    output_error: float

    def describe(self) -> str:
        """The way to the logits, in words."""
        return self.readout.describe(self.places)

    def subset(self, chosen: Tensor) -> Reading:
        """Some of the readings; for models that do not pool."""
        values = {site: value[chosen] for site, value in self.values.items()}
        return Reading(self.readout, self.places.subset(chosen), values, self.output[chosen], self.output_error)


def last_stream(model: Model) -> LayerComponent:
    """The stream that the final norm reads."""
    return LayerComponent(kind="resid_post", layer=model.n_layers - 1)


def tolerance_of(dtype: torch.dtype) -> float:
    """The relative error that rounding may leave."""
    return TOLERANCES.get(dtype, TOLERANCES[torch.float32])


@torch.no_grad()
def read_streams(model: Model, batch: Batch, sites: Sequence[LayerComponent], at: PlaceChoice) -> Reading:
    """One forward with captures at `sites` and the last stream, kept at the places only.

    Cost: one forward with its LM head, and one unembedding. Memory while it runs: the sites' values over the whole
    batch, and one [batch pos d_vocab].

    Raises:
        UsageError: a stream without a position axis or with more axes (networks of vectors, of feature maps); as
            `readout_of` and `choose_places`; whatever `Model.capture` refuses.
        BadDataError: the readout of the last stream is not the model's logits.
    """
    readout = readout_of(model)
    batch = batch.to(model.device)
    last = last_stream(model)
    capture = model.capture(batch, [*dict.fromkeys([*sites, last])], logits=True)
    assert capture.logits is not None
    if (stream := capture.values[last]).ndim != STREAM_AXES:
        raise UsageError(
            f"no lens on {model.name}: its stream {last} has the shape {list(stream.shape)}",
            expected="a stream of vectors at positions, [batch pos d_model]",
            todo="measure the effect of an edit instead",
        )
    own = batch if model.component_map.encoder is None else batch.decoder
    n_rows, n_positions = capture.values[last].shape[:2]
    tried = [
        _tried(
            readout,
            choose_places(own, at, shape=(n_rows, n_positions), pooling=pooling),
            capture.values[last],
            capture.logits,
        )
        for pooling in readout.pooling or (None,)
    ]
    error, places = min(tried, key=lambda pair: pair[0] if pair[0] == pair[0] else float("inf"))
    output = places.gather_output(capture.logits)
    allowed = max(tolerance_of(output.dtype), tolerance_of(model.dtype))  # logits may be float32 of a bfloat16 head
    if not error <= allowed:
        raise BadDataError(
            f"final norm and unembedding give other logits than {model.name} (relative error {error:.1e})",
            expected=f"at most {allowed:.0e}: {readout.describe(places)} on {last}",
            todo="correct the last steps in the component map (pooling is the mean over tokens or the first position)",
        )
    values = {site: places.gather(value) for site, value in capture.values.items()}
    return Reading(readout, places, values, output, error)


def _tried(readout: Readout, places: Places, stream: Tensor, logits: Tensor) -> tuple[float, Places]:
    told = places.gather_output(logits).double()
    seen = readout.logits(places.gather(stream), places).double()
    return float((seen - told).abs().max() / told.abs().max().clamp(min=torch.finfo(torch.float32).tiny)), places
