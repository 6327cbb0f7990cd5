"""Compressed: payloads that take less room, by zlib or Zstandard. It hides nothing."""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import Final, Literal

from everlog.codecs.layers import Layer, Wrapped
from everlog.errors import PayloadUnavailable, UsageError

_MOST: Final = 512 * 1024 * 1024
"""The most bytes that are made of a payload: what claims to be more was not written here."""
_ZLIB: Final = "zlib"
_ZSTD: Final = "zstd"
Method = Literal["zlib", "zstd"]


class Compressed(Layer):
    """Compresses payloads of more than `over` bytes, where that makes them smaller; and undoes both methods.

    "zlib" is in Python's standard library. "zstd", with the extra `zstd`, is several times faster and a little
    smaller. What one has written is read by the other. `level` is the method's own: 1 to 9, or 1 to 22.
    """

    names = (_ZLIB, _ZSTD)
    place = 1

    def __init__(self, method: Method = "zlib", *, level: int | None = None, over: int = 512) -> None:
        highest = {_ZLIB: 9, _ZSTD: 22}.get(method)
        if highest is None:
            raise UsageError(f"Compressed knows 'zlib' and 'zstd', got {method!r}")
        if level is not None and not 1 <= level <= highest:
            raise UsageError(f"the level of {method} is from 1 to {highest}, got {level!r}")
        if over < 0:
            raise UsageError(f"over must be at least 0 bytes, got {over!r}")
        if method == _ZSTD and not _has_zstd():
            raise UsageError("Zstandard is not installed: pip install 'everlog[zstd]'")
        self._method, self._over = method, over
        self._level = level if level is not None else 6 if method == _ZLIB else 3

    def wrap(self, data: bytes) -> Wrapped | None:
        """Give the bytes compressed."""
        if not self._over < len(data) <= _MOST:
            return None
        made = zlib.compress(data, self._level) if self._method == _ZLIB else _to_zstd(data, self._level)
        return Wrapped(made, self._method) if len(made) < len(data) else None

    def unwrap(self, data: bytes, name: str, note: str) -> bytes:
        """Give the bytes as they were."""
        if name == _ZSTD:
            return _of_zstd(data)
        try:
            undoing = zlib.decompressobj()
            made = undoing.decompress(data, _MOST)
        except zlib.error as error:
            raise PayloadUnavailable(f"what was compressed has been changed ({error})") from error
        if not undoing.eof:
            raise PayloadUnavailable("what was compressed was cut off, or is larger than anything written here")
        return made


def _has_zstd() -> bool:
    try:
        import_module("zstandard")
    except ModuleNotFoundError:
        return False
    return True


def _to_zstd(data: bytes, level: int) -> bytes:
    import zstandard

    # A compressor serves one thread at a time.
    return zstandard.ZstdCompressor(level=level).compress(data)


def _of_zstd(data: bytes) -> bytes:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise PayloadUnavailable("it was compressed by Zstandard: pip install 'everlog[zstd]'") from None
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= _MOST:
            raise PayloadUnavailable("what was compressed does not say its size, or one larger than is written here")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise PayloadUnavailable(f"what was compressed has been changed ({error})") from error
