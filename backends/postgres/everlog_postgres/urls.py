"""The URL of a store, taken apart: what is for the driver, what is for us, and how errors name the database."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict

from everlog.errors import UsageError

DEFAULT_SCHEMA: Final = "everlog"
_SCHEMES: Final = ("postgresql", "postgres")
_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
_EXAMPLE: Final = "write postgresql://user:password@host:port/database, and options after a ?"

Switch = Literal["on", "off"]


class Target(Struct, frozen=True, kw_only=True):
    """Which database, which schema of it, and how it is to be used.

    `conninfo` may hold a password; `name` does not. `given` are the names of the driver's options that are set.
    `prepare` says whether statements and settings stay from one transaction to the next; None, that it is to be found
    out.
    """

    conninfo: str
    given: frozenset[str]
    name: str
    schema: str
    prepare: bool | None
    push: bool
    migrate: bool


def parse(url: str) -> Target:
    """Take a URL apart. Raises `UsageError` that never shows a password."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise UsageError(f"{parts.scheme!r} is not the scheme of a Postgres database: {_EXAMPLE}")
    ours: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in ("schema", "prepare", "push", "migrate"):
            ours[key] = value
        else:
            theirs.append((key, value))
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        raise UsageError(f"the schema {schema!r} has no plain name: use letters, digits and _, at most 48")
    conninfo = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(theirs, quote_via=quote), ""))
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    except psycopg.Error as error:
        raise UsageError(f"the URL of the Postgres database cannot be read: {error}; {_EXAMPLE}") from None
    return Target(
        conninfo=conninfo,
        given=frozenset(given),
        name=f"the Postgres database {given.get('dbname', '')!r} on {given.get('host', 'this machine')!r}",
        schema=schema,
        prepare=_switch(ours, "prepare") if "prepare" in ours else None,
        push=_switch(ours, "push"),
        migrate=_switch(ours, "migrate"),
    )


def _switch(options: dict[str, str], key: str) -> bool:
    value = options.get(key, "on")
    if value not in ("on", "off"):
        raise UsageError(f"the option {key}={value!r} in the URL of the Postgres database must be on or off")
    return value == "on"
