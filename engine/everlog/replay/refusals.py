"""Refusals: functions of the standard library that would go behind a workflow's back, refused in its code.

Elsewhere the originals run. As in `stdlib`, code objects are exchanged, so that earlier imports follow.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import FunctionType
from typing import Any, Final

from everlog.errors import WrongContext
from everlog.replay.context import active

_LOOP: Final = (
    'a workflow has a loop of its own: await the coroutine, in a def workflow write "sync.submit(fn, ...).result()"'
)
_EXECUTOR: Final = (
    'make the function a step and write "await everlog.call(step, ...)", in a def workflow "sync.map(step, items)"'
)


def refuse_behind_workflows() -> None:
    """Exchange them; once, when the engine is first imported."""
    _exchange(asyncio.run, _run, "asyncio.run", _LOOP)
    _exchange(asyncio.Runner.run, _run_in_runner, "asyncio.Runner.run", _LOOP)
    _exchange(ThreadPoolExecutor.submit, _submit_to_threads, "ThreadPoolExecutor.submit", _EXECUTOR)
    _exchange(ProcessPoolExecutor.submit, _submit_to_processes, "ProcessPoolExecutor.submit", _EXECUTOR)


def _exchange(function: Any, dispatcher: Any, name: str, advice: str) -> None:
    original = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__

    def check() -> None:
        execution = active.execution
        if execution is not None:
            raise WrongContext(
                f"workflow {execution.workflow_id!r}: {name} is not for workflow code, since what it does is in no "
                f"log; {advice}"
            )

    function.__globals__[f"_everlog_{dispatcher.__name__}"] = (check, original)
    function.__code__ = dispatcher.__code__


# The next run with the globals of the modules of the standard library, where `_exchange` has put what they look up.
if sys.version_info >= (3, 12):

    def _run(main: Any, *, debug: Any = None, loop_factory: Any = None) -> Any:
        check, original = globals()["_everlog__run"]
        check()
        return original(main, debug=debug, loop_factory=loop_factory)

else:

    def _run(main: Any, *, debug: Any = None) -> Any:
        check, original = globals()["_everlog__run"]
        check()
        return original(main, debug=debug)


def _run_in_runner(self: Any, coro: Any, *, context: Any = None) -> Any:
    check, original = globals()["_everlog__run_in_runner"]
    check()
    return original(self, coro, context=context)


def _submit_to_threads(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    check, original = globals()["_everlog__submit_to_threads"]
    check()
    return original(self, fn, *args, **kwargs)


def _submit_to_processes(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    check, original = globals()["_everlog__submit_to_processes"]
    check()
    return original(self, fn, *args, **kwargs)
