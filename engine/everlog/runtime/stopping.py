"""Stopping: has a function called when the operating system asks this process to end. It stops nothing."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from everlog.errors import UsageError


@contextmanager
def called_when_told_to_end(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> Generator[None]:
    """Have the function called by the loop at SIGTERM, SIGINT and, on Windows, Ctrl-Break; what was there comes back.

    Raises `UsageError` outside the main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            "serve() waits for a signal, and only the main thread of a program gets those: call it there, or leave "
            "the block of the engine when your program says so"
        )
    numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGBREAK] if hasattr(signal, "SIGBREAK") else [])]
    before: dict[int, Any] = {}
    for number in numbers:
        before[number] = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, function)
        except NotImplementedError:  # the loops of Windows have no handlers of their own
            signal.signal(number, lambda number, frame: loop.call_soon_threadsafe(function))
    try:
        yield
    finally:
        for number in numbers:
            try:
                loop.remove_signal_handler(number)
            except NotImplementedError:
                signal.signal(number, before[number])
