"""A workspace: a folder with `mechscope.toml`, which names subjects, and one folder for each kind of artifact."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from mechscope.core import BadDataError, ConflictError, NotFoundError, UsageError, unknown_name
from mechscope.store import write_bytes, writing
from mechscope.workspace.subjects import SubjectEntry

__all__ = ["WORKSPACE_FILE", "Workspace"]

WORKSPACE_FILE = "mechscope.toml"
FORMAT = 1
HEADER = """\
# A mechscope workspace. Each subject bundles a model, a site in it, a corpus, a dictionary and its feature store;
# `--model NAME` means a subject named here. Paths are relative to this file.
format = 1
"""


@dataclass(frozen=True)
class Workspace:
    """An opened workspace. Every method that changes the file holds its lock and replaces it whole."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> Workspace:
        """Make `root` a workspace. Raises ConflictError when it is one already."""
        if (root / WORKSPACE_FILE).exists():
            raise ConflictError(
                f"{root} is a workspace already", expected="a folder without mechscope.toml", todo="use it as it is"
            )
        write_bytes(root / WORKSPACE_FILE, HEADER.encode())
        return cls(root.resolve())

    @classmethod
    def open(cls, root: Path) -> Workspace:
        """The workspace at `root`, or at the nearest folder above it that is one. Raises NotFoundError."""
        start = root.resolve()
        for folder in [start, *start.parents]:
            if (folder / WORKSPACE_FILE).is_file():
                return cls(folder)
        raise NotFoundError(
            f"no workspace at {root} or above it",
            expected=f"a folder with {WORKSPACE_FILE}",
            todo="make one with `mechscope init DIR`, or point at one with --workspace DIR",
        )

    @classmethod
    def open_or_create(cls, root: Path) -> Workspace:
        """The workspace at exactly `root`, made when it is not there."""
        return cls(root.resolve()) if (root / WORKSPACE_FILE).is_file() else cls.create(root)

    @property
    def corpora(self) -> Path:
        """Where corpora are kept."""
        return self.root / "corpora"

    @property
    def activations(self) -> Path:
        """Where dense activation caches are kept."""
        return self.root / "activations"

    @property
    def dictionaries(self) -> Path:
        """Where trained dictionaries are kept."""
        return self.root / "dictionaries"

    @property
    def stores(self) -> Path:
        """Where feature stores are kept."""
        return self.root / "stores"

    @property
    def runs(self) -> Path:
        """Where run records are kept."""
        return self.root / "runs"

    def subjects(self) -> dict[str, SubjectEntry]:
        """Every subject by name, in the order of the file. Raises BadDataError or UsageError."""
        document = self._read()
        where = str(self.root / WORKSPACE_FILE)
        entries = document.get("subjects", {})
        return {name: SubjectEntry.parse(dict(value), where=f"{where}, {name!r}") for name, value in entries.items()}

    def subject(self, name: str) -> SubjectEntry:
        """One subject. Raises NotFoundError with the nearest name."""
        subjects = self.subjects()
        if name not in subjects:
            raise unknown_name(
                "model", name, subjects, todo="name a subject of this workspace, or make one with `mechscope explore`"
            )
        return subjects[name]

    def only_subject(self) -> str:
        """The name of the one subject there is. Raises UsageError when there is another number of them."""
        names = list(self.subjects())
        if len(names) == 1:
            return names[0]
        raise UsageError(
            "no model was named and the workspace has " + (f"{len(names)} subjects" if names else "no subject"),
            expected="--model NAME" + (f" with one of: {', '.join(names)}" if names else ""),
            todo="name one" if names else "run `mechscope explore` or `mechscope demo` first, or name a model",
        )

    def set_subject(self, name: str, entry: SubjectEntry) -> None:
        """Add or replace a subject; comments and other subjects in the file stay as they are.

        A domain that was declared for the subject stays too, unless the entry has another: it is written by hand.
        """
        known = self.subjects().get(name)
        if known is not None and entry.domain is None:
            entry = entry.updated(domain=known.domain)
        if known == entry:
            return
        with self._lock():
            document = self._read()
            subjects = document.setdefault("subjects", tomlkit.table(is_super_table=True))
            table = tomlkit.table()
            for key, value in entry.to_json().items():
                if value is not None:
                    table.add(key, value)
            subjects[name] = table
            write_bytes(self.root / WORKSPACE_FILE, tomlkit.dumps(document).encode())

    def resolve(self, relative: str) -> Path:
        """A path of a subject entry as a path on this machine."""
        return self.root / relative

    def relative(self, path: Path) -> str:
        """A path inside the workspace as `mechscope.toml` writes it; a path outside stays absolute."""
        full = path.resolve()
        return full.relative_to(self.root).as_posix() if full.is_relative_to(self.root) else str(full)

    def _read(self) -> tomlkit.TOMLDocument:
        path = self.root / WORKSPACE_FILE
        try:
            document = tomlkit.parse(path.read_text(encoding="utf-8"))
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise BadDataError(f"{path} is not TOML: {error}", expected="TOML", todo="mend that line") from error
        if document.get("format") != FORMAT:
            raise BadDataError(
                f"{path} has format {document.get('format')!r}",
                expected=f"format = {FORMAT}",
                todo="use the version of mechscope that wrote it",
            )
        return document

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with writing(self.root / WORKSPACE_FILE), (self.root / ".mechscope.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
