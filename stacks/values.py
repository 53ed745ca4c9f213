"""Values of a configuration file, checked against the fields of a class."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final

_BOOLEANS: Final = {"true": True, "false": False}


class ContextError(Exception):
    """The configuration is invalid. The message lists every mistake."""


def typed(
    kind: type, given: Mapping[str, Any], mistakes: list[str], *, reserved: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the given values for the fields of a class, converted to their types; add errors to
    `mistakes`."""
    types = {field.name: field.type for field in fields(kind) if field.name not in reserved}
    return typed_as(types, given, mistakes)


def typed_as(
    types: Mapping[str, Any], given: Mapping[str, Any], mistakes: list[str]
) -> dict[str, Any]:
    """Return the given values with a declared type, converted to it; add errors to `mistakes`."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in types:
            near = get_close_matches(key, types, n=1)
            mistakes.append(
                f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else "")
            )
            continue
        converted = (
            _BOOLEANS.get(value, value) if types[key] is bool and isinstance(value, str) else value
        )
        if type(converted) is types[key]:
            values[key] = converted
        else:
            wanted = {bool: "true or false", int: "an integer", str: "a string"}[types[key]]
            mistakes.append(f"{key} must be {wanted}, not {value!r}")
    return values
