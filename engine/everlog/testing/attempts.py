"""Attempts: in tests, each attempt of a step is seen, and may begin late or be made to fail. Not for production."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

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


_PATCHED: Final = ("_attempt", "_begin_in_thread", "_in_thread", "_begin_in_process")
"""The methods by which a runner of steps begins attempts: of async steps, of plain ones, and of those in processes."""


@contextmanager
def attempts_watched(watcher: Watcher) -> Generator[None]:
    """Have all attempts of all engines seen. Those of simulated hosts that crashed do not begin."""
    runners: Any = StepRunner
    module: Any = steps
    close: Callable[..., None] = module._close
    originals = {name: getattr(runners, name) for name in _PATCHED}

    def closed(report: Any, dispatch: Dispatch, end: StepEnd | None) -> None:
        watcher.ends(dispatch, end)
        close(report, dispatch, end)

    for name, replacement in _replacements(watcher, originals).items():
        setattr(runners, name, replacement)
    module._close = closed
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(runners, name, original)
        module._close = close


def _replacements(watcher: Watcher, originals: Mapping[str, Any]) -> dict[str, Any]:
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

    def late(begin: Callable[[Any, Dispatch], None]) -> Callable[[Any, Dispatch], None]:
        def begin_late(runner: Any, dispatch: Dispatch) -> None:
            delay = watcher.delay(dispatch)
            if delay:
                runner._loop.call_later(delay, begin, runner, dispatch)
            else:
                begin(runner, dispatch)

        return begin_late

    begins = (attempt, late(originals["_begin_in_thread"]), in_thread, late(in_process))
    return dict(zip(_PATCHED, begins, strict=True))
