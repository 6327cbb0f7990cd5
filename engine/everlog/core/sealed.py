"""Sealed: payloads that lie in the log in envelopes of JSON, and the power to open them. It knows no keys and no files.

An envelope is `{"$":"sealed","by":[["deflate",""],["aes-256-gcm","2026-01"]],"v":"..."}`: what was done to the bytes
of the plain payload, in that order and each with a note of its own, and what came of it, in base64. Texts of
exceptions are sealed likewise, the envelope being the text. No value of a user is ever written as such an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from everlog.core.plain import is_list, is_object
from everlog.errors import EverlogError, PayloadUnavailable

BEGINNING: Final = b'{"$":"sealed",'
"""What every envelope begins with."""
_TEXT_BEGINNING: Final = BEGINNING.decode()
_TAG: Final = "sealed"
HIDDEN: Final = "(sealed)"
"""Stands where a text that is sealed would be shown."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, tag_field="$", tag=_TAG):
    """A payload after all that was done to it."""

    by: tuple[tuple[str, str], ...]
    v: bytes = b""


@runtime_checkable
class Sealing(Protocol):
    """What a codec has whose payloads may be envelopes."""

    @property
    def mark(self) -> str:
        """Differs where other payloads can be opened; empty where that depends on nothing. Tells nothing of a key."""
        ...

    @property
    def conceals(self) -> bool:
        """Whether what is sealed can be read by nobody without a key."""
        ...

    def seal(self, payload: bytes) -> bytes:
        """Give a plain payload as it is recorded."""
        ...

    def open(self, payload: bytes, *, what: str = "value") -> bytes:
        """Give the plain payload; one that is in no envelope as it is. Raises `PayloadUnavailable`."""
        ...

    def seal_text(self, text: str) -> str:
        """Give the text of an exception as it is recorded: in an envelope, if this codec conceals anything."""
        ...

    def otherwise(self, payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """Give these payloads in the other forms that they may have in the log: sealed with older keys."""
        ...


encode_envelope: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Envelope).decode


def envelope_of(payload: bytes) -> Envelope | None:
    """Give the envelope that a payload is; None where it is a plain one."""
    if not payload.startswith(BEGINNING):
        return None
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def unopened(payload: bytes, what: str) -> EverlogError:
    """Give the error of a codec that has met an envelope and opens none."""
    envelope = envelope_of(payload)
    by = "another codec" if envelope is None else " and ".join(name for name, _ in envelope.by)
    return PayloadUnavailable(f"{what}: it was sealed by {by}, and no codec is given here that opens it: give the same")


def is_sealed(text: str) -> bool:
    """Tell whether a text that was recorded is an envelope."""
    return text.startswith(_TEXT_BEGINNING) and envelope_of(text.encode()) is not None


def open_text(text: str, codec: object, what: str) -> str:
    """Give the text that was sealed; one that was not as it is. Raises `PayloadUnavailable`."""
    if not is_sealed(text):
        return text
    if not isinstance(codec, Sealing):
        raise unopened(text.encode(), what)
    return msgspec.json.decode(codec.open(text.encode(), what=what), type=str)


def shown_text(text: str) -> str:
    """Give a text as it is shown where nobody can open it."""
    return HIDDEN if is_sealed(text) else text


def is_concealing(codec: object) -> bool:
    """Tell whether payloads of the codec are for nobody without a key."""
    return isinstance(codec, Sealing) and codec.conceals


def said(error: BaseException, codec: object) -> str:
    """Give what an error says, for a sentence that is kept in the open: without what values of users may be in it."""
    if not is_concealing(codec) or isinstance(error, PayloadUnavailable):
        return str(error)
    path, expected = getattr(error, "path", ""), getattr(error, "expected", "")
    place = f" at {path}: expected {expected}" if path or expected else ""
    return f"{type(error).__name__}{place} (its text is not kept, since payloads are sealed)"


def opened_body(body: bytes, codec: object) -> bytes:
    """Give the JSON of an event with what is sealed in it opened, for people to read; what cannot be stays as it is."""
    if not isinstance(codec, Sealing) or b"sealed" not in body:
        return body
    return msgspec.json.encode(_opened(msgspec.json.decode(body), codec))


def _opened(plain: object, codec: Sealing) -> Any:
    if is_list(plain):
        return [_opened(item, codec) for item in plain]
    if isinstance(plain, str):
        try:
            return open_text(plain, codec, "text")
        except PayloadUnavailable:
            return HIDDEN
    if not is_object(plain):
        return plain
    if plain.get("$") != _TAG:
        return {key: _opened(item, codec) for key, item in plain.items()}
    try:
        return msgspec.json.decode(codec.open(encode_envelope(msgspec.convert(plain, Envelope)), what="payload"))
    except (PayloadUnavailable, msgspec.MsgspecError):
        return plain


def is_known_otherwise(
    codec: object, payloads: Sequence[bytes], digest: str, digest_of: Callable[[Sequence[bytes]], str]
) -> bool:
    """Tell whether payloads whose digest is another have that one when they are sealed as they may have been then."""
    return isinstance(codec, Sealing) and any(digest_of(form) == digest for form in codec.otherwise(payloads))
