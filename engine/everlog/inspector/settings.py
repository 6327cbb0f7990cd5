"""Settings: what an inspector was told when it was made. It checks them, and does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from everlog.errors import UsageError
from everlog.runtime.code_state import Redact

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names of this machine as it calls itself: the hosts that are answered for unless others are given."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did, or tried to do: `problem` says why it was not done, and is None where it was."""

    by: str
    action: str
    target: str
    problem: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """See `inspector`."""

    hosts: frozenset[str]
    read_only: bool
    hide_payloads: bool
    redact: Redact | None
    max_body: int
    secret: bytes
    on_change: Callable[[Change], object] | None


def hosts_of(given: Iterable[str] | None) -> frozenset[str]:
    """Give the names of hosts that are answered for, in lower case, each with or without a port."""
    if given is None:
        return LOOPBACK
    if isinstance(given, str):
        raise UsageError(f"hosts= takes a list of names, got {given!r}; write [{given!r}]")
    found = frozenset(name.lower() for name in given)
    for name in found:
        if not name or "*" in name or "/" in name:
            raise UsageError(f"a host is named as in its URL, such as 'ops.example.com', got {name!r}")
    return found
