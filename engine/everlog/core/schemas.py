"""Schemas: the JSON schema of a declared type, and whether data fits one as far as that can be told. Best effort.

What is not understood fits: a schema refuses what is surely wrong, before a person's answer is on its way; the type
itself has the last word where it is received.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
from msgspec import inspect

from everlog.core.plain import is_list, is_object, short
from everlog.core.records import UNION_TYPE, UNION_VALUE

_MOST: Final = 65_536
"""A schema of more bytes is left out."""


def schema_of(declared: object) -> bytes | None:
    """Give the JSON schema of a type as JSON text; None where there is none, or it says nothing."""
    try:
        return _cached(declared)
    except TypeError:  # not hashable
        return _made(declared)


def _made(declared: object) -> bytes | None:
    make: Callable[..., dict[str, Any]] | None = getattr(declared, "model_json_schema", None)
    try:
        schema = (
            make(by_alias=False) if make is not None else _alike(msgspec.json.schema(cast("Any", declared)), declared)
        )
        text = msgspec.json.encode(schema)
    except Exception:  # whatever a type of the user's raises, it has no schema then
        return None
    return text if schema and len(text) <= _MOST else None


_cached: Final = lru_cache(maxsize=1000)(_made)


def _alike(schema: dict[str, Any], declared: object) -> dict[str, Any]:
    """Give the schema as values are recorded: enums by name. None of what is recorded otherwise than msgspec would."""
    enums: dict[str, list[str]] = {}
    _look_at(msgspec.inspect.type_info(declared), enums, set())
    for name, definition in schema.get("$defs", {}).items():
        if "enum" in definition and name in enums:
            definition["enum"] = enums[name]
    return schema


def _look_at(info: object, enums: dict[str, list[str]], seen: set[int]) -> None:
    """Find the enums in a type; `TypeError` where something in it is recorded in a form of its own."""
    if isinstance(info, list | tuple):
        for one in cast("Sequence[object]", info):
            _look_at(one, enums, seen)
        return
    if id(info) in seen or not isinstance(info, inspect.Type | inspect.Field):
        return
    seen.add(id(info))
    if isinstance(info, inspect.Type) and not isinstance(info, _ALIKE):
        raise TypeError(info)
    if isinstance(info, inspect.EnumType):
        if issubclass(info.cls, enum.Flag):
            raise TypeError(info)
        enums[info.cls.__name__] = list(info.cls.__members__)
    if isinstance(info, inspect.DictType) and not isinstance(info.key_type, inspect.StrType):
        raise TypeError(info)
    for name in info.__struct_fields__:
        _look_at(getattr(info, name), enums, seen)


_ALIKE: Final = (
    inspect.AnyType,
    inspect.BoolType,
    inspect.DataclassType,
    inspect.DictType,
    inspect.EnumType,
    inspect.FloatType,
    inspect.IntType,
    inspect.ListType,
    inspect.LiteralType,
    inspect.Metadata,
    inspect.NoneType,
    inspect.StrType,
    inspect.StructType,
    inspect.TypedDictType,
    inspect.UnionType,
)
"""What is recorded as msgspec would write it, but for the members of enums."""


def misfit(schema: Mapping[str, Any], payload: bytes) -> str | None:
    """Say where recorded data does not fit a schema, and what is expected there; None where nothing is known to."""
    value: object = msgspec.json.decode(payload)
    if is_object(value) and UNION_TYPE in value:
        value = value.get(UNION_VALUE)
    return _misfit(schema, value, "$", schema.get("$defs", {}))


def _misfit(schema: Mapping[str, Any], value: object, path: str, known: Mapping[str, Any]) -> str | None:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _misfit(known[name], value, path, known) if name in known else None
    if is_object(value) and any(key.startswith("$") for key in value):
        return None  # a tagged value, which only its type can read
    if "anyOf" in schema:
        members: Sequence[Mapping[str, Any]] = schema["anyOf"]
        found = [_misfit(member, value, path, known) for member in members]
        if None in found:
            return None
        return found[0] if len(found) == 1 else f"at {path}: it is none of what may be there, found {short(value)}"
    if "const" in schema and schema["const"] != value:
        return f"at {path}: expected {short(schema['const'])}, found {short(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"at {path}: expected one of {', '.join(map(short, schema['enum']))}, found {short(value)}"
    expected = schema.get("type")
    if isinstance(expected, str) and expected in _IS and not _IS[expected](value):
        return f"at {path}: expected {_ARTICLES[expected]}, found {short(value)}"
    if is_object(value):
        return _misfit_of_object(schema, value, path, known)
    if is_list(value) and isinstance(schema.get("items"), dict) and "prefixItems" not in schema:
        items = (_misfit(schema["items"], item, f"{path}[{place}]", known) for place, item in enumerate(value))
        return next((problem for problem in items if problem is not None), None)
    return None


def _misfit_of_object(
    schema: Mapping[str, Any], value: Mapping[str, object], path: str, known: Mapping[str, Any]
) -> str | None:
    for name in schema.get("required", ()):
        if name not in value:
            return f"at {path}: {name!r} is missing"
    fields: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    for name, field in fields.items():
        if name in value:
            problem = _misfit(field, value[name], f"{path}.{name}", known)
            if problem is not None:
                return problem
    return None


def _is_number(value: object) -> bool:
    # Not a number, and the infinities, are objects with a tag.
    return isinstance(value, int | float) and not isinstance(value, bool)


_IS: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: _is_number(value) and value == int(cast("float", value)),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": is_list,
    "object": is_object,
}
_ARTICLES: Final[Mapping[str, str]] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
