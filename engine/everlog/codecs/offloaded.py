"""Offloaded: large payloads in files beside the database, or in an object store, named by what they hold.

A file is durable before the event that names it is written, so an event never names one that is not there. A file
that nothing names does no harm: the write of its event was lost, and comes again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from everlog.codecs.layers import Layer, Wrapped
from everlog.errors import PayloadUnavailable, UsageError

log: Final = logging.getLogger("everlog")
_NAME: Final = "file"
_REMEMBERED: Final = 10_000


class _Place(Protocol):
    def has(self, name: str) -> bool:
        """Tell whether there is such a file, durably."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole and durably. Raises what the place raises."""
        ...

    def read(self, name: str) -> bytes:
        """Give what a file holds. Raises what the place raises."""
        ...


class Offloaded(Layer):
    """Puts payloads of more than `over` bytes into files: in a directory, or anywhere that fsspec reaches.

    `place` is a path, or a URL such as "s3://bucket/everlog", for which the extra `fsspec` is needed, with what its
    scheme takes. All processes on a database must reach the same files. Where a file cannot be written, the payload
    is recorded in the log instead, with a warning: a step whose effect has happened does not fail for it. Where one
    cannot be read, or holds something else, that is `PayloadUnavailable`. Files are never removed by Everlog.
    """

    names = (_NAME,)
    place = 3

    def __init__(self, place: str | os.PathLike[str], *, over: int = 65_536) -> None:
        if over < 0:
            raise UsageError(f"over must be at least 0 bytes, got {over!r}")
        self._over = over
        named = os.fspath(place)
        self._place: _Place = _Remote(named) if "://" in named else _Directory(Path(named))
        self._told = named

    def wrap(self, data: bytes) -> Wrapped | None:
        """Put the bytes into a file, and give its name."""
        if len(data) <= self._over:
            return None
        name = hashlib.sha256(data).hexdigest()
        try:
            if not self._place.has(name):
                self._place.write(name, data)
        except Exception as error:  # noqa: BLE001 - places of users raise anything; the payload is not lost for it
            log.warning(
                "a payload of %d bytes could not be written to %s, and is kept in the log instead: %r",
                len(data),
                self._told,
                error,
            )
            return None
        return Wrapped(b"", _NAME, name)

    def unwrap(self, data: bytes, name: str, note: str) -> bytes:
        """Give what the file holds."""
        if len(note) != 64 or not set(note) <= set("0123456789abcdef"):  # it becomes a path
            raise PayloadUnavailable(f"the log names a file {note!r}, which is no name that is given here")
        try:
            found = self._place.read(note)
        except Exception as error:
            raise PayloadUnavailable(
                f"its file {note} cannot be read in {self._told} ({error!r}); bring the place back, or restore the file"
            ) from error
        if hashlib.sha256(found).hexdigest() != note:
            raise PayloadUnavailable(f"its file {note} in {self._told} was changed or cut off; restore it from a copy")
        return found


class _Directory:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._durable = set[str]()

    def has(self, name: str) -> bool:
        if not self._at(name).is_file():
            return False
        if name not in self._durable:  # another process may have named it a moment ago
            self._sync(name)
        return True

    def write(self, name: str, data: bytes) -> None:
        path = self._at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(beside).unlink()
            raise
        self._sync(name)

    def read(self, name: str) -> bytes:
        return self._at(name).read_bytes()

    def _sync(self, name: str) -> None:
        for folder in (self._at(name).parent, self._folder, self._folder.parent):
            _sync_folder(folder)
        if len(self._durable) >= _REMEMBERED:
            self._durable.clear()
        self._durable.add(name)

    def _at(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder durable; where the system cannot do that, it does so by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Remote:
    def __init__(self, url: str) -> None:
        try:
            fsspec: Any = import_module("fsspec.core")  # it has no types
        except ModuleNotFoundError:
            raise UsageError(f"{url} needs fsspec: pip install 'everlog[fsspec]'") from None
        try:
            found: Any = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"fsspec cannot open {url}: {error}") from error
        self._files: Any = found[0]
        self._root = str(found[1]).rstrip("/")

    def has(self, name: str) -> bool:
        return bool(self._files.exists(self._at(name)))

    def write(self, name: str, data: bytes) -> None:
        self._files.makedirs(f"{self._root}/{name[:2]}", exist_ok=True)
        self._files.pipe_file(self._at(name), data)

    def read(self, name: str) -> bytes:
        found: Any = self._files.cat_file(self._at(name))
        return bytes(found)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"
