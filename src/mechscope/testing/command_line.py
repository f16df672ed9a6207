"""What a call of the command line leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Call", "Called"]


@dataclass(frozen=True)
class Called:
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The JSON object on stdout. Raises ValueError when there is another thing on it."""
        value: dict[str, Any] = json.loads(self.out)
        return value


Call = Callable[..., Called]
