"""Bells: a named pipe for each process that listens, beside the database. Whoever has written rings those of others.

A pipe, for it lies where the file lies, whatever the length of its path, takes the file's permissions, and tells
whether anybody still reads it: that of a dead process is removed by the next who would ring it. What is in it means
nothing.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

_ENDING: Final = ".bell"
_TICK: Final = 0.05
"""Seconds for which a directory may be changed again without being told apart by the time of its last change."""


class Bells:
    """The bell of one store object, and those of the others on the same file."""

    def __init__(self, directory: Path, file: Path) -> None:
        self._directory = directory
        self._file = file
        self._name = f"{secrets.token_hex(8)}{_ENDING}"
        self._own: list[int] = []
        self._others: dict[str, int] = {}
        self._lock = threading.Lock()
        self._changed_at = -1
        self._seen_at = self._listed_at = float("-inf")
        _of_this_process.add(self)

    def hang(self) -> int | None:
        """Make a bell, and give what to read from when it rings; None where there is none, as on Windows."""
        if not hasattr(os, "mkfifo"):
            return None
        made = self._directory / f"{self._name}.new"
        with self._lock, suppress(OSError):
            self._directory.mkdir(exist_ok=True)
            os.mkfifo(made, 0o600)
            try:
                os.chmod(made, os.stat(self._file).st_mode & 0o666)  # who may write to the file may ring
                self._own.append(os.open(made, os.O_RDONLY | os.O_NONBLOCK))
                # As long as one can write to it, it does not come to an end.
                self._own.append(os.open(made, os.O_WRONLY | os.O_NONBLOCK))
                made.rename(self._directory / self._name)  # from here on others see it, and somebody reads it
                return self._own[0]
            except OSError:
                made.unlink(missing_ok=True)
                self._let_go()
        return None

    def ring(self) -> None:
        """Ring the bells of all others. Never waits, and never fails: a bell is a hint."""
        with self._lock:
            self._look_around()
            for name, bell in list(self._others.items()):
                try:
                    os.write(bell, b"!")
                except BlockingIOError:  # full, so it rings already
                    pass
                except OSError:
                    self._take_down(name)

    def close(self) -> None:
        """Take the own bell down, and let go of the others'."""
        with self._lock:
            if self._own:
                with suppress(OSError):
                    (self._directory / self._name).unlink(missing_ok=True)
            self._let_go()

    def forget(self) -> None:
        """Let go of all, in a fork of the process that opened them; there the lock may be lost."""
        self._lock = threading.Lock()
        self._let_go()

    def _look_around(self) -> None:
        """Find who is new. Mostly the directory is as it was, which costs one question of the system."""
        at = time.monotonic()
        try:
            changed_at = os.stat(self._directory).st_mtime_ns
            if changed_at != self._changed_at:
                self._changed_at, self._seen_at = changed_at, at
            if self._listed_at >= self._seen_at + _TICK:
                return
            self._listed_at = at
            there = {entry.name for entry in os.scandir(self._directory) if entry.name.endswith(_ENDING)}
        except OSError:  # nobody has made it yet
            return
        there.discard(self._name)
        for name in self._others.keys() - there:
            os.close(self._others.pop(name))
        for name in there - self._others.keys():
            self._reach(name)

    def _reach(self, name: str) -> None:
        try:
            bell = os.open(self._directory / name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:  # nobody reads it, or we may not ring it
            self._remove(name)
            return
        if stat.S_ISFIFO(os.fstat(bell).st_mode):
            self._others[name] = bell
        else:
            os.close(bell)

    def _take_down(self, name: str) -> None:
        os.close(self._others.pop(name))
        self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove the bell of a process that has died."""
        path = self._directory / name
        with suppress(OSError):
            if stat.S_ISFIFO(os.stat(path, follow_symlinks=False).st_mode) and os.access(path, os.W_OK):
                path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        for bell in (*self._own, *self._others.values()):
            os.close(bell)
        self._own.clear()
        self._others.clear()


_of_this_process: weakref.WeakSet[Bells] = weakref.WeakSet()


def _forget_in_child() -> None:
    """As long as a forked child had its parent's bell open, nobody could see that the parent has died."""
    for bells in list(_of_this_process):
        bells.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
