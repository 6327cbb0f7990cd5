"""Process words: what a step in a child process publishes, on its way to the outlet in the engine's process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

import msgspec

from everlog.core.codec import ANY, SELF, Codec, JsonCodec
from everlog.core.names import check_name
from everlog.errors import EverlogError
from everlog.processes import Say
from everlog.replay.attempts import Attempt
from everlog.replay.sizes import LARGE, check_size
from everlog.runtime.outlets import AtOnce, Outlet

log: Final = logging.getLogger("everlog")
_JSON: Final = JsonCodec()


class _Word(msgspec.Struct, frozen=True, array_like=True):
    """Items for the stream `name`, or, as the only payload, a value of that name."""

    is_value: bool
    name: str
    payloads: list[bytes]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Word).decode


class SayingOutlet:
    """The outlet in the child: it says at once what it takes, and waits while the parent does not listen."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def emit(self, attempt: Attempt, stream: str, items: tuple[object, ...]) -> Awaitable[None]:
        """Say items."""
        self.emit_blocking(attempt, stream, items)
        return AtOnce()

    def emit_blocking(self, attempt: Attempt, stream: str, items: tuple[object, ...]) -> None:
        """Say items."""
        what = f"stream {check_name(stream, 'the name of a stream')!r}"
        payloads = [_encoded(what, item) for item in items]
        self._say(_encode(_Word(False, stream, payloads)))

    def set_value(self, attempt: Attempt, name: str, value: object) -> None:
        """Say a value."""
        self._say(_encode(_Word(True, name, [_encoded(f"value {name!r}", value)])))


def _encoded(what: str, value: object) -> bytes:
    payload = _JSON.encode(value, SELF, what=what)
    if len(payload) >= LARGE:
        check_size(payload, what)
    return payload


def publish_said(attempt: Attempt, outlet: Outlet, codec: Codec, said: bytes) -> None:
    """Publish what the child said. What comes too late, or to a closed stream, is lost, as its attempt is.

    The child has no codec of the user's: under one, instances of the user's classes come as plain data.
    """
    word = _decode(said)
    try:
        payloads = word.payloads
        if type(codec) is not JsonCodec:
            payloads = [codec.encode(_JSON.decode(payload, ANY), SELF) for payload in payloads]
        if word.is_value:
            outlet.set_encoded(attempt, word.name, payloads[0])
        else:
            outlet.emit_encoded(attempt, word.name, payloads)
    except EverlogError as error:
        log.warning("step %r published something from a process that nobody takes: %s", attempt.step, error)
