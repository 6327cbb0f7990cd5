"""Encrypted: payloads that nobody can read or change without a key, by AES-256 in Galois/Counter Mode. Keeps no keys.

The nonce is not drawn but derived from the payload, by HMAC under a key of its own. So the same payload has the same
bytes under the same key, which the log needs: inputs are compared. What is given up for that is that equal payloads
can be seen to be equal, and how long they are; never what they are. No nonce serves two payloads: it is 96 bits of a
keyed digest of the payload, of which two fall together after some 2^48 payloads of one key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from everlog.codecs.keys import Keys
from everlog.codecs.layers import Layer, Wrapped
from everlog.errors import PayloadUnavailable, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NAME: Final = "aes-256-gcm"
_NONCE: Final = 12
_SAID: Final = b"everlog aes-256-gcm 1"
"""Authenticated beside each payload."""


class _Key(Struct, frozen=True):
    """What is derived from one secret: keys that serve one purpose each."""

    note: str
    """How the log names it: its id, and a few characters that differ where another key has the same id."""
    cipher: AESGCM
    nonces: bytes


class Encrypted(Layer):
    """Encrypts payloads with the first of the keys, and opens what any of them has sealed. Needs the extra `crypto`.

    What is changed in the database, or sealed with a key that is not here, is `PayloadUnavailable`: a workflow that
    meets it is stuck, its history untouched, until an engine that has the key takes it up.
    """

    names = (_NAME,)
    place = 2
    conceals = True

    def __init__(self, keys: Keys | Mapping[str, bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError:
            raise UsageError("cryptography is not installed: pip install 'everlog[crypto]'") from None
        self._ring = keys if isinstance(keys, Keys) else Keys(keys)
        made = [
            _Key(
                note=f"{name}:{_derived(secret, b'mark').hex()[:8]}",
                cipher=AESGCM(_derived(secret, b"cipher")),
                nonces=_derived(secret, b"nonces"),
            )
            for name, secret in self._ring.items()
        ]
        self._sealing = made[0]
        self._opening = {key.note.rpartition(":")[2]: key for key in made}

    @property
    def mark(self) -> str:
        """Differs where other keys are here, or another under the same id."""
        return ",".join(sorted(self._opening))

    def wrap(self, data: bytes) -> Wrapped:
        """Give the bytes encrypted."""
        key = self._sealing
        nonce = hmac.digest(key.nonces, data, hashlib.sha256)[:_NONCE]
        return Wrapped(nonce + key.cipher.encrypt(nonce, data, _SAID), _NAME, key.note)

    def unwrap(self, data: bytes, name: str, note: str) -> bytes:
        """Give the bytes as they were."""
        from cryptography.exceptions import InvalidTag

        sealed_by, _, mark = note.rpartition(":")
        key = self._opening.get(mark)
        if key is None:
            other = " (there is another of that id)" if sealed_by in self._ring else ""
            raise PayloadUnavailable(
                f"it was sealed with key {sealed_by!r}, and the keys here are {', '.join(self._ring)}{other}; add that "
                "one, under any id"
            )
        try:
            return key.cipher.decrypt(data[:_NONCE], data[_NONCE:], _SAID)
        except (InvalidTag, ValueError) as error:
            raise PayloadUnavailable(
                f"it was sealed with key {sealed_by!r}, and has been changed since; restore it from a copy"
            ) from error

    def older(self) -> Sequence[Layer]:
        """Give layers that seal with each of the other keys."""
        names = list(self._ring)[1:]
        return [Encrypted(Keys({name: self._ring[name]})) for name in names]

    def __repr__(self) -> str:
        return f"Encrypted({self._ring!r})"


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"everlog codec 1 " + purpose, hashlib.sha256)
