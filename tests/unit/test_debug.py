"""`everlog debug`: pdb on a replay stops where the code stands, and goes on event by event or line by line."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

import everlog
from everlog import step, sync, workflow
from everlog.cli.debug import debug, debug_with_breakpoint
from everlog.runtime.code_state import CodeState
from everlog.testing import Exported, VirtualEngine

RAN: list[int] = []


@step
async def double(number: int) -> int:
    RAN.append(number)
    return 2 * number


@step
def triple(number: int) -> int:
    RAN.append(number)
    return 3 * number


async def add(total: int, number: int) -> int:
    doubled = await double(number)
    return total + doubled


@workflow(name="debugged")
async def debugged(most: int) -> int:
    total = 0
    for number in range(most):
        total = await add(total, number)
    names = await asyncio.gather(add(total, 10), add(total, 20))
    return total + sum(names)


@workflow(name="debugged_blocking")
def debugged_blocking(most: int) -> int:
    first = triple(most)
    second = triple(first)
    sync.sleep(5)
    return first + second


def recorded(fn: Any, number: int) -> Exported:
    with VirtualEngine() as engine:
        engine.run(fn.options(id="debugged-1"), number)
        return engine.history("debugged-1")


@pytest.fixture(scope="module")
def history() -> Exported:
    return recorded(debugged, 2)


def line_of(fn: Callable[..., Any], text: str) -> int:
    """Give the number of the line of a function that holds a text."""
    lines, first = inspect.getsourcelines(fn)
    return first + next(number for number, line in enumerate(lines) if text in line)


def said(history: Exported, at: int | None, *commands: str) -> list[str]:
    """Give what each command printed; the first is what was said before any."""
    RAN.clear()
    out = io.StringIO()
    debug(history, at, codec=None, stdin=io.StringIO("".join(f"{one}\n" for one in commands)), stdout=out)
    assert RAN == []
    assert sys.gettrace() is None or "pdb" not in repr(sys.gettrace())
    return out.getvalue().split("(everlog) ")


def test_it_stops_where_the_code_stands_at_an_event(history: Exported) -> None:
    begun, where, total, up, outer, pending, tasks, _ = said(
        history, 3, "where", "p total, number", "up", "p most", "pending", "tasks", "quit"
    )
    assert "--- event 3 of 7: step_completed double" in begun
    assert f"test_debug.py({line_of(add, 'await double')})add()" in begun
    assert re.findall(r"test_debug.py\((\d+)\)(\w+)\(\)", where) == [
        (str(line_of(debugged.fn, "await add(total, number)")), "debugged"),
        (str(line_of(add, "await double")), "add"),
    ]
    assert total.strip() == "(0, 1)"
    assert "debugged()" in up
    assert outer.strip() == "2"
    assert "step double" in pending
    assert tasks.startswith("-> 1 debugged, waits for double")


def test_it_goes_on_event_by_event_and_back(history: Exported) -> None:
    events = said(history, 2, "event", "ev", "event 2", "p number", "event 99", "event now", "quit")
    assert [re.findall(r"--- event (\d+)", one) for one in events] == [["2"], ["3"], ["4"], ["2"], [], [], [], []]
    assert events[4].strip() == "0"
    assert "has no event 99" in events[5]
    assert "'now' is no event" in events[6]


def test_it_goes_line_by_line_across_events(history: Exported) -> None:
    lines = said(history, 2, "next", "p doubled", "next", "next", "next", "p total", "quit")
    assert f"({line_of(add, 'return total')})add()" in lines[1]
    assert "--- event 3" in lines[1]
    assert lines[2].strip() == "0"
    assert "debugged()" in lines[5]  # before that, some versions of pdb stop at the return
    assert lines[6].strip() == "0"


def test_breakpoints_are_kept_over_events(history: Exported) -> None:
    line = line_of(debugged.fn, "return total + sum")
    reached = said(history, 2, f"break {__file__}:{line}", "continue", "p names", "continue", "quit")
    assert f"({line})debugged()" in reached[2]
    assert reached[3].strip() == "[22, 42]"
    assert "the history ends here; the code ended: workflow_completed" in reached[4]


def test_another_task_can_be_looked_at(history: Exported) -> None:
    at = 4
    first, tasks, other, number, wrong, _ = said(history, at, "tasks", "task 3", "p number", "task 9", "quit")
    assert "await asyncio.gather" in first
    assert "-> 1 debugged, waits for task 2, task 3" in tasks
    assert "add()" in other
    assert number.strip() == "20"
    assert "there is no task '9'" in wrong


def test_the_end_of_the_input_ends_it(history: Exported) -> None:
    assert len(said(history, None)) == 2
    last = said(history, None, "event", "quit")
    assert "the history ends here" in last[1]


def test_blocking_code_is_debugged_alike() -> None:
    history = recorded(debugged_blocking, 2)
    begun, most, second, sleep, first, _ = said(history, 2, "p most", "next", "next", "p first", "quit")
    assert "debugged_blocking()" in begun
    assert most.strip() == "2"
    assert f"({line_of(debugged_blocking.fn, 'second =')})" in second
    assert f"({line_of(debugged_blocking.fn, 'sync.sleep')})" in sleep
    assert first.strip() == "6"


@step
async def fails_at_first() -> int:
    FAILED.append(1)
    if len(FAILED) == 1:
        raise ValueError("not yet")
    return 1


FAILED: list[int] = []


@workflow(name="debugged_retried")
async def debugged_retried() -> int:
    first = await double(1)
    return first + await fails_at_first()


def test_what_a_retry_made_void_can_be_gone_to_and_left_again() -> None:
    with VirtualEngine() as engine:
        handle = engine.start(debugged_retried.options(id="debugged-1"))
        with pytest.raises(everlog.WorkflowFailed):
            handle.result()
        handle.retry()
        assert handle.result() == 3
        history = engine.history("debugged-1")
    types = [payload.split(b'"')[3].decode() for _, _, payload in history.rows]
    failed, last = types.index("step_failed") + 1, len(types)
    void, end, back, _ = said(history, failed, f"event {last}", f"event {failed}", "quit")
    assert f"--- event {failed} of" in void
    assert "step_failed fails_at_first" in void
    assert f"--- event {last} of {last}: workflow_completed result=3" in end
    assert f"--- event {failed} of" in back


def test_code_that_does_not_fit_is_stopped_at_where_it_parts(history: Exported) -> None:
    @workflow(name="debugged")
    async def another(most: int) -> int:
        return await triple_in_a_task(most)

    async def triple_in_a_task(most: int) -> int:
        return await everlog.call(triple, most)

    try:
        begun = said(history, None, "p most", "quit")
    finally:
        workflow(name="debugged")(debugged.fn)  # as it was
    assert "--- event 3" in begun[0]
    assert "cannot go on" in begun[0]
    assert begun[1].strip() == "2"


def test_a_breakpoint_of_another_debugger_is_called_at_the_event(
    history: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[CodeState] = []

    def hook() -> None:
        frame = inspect.currentframe()
        while frame is not None and "state" not in frame.f_locals:
            frame = frame.f_back
        assert frame is not None
        states.append(frame.f_locals["state"])

    monkeypatch.setattr(sys, "breakpointhook", hook)
    debug_with_breakpoint(history, 3, codec=None)
    assert [one.seq for one in states] == [3]
    debug_with_breakpoint(history, None, codec=None)
    assert [one.seq for one in states] == [3, len(history.rows)]
