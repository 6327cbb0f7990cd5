"""Values without a declared type <-> plain JSON data: JSON's own types as they are, standard types under a tag.

The tag is an object `{"$": "datetime", "v": ...}`. A dict with a key that JSON or the tags would confuse is written as
a tagged list of pairs, so that no value of a user is ever taken for a tag. User classes are not encoded here.

*Plain* data is what `msgspec.json` writes and reads back unchanged: None, bool, int, finite float, str, list, dict.
"""

from __future__ import annotations

import datetime as dt
import math
import pathlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from decimal import Decimal
from types import NoneType
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

Convert = Callable[[object], object]

_MAX_DIGITS: Final = 4000
"""Longer integers are written in hexadecimal: Python refuses to read and write them in decimal."""

_MAX_BITS: Final = 13_000
_sort_key: Final = msgspec.json.Encoder(order="sorted").encode


class Trouble(Exception):
    """A value does not fit, or has no encoding. Collects the path to it on its way out; never leaves the codec."""

    def __init__(self, problem: str, *, expected: str = "", found: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.found = found
        self._steps: list[str] = []

    def under(self, step: object) -> None:
        """Put one more step before the path: a field or key by name, an index by number."""
        if isinstance(step, str) and step.isidentifier():
            self._steps.append(f".{step}")
        else:
            self._steps.append(f"[{short(step)}]")

    @property
    def path(self) -> str:
        return "$" + "".join(reversed(self._steps))


def short(value: object) -> str:
    """Give the value as text for a message; its type where that is long or fails."""
    try:
        text = repr(value)
    except Exception:
        return f"<{type_text(type(value))}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def type_text(kind: type) -> str:
    """Give the type's name as a user writes it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def unfit(expected: str, value: object) -> Trouble:
    """Say that a value to be encoded is not of the declared type."""
    found = f"{type_text(type(value))} ({short(value)})"
    return Trouble(
        f"declared {expected}, found {found}, which would not come back as the same type; "
        "convert the value, or change the annotation",
        expected=expected,
        found=found,
    )


def misread(expected: str, plain: object, why: str = "") -> Trouble:
    """Say that recorded data does not fit the declared type."""
    found = f"{short(plain)} ({why})" if why else short(plain)
    return Trouble(f"expected {expected}, found {found}", expected=expected, found=found)


def untag(plain: object, tag: str) -> object:
    """Give what is inside where the data bears this tag: it was recorded before the type was declared."""
    if type(plain) is dict and plain.get("$") == tag:
        return plain.get("v")
    return plain


# ---- scalars


def encode_none(value: object) -> object:
    if value is not None:
        raise unfit("None", value)
    return None


def decode_none(plain: object) -> object:
    if plain is not None:
        raise misread("None", plain)
    return None


def encode_bool(value: object) -> object:
    if type(value) is not bool:
        raise unfit("bool", value)
    return value


def decode_bool(plain: object) -> object:
    if type(plain) is not bool:
        raise misread("bool", plain)
    return plain


def encode_int(value: object) -> object:
    if type(value) is not int:
        raise unfit("int", value)
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF or value.bit_length() < _MAX_BITS:
        return value
    return {"$": "int", "v": hex(value)}


def decode_int(plain: object) -> object:
    if type(plain) is int:
        return plain
    inner = untag(plain, "int")
    if type(inner) is not str:
        raise misread("int", plain)
    return _read("int", inner, lambda text: int(text, 16))


def encode_float(value: object) -> object:
    if type(value) is float:
        return value if math.isfinite(value) else {"$": "float", "v": repr(value)}
    if type(value) is int:
        return _float_of(value)
    raise unfit("float", value)


def _float_of(value: int) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise unfit("float", value) from None
    if number != value:
        raise unfit("float", value)
    return number


def decode_float(plain: object) -> object:
    if type(plain) is float:
        return plain
    if type(plain) is int:
        return _float_of(plain)
    inner = untag(plain, "float")
    if type(inner) is not str:
        raise misread("float", plain)
    return _read("float", inner, float)


def encode_text(value: object) -> object:
    if type(value) is not str:
        raise unfit("str", value)
    if value.isascii() or _is_unicode(value):
        return value
    return {"$": "str", "v": value.encode("unicode_escape").decode()}


def decode_text(plain: object) -> object:
    if type(plain) is str:
        return plain
    inner = untag(plain, "str")
    if type(inner) is not str:
        raise misread("str", plain)
    return _read("str", inner, lambda text: text.encode("latin-1").decode("unicode_escape"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def _read(expected: str, text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except Exception as error:
        raise misread(expected, text, str(error)) from error


# ---- standard types, written as one string


class Standard(NamedTuple):
    """How one standard type is written as a string."""

    kind: type
    tag: str
    to_text: Callable[[object], object]
    of_text: Callable[[str], object]

    def encode(self, value: object) -> object:
        if type(value) is not self.kind:
            raise unfit(type_text(self.kind), value)
        return self.to_text(value)

    def decode(self, plain: object) -> object:
        inner = untag(plain, self.tag)
        text = decode_text(inner) if type(inner) is dict else inner
        if type(text) is not str:
            raise misread(type_text(self.kind), plain)
        return _read(type_text(self.kind), text, self.of_text)

    def encode_tagged(self, value: object) -> object:
        return {"$": self.tag, "v": self.to_text(value)}


def _zoned_to_text(value: object) -> str:
    """Write a datetime or time in ISO 8601, followed by the zone's name and the fold in brackets (RFC 9557)."""
    assert isinstance(value, (dt.datetime, dt.time))
    text = value.isoformat()
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        text += f"[{zone.key}]"
    elif zone is not None:
        offset = zone.utcoffset(None)
        if offset is None or offset.microseconds:  # Python misreads offsets of less than a second
            raise Trouble(
                f"the time zone {short(zone)} has no encoding; use a datetime.timezone of whole seconds or a "
                "zoneinfo.ZoneInfo of a name"
            )
    return f"{text}[fold=1]" if value.fold else text


def _datetime_of(text: str) -> object:
    text, zone, fold = _without_brackets(text)
    value = dt.datetime.fromisoformat(text).replace(fold=fold)
    return value.replace(tzinfo=ZoneInfo(zone)) if zone else value


def _time_of(text: str) -> object:
    text, zone, fold = _without_brackets(text)
    value = dt.time.fromisoformat(text).replace(fold=fold)
    return value.replace(tzinfo=ZoneInfo(zone)) if zone else value


def _without_brackets(text: str) -> tuple[str, str, int]:
    fold = text.endswith("[fold=1]")
    text, _, zone = text.removesuffix("[fold=1]").partition("[")
    return text, zone.removesuffix("]"), int(fold)


def _bytes_to_text(value: object) -> str:
    assert isinstance(value, (bytes, bytearray))
    return b64encode(value).decode()


def _path_to_text(value: object) -> object:
    return encode_text(str(value))


STANDARD: Final = tuple(
    Standard(*row)
    for row in (
        (bytes, "bytes", _bytes_to_text, lambda text: b64decode(text, validate=True)),
        (bytearray, "bytearray", _bytes_to_text, lambda text: bytearray(b64decode(text, validate=True))),
        (dt.datetime, "datetime", _zoned_to_text, _datetime_of),
        (dt.date, "date", str, dt.date.fromisoformat),
        (dt.time, "time", _zoned_to_text, _time_of),
        (dt.timedelta, "timedelta", msgspec.to_builtins, lambda text: msgspec.convert(text, dt.timedelta)),
        (Decimal, "decimal", str, Decimal),
        (UUID, "uuid", str, UUID),
        (type(pathlib.Path()), "path", _path_to_text, pathlib.Path),
        (pathlib.PurePosixPath, "pure_posix_path", _path_to_text, pathlib.PurePosixPath),
        (pathlib.PureWindowsPath, "pure_windows_path", _path_to_text, pathlib.PureWindowsPath),
    )
)


# ---- containers, over any way to convert their items


def encode_each(items: Iterable[object], encode: Convert) -> list[object]:
    """Encode the items in order."""
    out: list[object] = []
    try:
        for item in items:
            out.append(encode(item))
    except Trouble as trouble:
        trouble.under(len(out))
        raise
    return out


decode_each: Final = encode_each
"""Decode the items in order: the same walk, with the other converter."""


def encode_set(items: Iterable[object], encode: Convert) -> list[object]:
    """Encode the items in the order of their encodings, the same in every process."""
    return sorted(encode_each(items, encode), key=_sort_key)


def encode_dict(value: dict[object, object], encode_key: Convert, encode_item: Convert) -> dict[str, object]:
    """Encode as a JSON object where the keys allow it, otherwise as tagged pairs."""
    out: dict[str, object] = {}
    key: object = None
    try:
        for key, item in value.items():
            name = key if type(key) is str and encode_key is encode_untyped else encode_key(key)
            if type(name) is not str or type(key) is not str or not _is_plain_key(name):
                return _encode_pairs(value, encode_key, encode_item)
            out[name] = encode_item(item)
    except Trouble as trouble:
        trouble.under(key)
        raise
    return out


def _is_plain_key(name: str) -> bool:
    return name[:1] != "$" and (name.isascii() or _is_unicode(name))


def _encode_pairs(value: dict[object, object], encode_key: Convert, encode_item: Convert) -> dict[str, object]:
    pairs: list[list[object]] = []
    for key, item in value.items():
        try:
            pairs.append([encode_key(key), encode_item(item)])
        except Trouble as trouble:
            trouble.under(key)
            raise
    return {"$": "dict", "v": pairs}


def decode_dict(plain: object, decode_key: Convert, decode_item: Convert) -> dict[object, object]:
    """Rebuild a dict from an object or from tagged pairs."""
    if type(plain) is not dict:
        raise misread("dict", plain)
    key: object = None
    out: dict[object, object] = {}
    try:
        if "$" not in plain:
            for key, item in plain.items():
                out[decode_key(key)] = decode_item(item)
            return out
        pairs = untag(plain, "dict")
        if type(pairs) is not list:
            raise misread("dict", plain)
        for key, item in pairs:
            out[decode_key(key)] = decode_item(item)
    except Trouble as trouble:
        trouble.under(key)
        raise
    except (ValueError, TypeError) as error:  # no pair, or a key that cannot be hashed
        raise misread("dict", plain, str(error)) from error
    return out


def build_set(kind: type, plain: object, decode: Convert) -> object:
    """Rebuild a set or frozenset from a list."""
    if type(plain) is not list:
        raise misread(kind.__name__, plain)
    try:
        return kind(decode_each(plain, decode))
    except TypeError as error:  # an item that cannot be hashed
        raise misread(kind.__name__, plain, str(error)) from error


# ---- the untyped encoding


def encode_untyped(value: object) -> object:
    """Give a JSON or standard value as plain data; `Trouble` where it, or anything inside, is neither."""
    encode = _ENCODERS.get(type(value))
    if encode is None:
        raise _without_encoding(value)
    return encode(value)


def decode_untyped(plain: object) -> object:
    """Rebuild what `encode_untyped` was given."""
    if type(plain) is list:
        return decode_each(plain, decode_untyped)
    if type(plain) is not dict:
        return plain
    if "$" not in plain:
        return decode_dict(plain, decode_untyped, decode_untyped)
    tag = plain["$"]
    decode = _DECODERS.get(tag) if type(tag) is str else None
    if decode is None:
        raise misread("a tag of this version of Everlog", tag)
    return decode(plain)


def _without_encoding(value: object) -> Trouble:
    kind = type(value)
    name = type_text(kind)
    if is_declarable(kind):
        return Trouble(
            f"{name} can only be recorded where it is declared; annotate the parameter, field or return value with "
            "it (an annotation that cannot be resolved at run time, such as a name imported only for type checking, "
            "counts as none)"
        )
    return Trouble(f"{name} has no encoding; pass what identifies or describes it, such as an id or a path")


def is_declarable(kind: type) -> bool:
    """Tell whether instances of the class can be recorded where it is the declared type."""
    marks = ("__struct_fields__", "__dataclass_fields__", "__pydantic_serializer__", "__attrs_attrs__", "__members__")
    return any(hasattr(kind, mark) for mark in marks) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _encode_list(value: object) -> object:
    assert type(value) is list
    return encode_each(value, encode_untyped)


def _encode_tuple(value: object) -> object:
    assert type(value) is tuple
    return {"$": "tuple", "v": encode_each(value, encode_untyped)}


def _encode_set(value: object) -> object:
    assert type(value) is set or type(value) is frozenset
    return {"$": type(value).__name__, "v": encode_set(value, encode_untyped)}


def _encode_dict(value: object) -> object:
    assert type(value) is dict
    return encode_dict(value, encode_untyped, encode_untyped)


def _decode_tuple(plain: object) -> object:
    items = untag(plain, "tuple")
    if type(items) is not list:
        raise misread("tuple", plain)
    return tuple(decode_each(items, decode_untyped))


_ENCODERS: Final[dict[type, Convert]] = {
    NoneType: encode_none,
    bool: encode_bool,
    int: encode_int,
    float: encode_float,
    str: encode_text,
    list: _encode_list,
    tuple: _encode_tuple,
    set: _encode_set,
    frozenset: _encode_set,
    dict: _encode_dict,
    **{standard.kind: standard.encode_tagged for standard in STANDARD},
}

_DECODERS: Final[dict[str, Convert]] = {
    "int": decode_int,
    "float": decode_float,
    "str": decode_text,
    "tuple": _decode_tuple,
    "set": lambda plain: build_set(set, untag(plain, "set"), decode_untyped),
    "frozenset": lambda plain: build_set(frozenset, untag(plain, "frozenset"), decode_untyped),
    "dict": lambda plain: decode_dict(plain, decode_untyped, decode_untyped),
    **{standard.tag: standard.decode for standard in STANDARD},
}
