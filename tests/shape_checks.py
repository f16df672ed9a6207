"""The checker that tests put around every function of the package: beartype, where it can read the annotations.

Methods that return `Self` cannot be read outside of their class; such functions stay unchecked.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

__all__ = ["checked"]

F = TypeVar("F", bound=Callable[..., Any])
# int is accepted where float is asked, as type checkers do.
CHECK = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: F) -> F:
    """`function` with its arguments and result checked on every call."""
    try:
        return CHECK(function)
    except BeartypeDecorHintException:
        return function
