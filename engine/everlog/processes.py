"""Processes: a pool of child processes that each answer one request at a time, as bytes. It knows no steps.

A child is started fresh, never forked: it shares nothing with this process but two pipes. It ends by itself as soon as
this process has ended, however that happened. The Host has the pools; nothing else makes processes.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Protocol

log: Final = logging.getLogger("everlog")
PATIENCE: Final = 60.0
"""Seconds within which a child must have imported the program."""

Say = Callable[[bytes], None]
Target = Callable[[bytes, Say], bytes]
"""A function of a module, found by its name in the child. It may say something before it gives the answer."""
_ANSWER: Final = b"="
_SAID: Final = b"+"


class ProcessDied(Exception):
    """The child died, or was killed, before it had answered."""


class NoProcess(Exception):
    """A child could not be started: the request was never handed over."""


class Request:
    """One request: `begun` is called when a child has it, `answered` once with its answer or why there is none.

    Before that `said` is called with each thing that the child says; while it does not return, the child waits.
    """

    __slots__ = ("_kill", "_lock", "_withdrawn", "answered", "begun", "payload", "said")

    def __init__(
        self,
        payload: bytes,
        begun: Callable[[], None],
        answered: Callable[[bytes | Exception], None],
        said: Say = lambda what: None,
    ) -> None:
        self.payload = payload
        self.begun = begun
        self.answered = answered
        self.said = said
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None
        self._withdrawn = False

    def withdraw(self) -> None:
        """Have it not done, or the child that does it killed; then it is answered by `ProcessDied`."""
        with self._lock:
            self._withdrawn = True
            if self._kill is not None:
                self._kill()

    def is_with(self, kill: Callable[[], None] | None) -> bool:
        """Take note of how the child that has it is killed, None for no child; False where nobody wants it now."""
        with self._lock:
            self._kill = None if self._withdrawn else kill
            return not self._withdrawn


class ProcessPool(Protocol):
    """Answers requests in other processes."""

    def submit(self, request: Request) -> None:
        """Have the request answered, soon. Its functions are called on threads of the pool.

        Raises `RuntimeError` where the machine has no thread left: then it is not taken.
        """
        ...

    def close(self) -> None:
        """Kill all children; what they had in hand is answered by `ProcessDied`."""
        ...


class SystemProcessPool:
    """A pool of real processes, made when needed, up to a number; each has a thread here that waits for it."""

    def __init__(self, target: Target, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._waiting: deque[Request] = deque()
        self._condition = threading.Condition()
        self._children: set[Any] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, request: Request) -> None:
        with self._condition:
            if not self._closed:
                self._waiting.append(request)
                if self._idle >= len(self._waiting):
                    self._condition.notify()
                elif self._threads < self._limit:
                    self._begin_thread()
                return
        request.answered(ProcessDied("the pool of processes is closed"))

    def _begin_thread(self) -> None:
        self._threads += 1
        try:
            threading.Thread(target=self._work, name=f"everlog-process-{self._threads}", daemon=True).start()
        except RuntimeError:
            self._threads -= 1
            if not self._threads:  # otherwise one of the others takes it
                self._waiting.pop()
                raise

    def close(self) -> None:
        with self._condition:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            for process in self._children:
                process.kill()
            self._condition.notify_all()
        for request in left:
            request.answered(ProcessDied("the pool of processes is closed"))

    def _work(self) -> None:
        child: _Child | None = None
        while (request := self._next()) is not None:
            if child is None or not child.is_alive():
                child = self._started(request)
            if child is not None:
                _tell(request, child.answer(request))
            del request
        if child is not None:
            self._end(child)

    def _started(self, request: Request) -> _Child | None:
        try:
            child = _Child(self._target, self._keep)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from starting, the request is answered
            _tell(request, error if isinstance(error, NoProcess) else NoProcess(str(error)))
            return None
        return child

    def _keep(self, process: Any) -> None:
        with self._condition:
            self._children = {one for one in self._children if one.is_alive()} | {process}
            closed = self._closed
        if closed:
            process.kill()

    def _end(self, child: _Child) -> None:
        child.process.kill()
        child.process.join()
        with self._condition:
            self._children.discard(child.process)

    def _next(self) -> Request | None:
        with self._condition:
            while not self._waiting:
                if self._closed:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._condition.wait()
                self._idle -= 1
            return self._waiting.popleft()


def _tell(request: Request, answer: bytes | Exception) -> None:
    try:
        request.answered(answer)
    except Exception:
        log.exception("an error of Everlog: the answer of a process could not be taken")


class _Child:
    """One child process and the pipe to it."""

    def __init__(self, target: Target, keep: Callable[[Any], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, inner = context.Pipe()
        self.process = context.Process(target=_serve, args=(inner, target), name="everlog-step", daemon=True)
        try:
            self.process.start()
        finally:
            inner.close()
        keep(self.process)
        try:
            if self._pipe.poll(PATIENCE):
                self._pipe.recv_bytes()
                return
            why = f"it had not imported the program within {PATIENCE:g} s"
        except (EOFError, OSError):
            self.process.join(1)
            why = f"it ended with exit code {self.process.exitcode} while it imported the program; see its output"
        self.process.kill()
        raise NoProcess(why)

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def answer(self, request: Request) -> bytes | Exception:
        """Hand the request over and wait for its answer."""
        if not request.is_with(self.process.kill):
            return ProcessDied("it was withdrawn")
        try:
            self._pipe.send_bytes(request.payload)
            request.begun()
            while not (frame := self._pipe.recv_bytes()).startswith(_ANSWER):
                request.said(frame[1:])
            return frame[1:]
        except (EOFError, OSError):
            self.process.join(1)
            return ProcessDied(f"its process ended with exit code {self.process.exitcode}")
        finally:
            request.is_with(None)


def is_importing_main() -> bool:
    """Tell whether this process was started by `multiprocessing` and is still importing the program's main module."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def _serve(pipe: Connection, target: Target) -> None:
    """What a child does: answer until the pipe ends, or its parent."""
    # Ctrl-C goes to all processes of a terminal, and is the parent's to act upon; what a step starts hears it.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    lock = threading.Lock()  # a step may have threads of its own

    def send(kind: bytes, what: bytes) -> None:
        with lock:
            pipe.send_bytes(kind + what)

    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(b"")
        while True:
            send(_ANSWER, target(pipe.recv_bytes(), lambda what: send(_SAID, what)))


def _end_with(sentinel: int) -> None:
    """End this process when its parent has ended: nobody would hear the answer."""
    wait([sentinel])
    os._exit(1)
