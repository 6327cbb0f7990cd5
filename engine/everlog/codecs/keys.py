"""Keys: secrets by their ids, the first of which seals while all of them open. It encrypts nothing."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from everlog.errors import UsageError

LENGTH: Final = 32
VARIABLE: Final = "EVERLOG_KEYS"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAKE: Final = "`openssl rand -base64 32` makes one"


class Keys(Mapping[str, bytes]):
    """Secrets of 32 bytes by id, in an order: the first seals, all of them open.

    To rotate: give the new key to all processes, behind the others; then put it first; and take the old one out when
    nothing that it has sealed is kept any more. An id stays that of its key for ever. `repr` shows ids only.
    """

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        if not secrets:
            raise UsageError(f"Keys needs at least one key, by its id; {_MAKE}")
        given: Mapping[Any, Any] = secrets  # users without a type checker give anything
        for name, secret in given.items():
            if not isinstance(name, str) or not _ID.fullmatch(name):
                raise UsageError(f"the id of a key is of letters, digits, '.', '_' and '-', at most 64; got {name!r}")
            if not isinstance(secret, bytes) or len(secret) != LENGTH:
                raise UsageError(f"key {name!r} must be {LENGTH} bytes chosen by chance; {_MAKE}")
        self._secrets = dict(secrets)

    @classmethod
    def from_text(cls, text: str, *, where: str = "the text") -> Keys:
        """Read keys, each on a line or between commas: its id, `=`, the secret in base64. After `#` is a remark."""
        found: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            for entry in filter(None, (part.strip() for part in line.partition("#")[0].split(","))):
                name, separator, written = (part.strip() for part in entry.partition("="))
                try:
                    secret = base64.b64decode(written, validate=True) if separator else b""
                except binascii.Error:
                    secret = b""
                if len(secret) != LENGTH or name in found:
                    problem = "is there twice" if name in found else f"is no id=secret of {LENGTH} bytes in base64"
                    told = name if name in found else "what stands there"
                    raise UsageError(f"{where}, line {number}: {told} {problem}; {_MAKE}")
                found[name] = secret
        if not found:
            raise UsageError(f"{where} has no keys; write each on a line: 2026-01=<secret>; {_MAKE}")
        return cls(found)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Keys:
        """Read a file of keys, as `from_text` does."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the keys cannot be read from {os.fspath(path)}: {error}") from error
        return cls.from_text(text, where=os.fspath(path))

    @classmethod
    def from_environment(cls, variable: str = VARIABLE) -> Keys:
        """Read the keys in a variable of the environment, as `from_text` does."""
        text = os.environ.get(variable)
        if not text:
            raise UsageError(f"the variable {variable} has no keys; set it to 2026-01=<secret>; {_MAKE}")
        return cls.from_text(text, where=f"the variable {variable}")

    @property
    def first(self) -> str:
        """The id of the key that seals."""
        return next(iter(self._secrets))

    def __getitem__(self, name: str) -> bytes:
        return self._secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._secrets)}>"
