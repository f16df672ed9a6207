"""Frozen specs: typed settings that refuse unknown keys, survive JSON unchanged and have a stable digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mechscope.core.digests import digest_of
from mechscope.core.errors import NotFoundError, UsageError, nearest_name

__all__ = ["Spec", "read_mapping"]


class Spec(BaseModel):
    """Base of every spec and every stored result.

    Equal meaning gives an equal digest: key order and whitespace of the source do not matter, defaults are
    written out before hashing, and the class name is part of the digest, so that two kinds never collide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @property
    def digest(self) -> str:
        """SHA-256 over the class name and every field, defaults included."""
        return digest_of({"spec": type(self).__name__, "fields": self.to_json()})

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON types, defaults written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Every field as YAML, in the order of declaration."""
        return yaml.safe_dump(self.to_json(), sort_keys=False, allow_unicode=True)

    def updated(self, **changes: Any) -> Self:
        """A copy with some fields replaced, and those checked (pydantic's own `model_copy` checks nothing).

        Specs within it that stay were checked when they were made, and are shared.
        """
        return self.parse({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

    @classmethod
    def parse(cls, value: Any, *, where: str = "the given values") -> Self:
        """A spec from JSON types.

        Raises:
            UsageError: an unknown key (the nearest known key is offered), a missing key or a wrong value.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise _usage_error(cls, error, where) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """A spec from a YAML or JSON file. Raises NotFoundError or UsageError."""
        return cls.parse(read_mapping(path), where=str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        NotFoundError: there is no such file.
        UsageError: the file is not YAML, or its top level is not a mapping.
    """
    if not path.is_file():
        raise NotFoundError(f"no spec file at {path}", expected="a YAML or JSON file", todo="check the path")
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).split("\n", 1)[0]
        raise UsageError(
            f"{path} is not YAML: {first}", expected="a YAML or JSON mapping", todo="mend the file at that place"
        ) from error
    if not isinstance(value, dict):
        raise UsageError(
            f"{path} holds {type(value).__name__}", expected="a mapping of settings", todo="write `key: value` lines"
        )
    return value


def _usage_error(cls: type[Spec], error: ValidationError, where: str) -> UsageError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    more = f" ({error.error_count() - 1} more faults follow)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _fields_at(cls, first["loc"][:-1])
        near = nearest_name(str(first["loc"][-1]), known)
        return UsageError(
            f"unknown key {place!r} in {where}{more}",
            expected=f"keys of {cls.__name__}: {', '.join(sorted(known))}",
            todo=f"did you mean {near!r}?" if near else "remove the key",
        )
    return UsageError(
        f"{place} in {where} is {first.get('input')!r}: {first['msg']}{more}",
        expected=f"a valid {cls.__name__}",
        todo=f"correct {place!r}",
    )


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    model: Any = cls
    for part in loc:
        field = model.model_fields.get(str(part)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = field.annotation if field else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return list(cls.model_fields)
