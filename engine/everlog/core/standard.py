"""Standard types that JSON lacks: each is written as one string, under a tag where nothing declares its type."""

from __future__ import annotations

import datetime as dt
import ipaddress
import pathlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
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
        return self._text(value)

    def decode(self, plain: object) -> object:
        inner = untag(plain, self.tag)
        text = decode_text(inner) if is_object(inner) else inner
        if type(text) is not str:
            raise misread(type_text(self.kind), plain)
        return read(type_text(self.kind), text, self.of_text)

    def encode_tagged(self, value: object) -> object:
        return {"$": self.tag, "v": self._text(value)}

    def _text(self, value: object) -> object:
        try:
            return self.to_text(value)
        except (Trouble, RecursionError):
            raise
        except Exception as error:  # above all integers of more digits than Python is willing to write
            raise Trouble(f"{short(value)} cannot be written as text: {error}") from error


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


def _range_to_text(value: object) -> str:
    assert isinstance(value, range)
    return f"{value.start}:{value.stop}:{value.step}"


def _range_of(text: str) -> range:
    return range(*map(int, text.split(":")))


def _zone_to_text(value: object) -> str:
    assert isinstance(value, ZoneInfo)
    if not _has_name(value):
        raise Trouble("a time zone that was read from a file has no name to be recorded by")
    return value.key


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
    Standard(ZoneInfo, "zone", _zone_to_text, ZoneInfo),
    Standard(complex, "complex", repr, complex),
    Standard(Fraction, "fraction", str, Fraction),
    Standard(range, "range", _range_to_text, _range_of),
    Standard(ipaddress.IPv4Address, "ipv4_address", str, ipaddress.IPv4Address),
    Standard(ipaddress.IPv6Address, "ipv6_address", str, ipaddress.IPv6Address),
    Standard(ipaddress.IPv4Network, "ipv4_network", str, ipaddress.IPv4Network),
    Standard(ipaddress.IPv6Network, "ipv6_network", str, ipaddress.IPv6Network),
    Standard(ipaddress.IPv4Interface, "ipv4_interface", str, ipaddress.IPv4Interface),
    Standard(ipaddress.IPv6Interface, "ipv6_interface", str, ipaddress.IPv6Interface),
    Standard(type(pathlib.Path()), "path", _path_to_text, pathlib.Path),
    Standard(pathlib.PurePosixPath, "pure_posix_path", _path_to_text, pathlib.PurePosixPath),
    Standard(pathlib.PureWindowsPath, "pure_windows_path", _path_to_text, pathlib.PureWindowsPath),
)
