"""Attempts: in tests, each attempt of a step is seen, and may begin late or be made to fail. Not for production."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

from everlog.replay.environment import StepEnd
from everlog.runtime import steps
from everlog.runtime.steps import Dispatch, StepRunner


class Watcher(Protocol):
    """Sees attempts, and says what is done to them."""

    def delay(self, dispatch: Dispatch) -> float:
        """Give the seconds by which it begins late."""
        ...

    def begins(self, dispatch: Dispatch, task: asyncio.Task[Any] | None) -> Exception | None:
        """See an attempt begin, an async one in this task; give what it is to raise instead of running."""
        ...

    def ends(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """See how it ended; None where nobody knows."""
        ...


@contextmanager
def attempts_watched(watcher: Watcher) -> Generator[None]:
    """Have all attempts of all engines seen. Those of hosts that crashed do not begin."""
    runners: Any = StepRunner
    names = ("_attempt", "_begin_in_thread", "_in_thread", "_begin_in_process")
    originals: dict[str, Any] = {name: getattr(runners, name) for name in names}
    module: Any = steps
    close: Callable[..., None] = module._close

    async def attempt(runner: Any, dispatch: Dispatch) -> None:
        delay = watcher.delay(dispatch)
        if delay:
            await asyncio.sleep(delay)
        if runner._host.crashed:
            return
        failure = watcher.begins(dispatch, asyncio.current_task())
        if failure is None:
            await originals["_attempt"](runner, dispatch)
        else:
            runner._report(dispatch, runner._failed(dispatch.operation, runner._clock(), failure))

    def later(name: str) -> Callable[[Any, Dispatch], None]:
        def begin(runner: Any, dispatch: Dispatch) -> None:
            delay = watcher.delay(dispatch)
            if delay:
                runner._loop.call_later(delay, originals[name], runner, dispatch)
            else:
                originals[name](runner, dispatch)

        return begin

    def in_thread(runner: Any, dispatch: Dispatch, started_at: int) -> None:
        failure = watcher.begins(dispatch, None)
        if failure is None:
            originals["_in_thread"](runner, dispatch, started_at)
        else:
            runner._report_once(dispatch, runner._failed(dispatch.operation, started_at, failure))

    def in_process(runner: Any, dispatch: Dispatch) -> None:
        failure = watcher.begins(dispatch, None)
        if failure is None:
            originals["_begin_in_process"](runner, dispatch)
        else:
            runner._report_once(dispatch, runner._failed(dispatch.operation, runner._clock(), failure))

    def closed(report: Any, dispatch: Dispatch, end: StepEnd | None) -> None:
        watcher.ends(dispatch, end)
        close(report, dispatch, end)

    originals["in_process"] = in_process
    patched = (attempt, later("_begin_in_thread"), in_thread, later("in_process"))
    for name, replacement in zip(names, patched, strict=True):
        setattr(runners, name, replacement)
    module._close = closed
    try:
        yield
    finally:
        for name in names:
            setattr(runners, name, originals[name])
        module._close = close
