"""Locks that die with their process: how a dead worker is known at once. Whether its work is taken over, others decide.

Each registered worker of this process holds the operating system's lock of a file of its own, beside the database.
The system frees it when the process ends, however it ends; so a lock that another can have means a dead worker.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

_LONGEST_NAME = 200
_TRIES = 20
_PAUSE = 0.005


class WorkerLocks:
    """The locks of the workers that registered through one store object; `directory` None keeps none."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._held: dict[str, int] = {}
        if directory is not None:
            _of_this_process.add(self)

    def hold(self, worker: str) -> None:
        """Take the worker's lock and keep it. Without a place for it the worker just has none."""
        self._close(worker)
        path = self._path(worker)
        if path is None:
            return
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            # Python opens files so that programs which are started do not inherit them; forks are seen to below.
            file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            for _ in range(_TRIES):
                # Those who are just asking have it for a moment. Whoever keeps it is the same worker, opened twice.
                if _lock(file):
                    self._held[worker] = file
                    return
                time.sleep(_PAUSE)
            os.close(file)

    def is_free(self, worker: str) -> bool:
        """Say whether the worker's process is known to be dead. False where that is unknown: no file, no lock."""
        path = self._path(worker)
        if path is None or worker in self._held:
            return False
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            return _is_free(file)
        finally:
            os.close(file)

    def drop(self, worker: str) -> None:
        """Let go of the lock, of this process or of a dead one, and remove its file."""
        self._close(worker)
        path = self._path(worker)
        if path is not None:
            with suppress(OSError):  # Windows does not remove what another process has open.
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of all locks; the files stay, and show that whoever held them is gone."""
        for worker in list(self._held):
            self._close(worker)

    def _close(self, worker: str) -> None:
        file = self._held.pop(worker, None)
        if file is not None:
            with suppress(OSError):
                os.close(file)

    def _path(self, worker: str) -> Path | None:
        if self._directory is None:
            return None
        name = quote(worker, safe="")
        if len(name) > _LONGEST_NAME:
            name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(worker.encode()).hexdigest()[:16]}"
        return self._directory / f"{name}.lock"


_of_this_process: weakref.WeakSet[WorkerLocks] = weakref.WeakSet()


def _forget_in_child() -> None:
    """Close the parent's locks in a forked child: as long as it had them open, the parent could not be seen to die.

    Only closed, never unlocked: unlocking would take them from the parent too.
    """
    for locks in list(_of_this_process):
        locks.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _is_free(file: int) -> bool:
        if not _lock(file):
            return False
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        return _has(file, fcntl.LOCK_EX)

    def _is_free(file: int) -> bool:
        # Shared, so that two who ask at once do not see each other. Closing the file lets go of it.
        return _has(file, fcntl.LOCK_SH)

    def _has(file: int, kind: int) -> bool:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    os.register_at_fork(after_in_child=_forget_in_child)
