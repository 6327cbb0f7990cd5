"""A proxy in front of a Postgres server that counts what clients send, by the protocol itself; it changes nothing."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.proxies import Proxy

_ENDS_A_ROUND_TRIP: Final = b"QS"
"""A simple query, and Sync: after each of them the server says that it is ready, and the client waits for that."""

_IS_A_STATEMENT: Final = b"QE"
"""A simple query, and Execute."""

_STARTUP: Final = 0x00030000


class CountingProxy(Proxy):
    """Counts round trips and statements, by `application_name` of the connection; opening one counts as nothing."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._conversations: dict[socket.socket, _Conversation] = {}
        self._round_trips: Counter[str] = Counter()
        self._statements: Counter[str] = Counter()
        super().__init__()

    def reset(self) -> None:
        """Count from nothing again."""
        with self._counting:
            self._round_trips.clear()
            self._statements.clear()

    def round_trips(self) -> Counter[str]:
        """Give the round trips so far, by connection."""
        with self._counting:
            return self._round_trips.copy()

    def statements(self) -> Counter[str]:
        """Give the statements so far, by connection."""
        with self._counting:
            return self._statements.copy()

    def _watch(self, client: socket.socket, data: bytes) -> None:
        with self._counting:
            conversation = self._conversations.setdefault(client, _Conversation())
            for kind in conversation.messages(data):
                self._round_trips[conversation.name] += kind in _ENDS_A_ROUND_TRIP
                self._statements[conversation.name] += kind in _IS_A_STATEMENT


class _Conversation:
    """What one client says: messages of a kind, a length and a body; the first of them without a kind."""

    def __init__(self) -> None:
        self.name = ""
        self._begun = False
        self._buffer = b""

    def messages(self, data: bytes) -> Iterator[bytes]:
        """Take more bytes; give the kinds of the messages that are whole now, after the opening."""
        self._buffer += data
        while True:
            kind_size = 1 if self._begun else 0
            if len(self._buffer) < kind_size + 4:
                return
            end = kind_size + int.from_bytes(self._buffer[kind_size : kind_size + 4], "big")
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:]
            if self._begun:
                yield message[:1]
            elif int.from_bytes(message[4:8], "big") == _STARTUP:  # not a question whether encryption is to be had
                self._begun = True
                said = message[8:].split(b"\0")
                self.name = dict(zip(said[::2], said[1::2], strict=False)).get(b"application_name", b"").decode()
