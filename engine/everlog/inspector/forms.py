"""Forms: the fields of a form for a value of a JSON schema, and the value that a person gave in them. No HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from everlog.core.plain import is_object
from everlog.errors import UsageError

Control = Literal["line", "number", "choice", "switch", "json"]

PREFIX: Final = "field."
"""What the names of fields begin with in a form."""
WHOLE: Final = "value"
"""The name of the one field of what is no object."""
_ABSENT: Final = object()


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field. `choices` are JSON texts; `hint` says what is expected."""

    name: str
    label: str
    control: Control
    required: bool
    hint: str
    given: str = ""
    choices: Sequence[tuple[str, str]] = ()


def fields_of(schema: Mapping[str, Any] | None) -> list[Field]:
    """Give the fields for a value: one for each member of an object, or one for the whole."""
    schema = {} if schema is None else schema
    found = _resolved(schema, schema)
    members = found.get("properties")
    if found.get("type") == "object" and is_object(members) and members:
        required = found.get("required", ())
        return [
            _field(PREFIX + name, str(member.get("title", name)), member, schema, name in required)
            for name, member in cast("Mapping[str, Mapping[str, Any]]", members).items()
        ]
    return [_field(PREFIX + WHOLE, "answer", schema, schema, True)]


def value_of(schema: Mapping[str, Any] | None, form: Mapping[str, Sequence[str]]) -> object:
    """Give the value that a form says. Raises `UsageError` naming the field that cannot be read."""
    fields = fields_of(schema)
    given = {one.name: _read(one, form.get(one.name, ())) for one in fields}
    if len(fields) == 1 and fields[0].name == PREFIX + WHOLE and not _is_member(schema):
        return given[PREFIX + WHOLE]
    return {name.removeprefix(PREFIX): value for name, value in given.items() if value is not _ABSENT}


def json_value(text: str, what: str) -> object:
    """Give what a text says in JSON; `UsageError` naming `what` where it is none."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(f'{what} is no JSON ({error}); a text has quotation marks: "yes"') from error


def _is_member(schema: Mapping[str, Any] | None) -> bool:
    found = _resolved(schema or {}, schema or {})
    return found.get("type") == "object" and WHOLE in found.get("properties", {})


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and take the one member of a union with null."""
    for _ in range(10):
        if "$ref" in part:
            name = str(part["$ref"]).rpartition("/")[2]
            part = schema.get("$defs", {}).get(name, {})
        elif len(others := [one for one in part.get("anyOf", ()) if one.get("type") != "null"]) == 1:
            part = others[0]
        else:
            break
    return part


def _field(name: str, label: str, part: Mapping[str, Any], schema: Mapping[str, Any], required: bool) -> Field:
    found = _resolved(part, schema)
    default = part.get("default", _ABSENT)
    nullable = any(one.get("type") == "null" for one in part.get("anyOf", ()))
    required = required and not nullable
    choices: list[tuple[str, str]] = []
    given = "" if default in (_ABSENT, None) else _text(default)
    values = [found["const"]] if "const" in found else found.get("enum")
    if isinstance(values, list):
        control: Control = "choice"
        choices = [(_json(value), str(value)) for value in cast("list[object]", values)]
        given = "" if default is _ABSENT else _json(default)
        hint = ""
    elif found.get("type") == "boolean":
        control, hint = "switch", ""
        choices = [("true", "yes"), ("false", "no")]
        given = "" if default is _ABSENT else _json(default)
    elif found.get("type") in ("integer", "number"):
        control, hint = "number", "a whole number" if found["type"] == "integer" else "a number"
    elif found.get("type") == "string":
        control, hint = "line", "text"
    else:
        control, hint = "json", "JSON"
        given = "" if default is _ABSENT else _json(default)
    return Field(
        name=name, label=label, control=control, required=required, hint=hint, given=given, choices=tuple(choices)
    )


def _read(field: Field, given: Sequence[str]) -> object:
    text = given[0] if given else ""
    if text == "" and (not field.required or not given):
        if field.required:
            raise UsageError(f"{field.label} is missing")
        return _ABSENT
    match field.control:
        case "line":
            return text
        case "choice" | "switch":
            if text not in [value for value, _ in field.choices]:
                raise UsageError(f"{field.label} is none of what may be chosen: {text[:60]!r}")
            return msgspec.json.decode(text)
        case "number":
            found = json_value(text.strip(), field.label)
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise UsageError(f"{field.label} must be {field.hint}, got {text[:60]!r}")
            return found
        case "json":
            return json_value(text, field.label)


def _text(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
