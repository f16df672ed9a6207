"""The tuned lens: a learnt affine map from each stream to the last one, read through the model's own head.

    lens_l(h) = readout(h + h A_l + b_l)        A_l [d_model d_model], b_l [d_model]; A_l = 0, b_l = 0 is the logit lens

Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens" (arXiv 2303.08112), the
affine translators of section 3. It says what can be decoded from a stream by such a map; not that the model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mechscope.core import BadDataError, LayerComponent, UsageError, unknown_name
from mechscope.models.batch import Batch
from mechscope.models.lens.logit_lens import AS_IS, StreamSites, look_through, named_sites
from mechscope.models.lens.readings import last_stream
from mechscope.models.lens.results import LensQuery, LensResult
from mechscope.models.lens.tuned_records import TunedLensRecord
from mechscope.models.model import Model
from mechscope.store import file_entry, publish, read_json, verify, write_json
from mechscope.store.dense import TensorFile, write_tensors

__all__ = ["TunedLens"]

KIND = "tuned_lens"
WEIGHTS_NAME, RECORD_NAME = "translators.safetensors", "tuned_lens.json"


@dataclass(frozen=True, eq=False)
class TunedLens:
    """Affine translators of one model's streams. Made by `fit_tuned_lens` or `TunedLens.load`.

    Attributes:
        A: the matrices beside the identity [sites d_model d_model], float32 on the CPU; rows times A.
        b: the offsets [sites d_model].
        record: how they were made and how well they read held-out rows.
    """

    A: Float[Tensor, "sites d_model d_model"]
    b: Float[Tensor, "sites d_model"]
    record: TunedLensRecord

    def translate(self, site: LayerComponent, stream: Float[Tensor, "*m d_model"]) -> Float[Tensor, "*m d_model"]:
        """The stream of `site` as the last stream, in the dtype and on the device of `stream`.

        Raises:
            NotFoundError: a site without a translator.
        """
        if site not in self.record.sites:
            raise unknown_name("site of this tuned lens", str(site), map(str, self.record.sites))
        index = self.record.sites.index(site)
        matrix, offset = self.A[index].to(stream.device), self.b[index].to(stream.device)
        return translated(stream, matrix, offset)

    def read(
        self,
        model: Model,
        batch: Batch,
        sites: StreamSites | None = None,
        query: LensQuery = AS_IS,
    ) -> LensResult:
        """What each stream predicts through its translator; arguments, costs and errors as in `logit_lens`.

        `sites` are those with a translator and the last stream, which is read as it stands; by default all of them.

        Raises:
            UsageError: a model with other weights than the lens was fitted to.
            NotFoundError: a site without a translator.
        """
        if model.weights_digest != self.record.weights_digest:
            raise UsageError(
                f"{model.name} with weights {model.weights_digest[:12]}…",
                expected=f"{self.record.weights_digest[:12]}… of {self.record.model}, to which the lens was fitted",
                todo="open that model, or fit a tuned lens to this one",
            )
        last = last_stream(model)
        chosen = [*self.record.sites, last] if sites is None else named_sites(model, sites)
        if unknown := [site for site in chosen if site != last and site not in self.record.sites]:
            raise unknown_name("site of this tuned lens", str(unknown[0]), map(str, (*self.record.sites, last)))

        def translate(site: LayerComponent, stream: Tensor) -> Tensor:
            return stream if site == last else self.translate(site, stream)

        return look_through(model, batch, chosen, query, name="tuned lens", translate=translate)

    def save(self, folder: Path) -> None:
        """Write translators.safetensors and tuned_lens.json; the folder counts once its manifest.json is there.

        Raises:
            ConflictError: the disk is full, or the folder cannot be written.
        """
        entry = write_tensors(folder / WEIGHTS_NAME, {"A": self.A, "b": self.b}, {})
        write_json(folder / RECORD_NAME, self.record.to_json())
        files = {WEIGHTS_NAME: entry, RECORD_NAME: file_entry(folder / RECORD_NAME)}
        publish(folder, kind=KIND, key={"record": self.record.digest}, files=files, facts={})

    @classmethod
    def load(cls, folder: Path) -> TunedLens:
        """The lens in a folder, every checksum verified.

        Raises:
            BadDataError: an unfinished or damaged folder, or one that holds something else.
        """
        verify(folder, kind=KIND)
        try:
            record = TunedLensRecord.parse(read_json(folder / RECORD_NAME), where=str(folder / RECORD_NAME))
        except UsageError as error:
            raise BadDataError(error.seen, expected="a record as it was written", todo="fit the lens again") from error
        file = TensorFile.open(folder / WEIGHTS_NAME)
        A, b = file.read("A"), file.read("b")
        n_sites, d_model = len(record.sites), record.d_model
        if A.shape != (n_sites, d_model, d_model) or b.shape != (n_sites, d_model):
            raise BadDataError(
                f"{WEIGHTS_NAME} in {folder} holds A {list(A.shape)} and b {list(b.shape)}",
                expected=f"{n_sites} translators of width {d_model}, as {RECORD_NAME} says",
                todo="fit the lens again",
            )
        return cls(A, b, record)


def translated(
    stream: Float[Tensor, "*m d_model"], A: Float[Tensor, "d_model d_model"], b: Float[Tensor, "d_model"]
) -> Float[Tensor, "*m d_model"]:
    """h + h A + b, computed in float32 (float64 for float64), in the dtype of the stream."""
    dtype = torch.float64 if stream.dtype == torch.float64 else torch.float32
    wide = stream.to(dtype)
    moved: Tensor = wide + wide @ A.to(dtype) + b.to(dtype)
    return moved.to(stream.dtype)
