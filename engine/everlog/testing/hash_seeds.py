"""Hash seeds: other processes, of the same Python but with another order of sets, that replay histories from here.

Each is started once and asked again and again; it ends with this process. It never runs a step.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from everlog.core.log_lines import Exported
from everlog.errors import UsageError
from everlog.replay.definitions import AnyWorkflow
from everlog.runtime.verdicts import Verdict

PATIENCE: Final = 10.0
"""Seconds that a process has to end when it is told to."""

is_one_of_them = False
"""Whether this very process is such a one."""


class Place(msgspec.Struct, frozen=True):
    """Where the code of a workflow is: its module, and the file of that."""

    module: str
    file: str | None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A history that is to be replayed, and where the code is that it belongs to."""

    history: Exported
    places: list[Place]
    path: list[str]
    """Where modules are looked for."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it, or why there was no replay."""

    verdict: Verdict | None = None
    error: str = ""


class OtherProcess:
    """One process with a hash seed of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "everlog.testing.hash_seed_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def replay(self, history: Exported, places: list[Place]) -> Verdict:
        """Have a history replayed there. `UsageError` where the code cannot be had there."""
        question = Question(history=history, places=places, path=list(sys.path))
        try:
            _pipe(self._process.stdin).write(msgspec.json.encode(question) + b"\n")
            _pipe(self._process.stdin).flush()
            line = _pipe(self._process.stdout).readline()
        except OSError:
            line = b""
        if not line:
            self.close()
            raise UsageError(
                f"the process that replays with PYTHONHASHSEED={self.seed} ended with {self._process.returncode} in "
                f"the replay of workflow {history.workflow_id!r}; does its module, or its code, end the process?"
            )
        reply = msgspec.json.decode(line, type=Reply)
        if reply.verdict is None:
            raise UsageError(reply.error)
        return reply.verdict

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if _running.get(self.seed) is self:
            del _running[self.seed]


_running: Final[dict[int, OtherProcess]] = {}


def other_process(seed: int) -> OtherProcess:
    """Give the process of that hash seed; it is started where there is none yet."""
    if not _running:
        atexit.register(_close_all)
    if seed not in _running:
        _running[seed] = OtherProcess(seed)
    return _running[seed]


def place_of(workflow: AnyWorkflow[..., Any]) -> Place:
    """Give where the code of a workflow is. `UsageError` for code that no other process could find."""
    function = workflow.__wrapped__
    name = function.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if "<locals>" in function.__qualname__ or (name == "__main__" and file is None):
        raise UsageError(
            f"workflow {workflow.name!r} is defined {'within a function' if file else 'at a prompt'}, so that no other "
            "process can replay it with another order of sets: define it in a module; or give hash_seeds=(), and that "
            "is not tried"
        )
    return Place(name, None if file is None else str(Path(file).resolve()))


def _close_all() -> None:
    for process in list(_running.values()):
        process.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "it was opened with pipes"
    return pipe
