"""Plain data: what JSON has by itself, the scalars that are written so, and the error for what does not fit.

*Plain* data is what `msgspec.json` writes and reads back unchanged: None, bool, int, finite float, str, list, dict.
A dict with the key "$" is a tag, `{"$": "float", "v": "nan"}`; no value of a user is ever written as such a dict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from types import CoroutineType
from typing import Any, Final, TypeGuard, cast

Convert = Callable[[object], object]

MAX_BITS: Final = 13_000
"""Longer integers are written in hexadecimal: Python refuses to read and write more than 4300 digits in decimal."""
AWAIT: Final = 'it was called and not awaited: write "await" before the call'
_ONLY_TEXT: Final = frozenset[type]({str})
SMALLEST: Final = -0x8000000000000000
LARGEST: Final = 0x7FFFFFFFFFFFFFFF


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
    right = AWAIT if isinstance(value, CoroutineType) else "convert the value, or change the annotation"
    return Trouble(
        f"declared {expected}, found {found}, which would not come back as the same type; {right}",
        expected=expected,
        found=found,
    )


def misread(expected: str, plain: object, why: str = "") -> Trouble:
    """Say that recorded data does not fit the declared type."""
    found = f"{short(plain)} ({why})" if why else short(plain)
    return Trouble(f"expected {expected}, found {found}", expected=expected, found=found)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether the value is a list, of no subclass."""
    return type(value) is list


def is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    """Tell whether the value is a tuple, of no subclass."""
    return type(value) is tuple


def is_dict(value: object) -> TypeGuard[dict[object, object]]:
    """Tell whether the value is a dict, of no subclass."""
    return type(value) is dict


def is_object(plain: object) -> TypeGuard[dict[str, object]]:
    """Tell whether the data is a JSON object."""
    return type(plain) is dict


def untag(plain: object, tag: str) -> object:
    """Give what is inside where the data bears this tag: it was recorded before the type was declared."""
    if is_object(plain) and plain.get("$") == tag:
        return plain.get("v")
    return plain


# ---- scalars


def scalar_check(kinds: frozenset[type]) -> Callable[[object], bool]:
    """Give the check whether a value is a scalar of one of these kinds that is written as it is."""

    def is_plain(value: object) -> bool:
        kind = type(value)
        if kind not in kinds:
            return False
        if type(value) is float:
            return math.isfinite(value)
        return type(value) is not int or SMALLEST <= value <= LARGEST

    return is_plain


def list_check(scalars: frozenset[type]) -> Callable[[object], bool]:
    """Give the check whether a value is a list of such scalars, none of which needs a tag. It says no to mixtures."""

    def is_plain(value: object) -> bool:
        return is_list(value) and _are_plain(value, scalars)

    return is_plain


def dict_check(scalars: frozenset[type]) -> Callable[[object], bool]:
    """Give the check whether a value is a dict of such scalars by text, and nothing in it needs a tag."""

    def is_plain(value: object) -> bool:
        if not is_dict(value) or not _ONLY_TEXT.issuperset(map(type, value)):
            return False
        return "$" not in "".join(cast("dict[str, object]", value)) and _are_plain(value.values(), scalars)

    return is_plain


def _are_plain(values: Collection[Any], scalars: frozenset[type]) -> bool:
    kinds = set[type](map(type, values))
    if not kinds <= scalars:
        return False
    if int in kinds and not (len(kinds) == 1 and min(values) >= SMALLEST and max(values) <= LARGEST):
        return False
    return float not in kinds or (len(kinds) == 1 and all(map(math.isfinite, values)))


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
    if SMALLEST <= value <= LARGEST or value.bit_length() < MAX_BITS:
        return value
    return {"$": "int", "v": hex(value)}


def decode_int(plain: object) -> object:
    if type(plain) is int:
        return plain
    inner = untag(plain, "int")
    if inner is plain or type(inner) is not str:
        raise misread("int", plain)
    return read("int", inner, _int_of_hex)


def _int_of_hex(text: str) -> object:
    return int(text, 16)


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
    if inner is plain or type(inner) is not str:
        raise misread("float", plain)
    return read("float", inner, float)


def encode_text(value: object) -> object:
    if type(value) is not str:
        raise unfit("str", value)
    if value.isascii() or is_unicode(value):
        return value
    return {"$": "str", "v": value.encode("unicode_escape").decode()}


def decode_text(plain: object) -> object:
    if type(plain) is str:
        return plain
    inner = untag(plain, "str")
    if type(inner) is not str:
        raise misread("str", plain)
    return read("str", inner, _unescaped)


def _unescaped(text: str) -> object:
    return text.encode("latin-1").decode("unicode_escape")


def is_unicode(text: str) -> bool:
    """Tell whether the text can be written in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def read(expected: str, text: str, parse: Callable[[str], object]) -> object:
    """Parse the text; whatever the parser raises means that it does not fit."""
    try:
        return parse(text)
    except RecursionError:
        raise
    except Exception as error:
        raise misread(expected, text, str(error)) from error
