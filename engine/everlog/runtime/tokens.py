"""Tokens: the names of waits that can be given to people, signed so that nobody can make one up. They store nothing.

A token says which wait of which workflow it is for, with an HMAC-SHA256 of that, made with the key of the database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec
from msgspec import Struct

from everlog.errors import UsageError

_SIGNATURE: Final = 32


class Named(Struct, frozen=True, array_like=True):
    """The wait that a token names: the operation that waits, and the seq of the event that opened it."""

    workflow_id: str
    operation: str
    seq: int


def token_for(named: Named, key: str) -> str:
    """Make the token of a wait."""
    body = msgspec.json.encode(named)
    return token_text(_signature(body, key) + body)


def named_by(token: str, key: str) -> Named:
    """Give the wait that a token names; `UsageError` where it was not made with this key, or was changed."""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        read = base64.b64decode(padded, altchars=b"-_", validate=True)
        signature, body = read[:_SIGNATURE], read[_SIGNATURE:]
        # The first: so that no two texts are one token.
        if token_text(read) == token and hmac.compare_digest(signature, _signature(body, key)):
            return msgspec.json.decode(body, type=Named)
    except (AttributeError, ValueError, binascii.Error):
        pass
    raise UsageError(
        f"this is no token of a wait in this database, or it was changed on the way: {str(token)[:60]!r}; take it from "
        "waits() as it is"
    )


def token_text(read: bytes) -> str:
    """Give the text of a token."""
    return base64.urlsafe_b64encode(read).rstrip(b"=").decode()


def _signature(body: bytes, key: str) -> bytes:
    return hmac.digest(key.encode(), body, hashlib.sha256)
