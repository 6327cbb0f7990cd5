"""Codec: values to recorded bytes, JSON text in UTF-8, and back to values of the same types. No storage."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Protocol

import msgspec

from everlog.core.plain import Trouble, is_list, is_object
from everlog.core.records import UNION_TYPE, UNION_VALUE
from everlog.core.sealed import BEGINNING, unopened
from everlog.core.shapes import UNTYPED, shape_of
from everlog.core.tagged import encode_untyped, is_declarable
from everlog.core.unions import Shape
from everlog.errors import CorruptLog, NotEncodable, UsageError

ANY: Final[object] = Any
"""The declared type of a value for which none is declared."""


class _Self:
    """Stands for the type of the value itself."""


SELF: Final[object] = _Self
"""The declared type of a value that is sent to a reader who declares it: a user's class is recorded with its name."""

to_json: Final = msgspec.json.Encoder().encode
_of_json: Final = msgspec.json.Decoder().decode
_to_sorted_json: Final = msgspec.json.Encoder(order="sorted").encode


class Mismatch(UsageError):
    """What was recorded does not fit the type that is declared now.

    `path` leads to the place, `expected` names the type that is declared there, `found` shows what was recorded.
    """

    def __init__(self, message: str, *, path: str = "", expected: str = "", found: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.expected = expected
        self.found = found


class Codec(Protocol):
    """Turns values into recorded bytes and back. Pure: the same value gives the same bytes in every process."""

    def encode(self, value: object, declared: object = ANY, *, what: str = "value") -> bytes:
        """Give the value as JSON text in UTF-8.

        What `decode` gives for it with the same `declared` equals the value and has its types throughout; where
        that cannot be, `NotEncodable` names `what` and the path. An int where a float is declared becomes a float.
        """
        ...

    def decode(self, payload: bytes, declared: object = ANY, *, what: str = "value") -> object:
        """Rebuild the value, sharing nothing with any other.

        `CorruptLog` where the payload is not JSON, `Mismatch` where it does not fit `declared`, `PayloadUnavailable`
        where what it takes to read it is not here. A payload that was
        encoded under an earlier form of the type fits while fields were only added with defaults, or removed.
        """
        ...


class JsonCodec:
    """The default codec, directed by the declared type; see `everlog.core.shapes` for the types that it knows."""

    def encode(self, value: object, declared: object = ANY, *, what: str = "value") -> bytes:
        try:
            shape = declared if type(declared) is Shape else shape_of(declared)
            if shape.is_plain is not None and shape.is_plain(value):
                try:
                    return to_json(value)
                except ValueError:  # lone surrogates, which are written otherwise
                    pass
            return to_json(_with_name(value) if declared is SELF else shape.encode(value))
        except Trouble as trouble:
            raise NotEncodable(f"{what}, at {trouble.path}: {trouble.problem}") from trouble.__cause__
        except UnicodeEncodeError as error:
            raise NotEncodable(f"{what}: the name of a field or key in it is no valid Unicode ({error})") from error
        except RecursionError:
            raise NotEncodable(f"{what}: it is nested too deeply to be recorded, or contains itself") from None

    def decode(self, payload: bytes, declared: object = ANY, *, what: str = "value") -> object:
        try:
            plain: object = _of_json(payload)
        except (ValueError, RecursionError) as error:  # msgspec's own errors and UnicodeDecodeError are ValueErrors
            raise _corrupt(payload, what, error) from error
        try:
            shape = declared if type(declared) is Shape else shape_of(declared)
            if shape.is_plain is not None and shape.is_plain(plain):
                return plain
            if payload.startswith(BEGINNING):
                raise unopened(payload, what)
            if shape is UNTYPED and not (b"$" in payload or b"\\u0024" in payload):  # so that nothing bears a tag
                return plain
            return _named(plain, shape) if is_object(plain) else shape.decode(plain)
        except Trouble as trouble:
            raise Mismatch(
                f"{what}, at {trouble.path}: {trouble.problem}; it was recorded under another declaration, or "
                "sent as something else: declare what it is, and give new fields a default",
                path=trouble.path,
                expected=trouble.expected,
                found=trouble.found,
            ) from trouble.__cause__
        except RecursionError:
            raise Mismatch(f"{what}: it is nested too deeply to be read here") from None


def _with_name(value: object) -> object:
    if not is_declarable(type(value)):
        return encode_untyped(value)
    shape = shape_of(type(value))
    return {UNION_TYPE: shape.name, UNION_VALUE: shape.encode(value)}


def _named(plain: object, shape: Shape) -> object:
    """Decode, by the member that the data names where it names one."""
    if is_object(plain) and UNION_TYPE in plain:
        name = plain[UNION_TYPE]
        for member in shape.members:
            if name in (member.name, member.full):
                return member.decode(plain.get(UNION_VALUE))
    return shape.decode(plain)


def _corrupt(payload: bytes, what: str, error: Exception) -> CorruptLog:
    return CorruptLog(f"{what}: the recorded payload is not JSON: {payload[:120]!r} ({error})")


def canonical(payload: bytes) -> bytes:
    """Give the one form of all JSON texts of the same meaning, for comparing; `CorruptLog` where it is not JSON.

    The order of the keys of a dict has no meaning here, whatever the keys are.
    """
    try:
        plain: object = _of_json(payload)
    except (ValueError, RecursionError) as error:
        raise _corrupt(payload, "value", error) from error
    return _to_sorted_json(_ordered(plain) if b'"dict"' in payload else plain)


def _ordered(plain: object) -> object:
    """Sort the pairs of tagged dicts."""
    if is_list(plain):
        return [_ordered(item) for item in plain]
    if not is_object(plain):
        return plain
    ordered = {key: _ordered(item) for key, item in plain.items()}
    pairs = ordered.get("v")
    if ordered.get("$") == "dict" and is_list(pairs):
        ordered["v"] = sorted(pairs, key=_to_sorted_json)
    return ordered


def digest(payload: bytes) -> str:
    """Give 32 hexadecimal characters that are equal for payloads of the same meaning."""
    return hashlib.sha256(canonical(payload)).hexdigest()[:32]
