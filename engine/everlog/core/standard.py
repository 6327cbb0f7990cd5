"""Standard types that JSON lacks: each is written as one string, under a tag where nothing declares its type."""

from __future__ import annotations

import datetime as dt
import pathlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from everlog.core.plain import (
    Trouble,
    decode_text,
    encode_text,
    is_object,
    misread,
    read,
    short,
    type_text,
    unfit,
    untag,
)


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
        text = decode_text(inner) if is_object(inner) else inner
        if type(text) is not str:
            raise misread(type_text(self.kind), plain)
        return read(type_text(self.kind), text, self.of_text)

    def encode_tagged(self, value: object) -> object:
        return {"$": self.tag, "v": self.to_text(value)}


def _zoned_to_text(value: object) -> str:
    """Write a datetime or time in ISO 8601, followed by the zone's name and the fold in brackets (RFC 9557)."""
    assert isinstance(value, (dt.datetime, dt.time))
    text = value.isoformat()
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and _has_name(zone):
        text += f"[{zone.key}]"
    elif zone is not None:
        offset = zone.utcoffset(None)
        if offset is None or offset.microseconds:  # Python misreads offsets of less than a second
            raise Trouble(
                f"the time zone {short(zone)} has no encoding; use a datetime.timezone of whole seconds or a "
                "zoneinfo.ZoneInfo of a name"
            )
    return f"{text}[fold=1]" if value.fold else text


def _has_name(zone: ZoneInfo) -> bool:
    return isinstance(cast("object", zone.key), str)  # None where the zone was read from a file


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


def _bytes_of(text: str) -> bytes:
    return b64decode(text, validate=True)


def _bytearray_of(text: str) -> bytearray:
    return bytearray(_bytes_of(text))


def _timedelta_of(text: str) -> dt.timedelta:
    return msgspec.convert(text, dt.timedelta)


STANDARD: Final = (
    Standard(bytes, "bytes", _bytes_to_text, _bytes_of),
    Standard(bytearray, "bytearray", _bytes_to_text, _bytearray_of),
    Standard(dt.datetime, "datetime", _zoned_to_text, _datetime_of),
    Standard(dt.date, "date", str, dt.date.fromisoformat),
    Standard(dt.time, "time", _zoned_to_text, _time_of),
    Standard(dt.timedelta, "timedelta", msgspec.to_builtins, _timedelta_of),
    Standard(Decimal, "decimal", str, Decimal),
    Standard(UUID, "uuid", str, UUID),
    Standard(type(pathlib.Path()), "path", _path_to_text, pathlib.Path),
    Standard(pathlib.PurePosixPath, "pure_posix_path", _path_to_text, pathlib.PurePosixPath),
    Standard(pathlib.PureWindowsPath, "pure_windows_path", _path_to_text, pathlib.PureWindowsPath),
)
