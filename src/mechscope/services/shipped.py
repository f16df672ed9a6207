"""The subjects that ship with the package: what they are, and how to train them again."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mechscope.core import Progress, Spec, read_mapping, unknown_name
from mechscope.store import read_json
from mechscope.subjects.agreement import TrainAgreementSpec, train_agreement
from mechscope.subjects.pydocs import TrainPydocsSpec, train_pydocs
from mechscope.subjects.splatoon import TrainSplatoonSpec, train_splatoon

__all__ = ["ShippedSubject", "shipped_folder", "shipped_subjects", "train_subject"]

TRAINERS: dict[str, tuple[type[Spec], Callable[..., Any]]] = {
    "agreement": (TrainAgreementSpec, train_agreement),
    "pydocs": (TrainPydocsSpec, train_pydocs),
    "splatoon": (TrainSplatoonSpec, train_splatoon),
}


class ShippedSubject(Spec):
    """One shipped checkpoint. `headline` is its held-out figures beside their baseline, from its training record."""

    name: str
    folder: str
    n_parameters: int
    n_bytes: int
    seed: int
    headline: str


def shipped_folder(name: str) -> Path:
    """Where a shipped subject's model lies. Raises NotFoundError with the nearest name."""
    if name not in TRAINERS:
        raise unknown_name("shipped subject", name, TRAINERS)
    return Path(str(files("mechscope"))) / "subjects_data" / name


def shipped_subjects() -> list[ShippedSubject]:
    """All shipped subjects, by name."""
    return [_describe(name) for name in TRAINERS]


def train_subject(name: str, output: Path, *, spec_path: Path | None, progress: Progress) -> dict[str, Any]:
    """Train a shipped subject again and return its training record.

    Without `spec_path` the recorded settings are used, so that the checkpoint comes out the same on the same
    versions and thread count.
    """
    folder = shipped_folder(name)
    spec_type, trainer = TRAINERS[name]
    recorded = read_json(folder / "training_record.json")["spec"]
    spec = spec_type.parse(read_mapping(spec_path) if spec_path else recorded, where=str(spec_path or folder))
    trainer(spec, output, progress)
    record: dict[str, Any] = json.loads((output / "training_record.json").read_text(encoding="utf-8"))
    return record


def _describe(name: str) -> ShippedSubject:
    folder = shipped_folder(name)
    record = read_json(folder / "training_record.json")
    weights = folder / "model.safetensors"
    with safe_open(weights, framework="np") as file:
        sizes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    n_parameters = sum(_product(shape) for shape in sizes)
    return ShippedSubject(
        name=name,
        folder=str(folder),
        n_parameters=n_parameters,
        n_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        seed=record["spec"]["seed"],
        headline=record.get("headline", ""),
    )


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
