"""Prepared statements that go past the driver's cursors: for commits, of which a cursor would be half the cost. No SQL.

They take arrays as `arrays` encodes them, texts, numbers and truth values, and give texts and numbers.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from struct import pack
from typing import Any, Final

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from everlog_postgres.arrays import BigintArray, BoolArray, TextArray

_NAMED: Final = re.compile(r"%\((\w+)\)s")
_TYPES: Final[Mapping[type, int]] = {
    bool: 16,
    int: 20,
    str: 25,
    TextArray: 1009,
    BigintArray: 1016,
    BoolArray: 1000,
}
_NUMBERS: Final = (20, 21, 23)


class PreparedStatement:
    """A statement with named parameters, as the server numbers them."""

    def __init__(self, sql: bytes) -> None:
        text = sql.decode()
        self.names: Final = tuple(dict.fromkeys(_NAMED.findall(text)))
        place = {name: f"${number}" for number, name in enumerate(self.names, start=1)}
        self.sql: Final = _NAMED.sub(lambda found: place[found[1]], text).encode()
        self.name: Final = f"everlog_{zlib.crc32(self.sql):08x}".encode()
        self._formats: Final = [1] * len(self.names)

    def prepare(self, driver: psycopg.Connection[Any], parameters: Mapping[str, object]) -> None:
        """Have the server plan it, for parameters of these types."""
        types = [_TYPES[type(parameters[name])] for name in self.names]
        _check(driver.pgconn.prepare(self.name, self.sql, types), ExecStatus.COMMAND_OK)

    def run(self, driver: psycopg.Connection[Any], parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run it and give its rows. Other threads run while the server works."""
        values = [_encoded(parameters[name]) for name in self.names]
        result = driver.pgconn.exec_prepared(self.name, values, self._formats, 0)
        _check(result, ExecStatus.TUPLES_OK)
        width = range(result.nfields)
        return [tuple(_loaded(result, row, column) for column in width) for row in range(result.ntuples)]


def _encoded(value: object) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case bool():
            return b"\x01" if value else b"\x00"
        case int():
            return pack("!q", value)
        case _:
            raise TypeError(f"a prepared statement takes arrays, texts, numbers and truth values, not {value!r}")


def _loaded(result: PGresult, row: int, column: int) -> str | int | None:
    value = result.get_value(row, column)
    if value is None:
        return None
    return int(value) if result.ftype(column) in _NUMBERS else value.decode()


def _check(result: PGresult, expected: ExecStatus) -> None:
    if result.status != expected:
        raise error_from_result(result, encoding="utf-8")
