"""A virtual environment for each peer, since they contradict one another; made once and kept.

torch goes in first and holds for all, at the versions of the environment that runs the benchmark: the peers' own
requirements would pull a build for another device, and another version would be another forward.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

__all__ = ["REQUIREMENTS", "InstallError", "python_of", "versions_in"]

REQUIREMENTS = {
    "mechscope": [],
    "plain": [],
    "transformer_lens": ["transformer-lens>=4"],
    "nnsight": ["nnsight==0.8.1"],
    "pyvene": ["pyvene==0.1.8"],
    "nnterp": ["nnterp", "nnsight<0.8"],
}
"""Peer -> what to install; the `bench` extra names the same, except nnterp, which needs an older nnsight."""
SHOWN = ("transformer-lens", "nnsight", "pyvene", "nnterp", "torch", "transformers")


class InstallError(Exception):
    """Why a peer cannot be had."""


def python_of(peer: str, cache: Path) -> Path:
    """The interpreter that has a peer; ours for mechscope and plain hooks. Raises InstallError."""
    wanted = REQUIREMENTS[peer]
    if not wanted:
        return Path(sys.executable)
    folder = cache / peer
    python, ready = folder / "bin" / "python", folder / ".ready"
    shared = [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers")]
    recipe = "\n".join([*shared, *wanted]) + "\n"
    if ready.exists() and ready.read_text() == recipe:
        return python
    print(f"making the environment of {peer} in {folder}", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(shared) + "\n")
    _install(python, [shared[0]])
    _install(python, ["--constraint", str(constraints), *wanted])
    ready.write_text(recipe)
    return python


def versions_in(python: Path) -> dict[str, str]:
    """The versions of the packages that matter, by name."""
    code = (
        "import json\nfrom importlib.metadata import distributions\n"
        f"print(json.dumps({{d.name: d.version for d in distributions() if d.name in {SHOWN}}}))"
    )
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = json.loads(told)
    return found


def _install(python: Path, arguments: list[str]) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise InstallError((errors or done.stderr.splitlines() or ["pip failed"])[-1])
