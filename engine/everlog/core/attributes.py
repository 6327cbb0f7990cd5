"""Attributes: what is said of a workflow to find it by. Names with JSON scalars, one or several; no tables, no queries.

All that is given is brought into one *normal form*, in which two values are alike exactly where they are equal: numbers
that are whole are integers, several values are a tuple in which none occurs twice. What is compared and indexed is the
*text* of a scalar, its JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from msgspec import MsgspecError, json

from everlog.core.names import RESERVED
from everlog.errors import CorruptLog, UsageError

Scalar = str | int | float | bool
AttributeValue = Scalar | tuple[Scalar, ...]
"""One value, or several."""
Attributes = Mapping[str, AttributeValue]
AttributeChange = Mapping[str, AttributeValue | None]
"""New values by name; None takes the name away. What is not named stays."""
GivenAttributes = Mapping[str, Scalar | Sequence[Scalar] | None]
"""What users give: a name with None, or with an empty list, is one that is not to be there."""

NO_ATTRIBUTES: Final[Mapping[str, AttributeValue]] = {}  # a plain dict: stores encode what they are given
PARENT: Final = f"{RESERVED}parent"
"""The name under which stores are told who started a child."""
SOURCE: Final = f"{RESERVED}forked from"
"""The name under which stores are told of what a workflow is a fork."""

MOST: Final = 100
"""So many values may be given at once."""
LONGEST_NAME: Final = 100
LONGEST_TEXT: Final = 500
"""Bytes of the JSON text of one value: an index has to hold it."""
_INT_LIMIT: Final = 2**63
_scalars: Final[json.Decoder[Scalar]] = json.Decoder(Scalar)


def checked(given: object, *, what: str) -> dict[str, AttributeValue | None]:
    """Give attributes in normal form, in order of their names; `UsageError` naming `what` for what can be none."""
    if not isinstance(given, Mapping):
        raise UsageError(f"{what} must be a mapping of names to values, got {given!r}")
    found: dict[str, AttributeValue | None] = {}
    for name, value in cast("Mapping[object, object]", given).items():
        found[_checked_name(name, what)] = _normal(value, f"{what}: {name!r}")
    if sum(len(texts_of(value)) for value in found.values() if value is not None) > MOST:
        raise UsageError(f"{what} must be at most {MOST} values, got more; they are for finding, not for data")
    return dict(sorted(found.items()))


def changed(before: Attributes, change: AttributeChange) -> dict[str, AttributeValue]:
    """Give the attributes after a change, in order of their names."""
    after = {**before, **change}
    return {name: value for name, value in sorted(after.items()) if value is not None}


class Kept(NamedTuple):
    """What a store is told of a workflow, taken apart: its attributes, who started it, and of what it is a fork."""

    attributes: dict[str, AttributeValue]
    parent: str | None
    forked_from: str | None


def kept(attributes: Attributes, parent: str | None, forked_from: str | None = None) -> Attributes:
    """Give what a store is told of a workflow: its attributes, who started it, and of what it is a fork."""
    if parent is None and forked_from is None:
        return attributes
    own = {PARENT: parent, SOURCE: forked_from}
    return {**attributes, **{name: value for name, value in own.items() if value is not None}}


def taken_apart(kept: Attributes) -> Kept:
    """Give the parts of what a store was told."""
    own = {name: value for name, value in kept.items() if name in (PARENT, SOURCE) and isinstance(value, str)}
    attributes = {name: value for name, value in kept.items() if name not in (PARENT, SOURCE)}
    return Kept(attributes, own.get(PARENT), own.get(SOURCE))


def texts_of(value: AttributeValue) -> list[str]:
    """Give the texts of a value in normal form: one, or several."""
    scalars = value if isinstance(value, tuple) else (value,)
    return [json.encode(scalar).decode() for scalar in scalars]


def rows_of(attributes: AttributeChange) -> list[tuple[str, int, str]]:
    """Give the rows by which attributes are kept: name, place and text. What is alone is at place 0."""
    return [
        (name, place, text)
        for name, value in attributes.items()
        if value is not None
        for place, text in enumerate(texts_of(value), start=isinstance(value, tuple))
    ]


def from_rows(rows: Iterable[tuple[str, int, str]]) -> dict[str, AttributeValue]:
    """Give the attributes that these rows keep, in order of their names."""
    found: dict[str, AttributeValue] = {}
    for name, place, text in sorted(rows):
        value: Scalar = _read(text)
        before = found.get(name, ())
        found[name] = (*before, value) if place and isinstance(before, tuple) else value
    return found


def sought(given: object, *, what: str) -> dict[str, Sequence[str] | None]:
    """Give what a filter asks for: by name the texts of which one is to be there, None where there is to be none."""
    return {name: None if value is None else texts_of(value) for name, value in checked(given, what=what).items()}


def _read(text: str) -> Scalar:
    try:
        return _scalars.decode(text)
    except MsgspecError as error:
        raise CorruptLog(
            f"this is no value of an attribute that Everlog wrote: {text[:120]!r}; restore a backup"
        ) from error


def _checked_name(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"{what}: a name must be a string, got {name!r}")
    if not name or len(name) > LONGEST_NAME:
        raise UsageError(f"{what}: a name must have 1 to {LONGEST_NAME} characters, got {name[:40]!r}")
    if name.startswith(RESERVED):
        raise UsageError(f"{what}: names that begin with {RESERVED!r} are Everlog's own, got {name!r}; choose another")
    _check_text(name, f"{what}: the name")
    return name


def _normal(value: object, what: str) -> AttributeValue | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        several = tuple(_scalar(one, what) for one in cast("Sequence[object]", value))
        distinct = {json.encode(one): one for one in several}
        return tuple(distinct.values()) or None
    return _scalar(value, what)


def _scalar(value: object, what: str) -> Scalar:
    # Exactly these: an enum or another subclass would not come back as what it is.
    kind = type(value)
    if kind not in (str, int, float, bool):
        raise UsageError(
            f"{what} must be a string, a number, True or False, a list of such values, or None, got {value!r}"
            f" ({kind.__name__})"
        )
    scalar = cast("Any", value)
    if kind is str:
        _check_text(scalar, what)
    elif kind is float:
        if not math.isfinite(scalar):
            raise UsageError(f"{what} must be a finite number, got {value!r}")
        if scalar.is_integer() and abs(scalar) < _INT_LIMIT:
            scalar = int(scalar)
    elif kind is int and not -_INT_LIMIT <= scalar < _INT_LIMIT:
        raise UsageError(f"{what} must be a whole number of at most 64 bits, got {value!r}; give it as a string")
    if len(json.encode(scalar)) > LONGEST_TEXT:
        raise UsageError(f"{what} must have at most {LONGEST_TEXT} bytes as JSON, got {str(scalar)[:40]!r}...")
    return cast("Scalar", scalar)


def _check_text(text: str, what: str) -> None:
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what} must not contain NUL or lone surrogates, got {text[:60]!r}")
