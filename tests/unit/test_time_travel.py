"""What the code was doing at an event: stacks of tasks, local variables, pending operations; and no effects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import NotFound, UsageError, continue_as_new, step, sync, workflow
from everlog.core.codec import JsonCodec
from everlog.errors import CorruptLog
from everlog.testing import (
    CodeState,
    Exported,
    HistoryDiverges,
    VirtualEngine,
    history_of,
    load_history,
    open_replay,
    replay,
    save_history,
    state_at,
)
from tests.support import run

RAN: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@step
async def double(number: int) -> int:
    RAN.append(f"double {number}")
    return 2 * number


@step
def triple(number: int) -> int:
    RAN.append(f"triple {number}")
    return 3 * number


async def numbers(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield await double(number)


async def part(number: int, pause: float) -> int:
    doubled = await double(number)
    await asyncio.sleep(pause)
    return doubled


@workflow(name="travel_parts")
async def parts(most: int, card: str = "4242") -> list[int]:
    total = 0
    async with aclosing(numbers(most)) as each:  # type: ignore[type-var]  # a generator, as its annotation does not say
        async for one in each:
            total += one
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part(number, 3600), name=f"part {number}") for number in range(most)]
        answer = await everlog.recv("go", type=str, timeout=7200)
        total += len(answer)
    return [total, *[task.result() for task in tasks]]


def branch(number: int) -> int:
    tripled = triple(number)
    sync.sleep(3600)
    return tripled


@workflow(name="travel_blocking")
def blocking(most: int) -> int:
    first = triple(most)
    return first + sum(sync.map(branch, range(most)))


@pytest.fixture(scope="module")
def asynchronous() -> Exported:
    with VirtualEngine() as engine:
        engine.start(parts.options(id="parts"), 2)
        engine.sleep(60)
        return engine.history("parts")


def functions(state: CodeState) -> list[list[str]]:
    return [[frame.function for frame in task.stack] for task in state.tasks]


def test_the_stack_of_an_async_generator_is_seen(asynchronous: Exported) -> None:
    RAN.clear()
    state = state_at(asynchronous, 3)
    assert (state.workflow_id, state.name, state.seq, state.type) == ("parts", "travel_parts", 3, "step_completed")
    (task,) = state.tasks
    outer, inner = task.stack
    assert (outer.function, inner.function) == ("parts", "numbers")
    assert outer.file == inner.file == __file__
    assert inner.source == "yield await double(number)"
    assert outer.variables["most"] == "2"
    assert outer.variables["total"] == "0"
    assert inner.variables == {"most": "2", "number": "1"}
    assert task.waits_for == "double#2"
    (pending,) = state.pending
    assert (pending.operation, pending.kind, pending.what) == ("double#2", "step", 'step double({"number":1})')
    assert pending.place == f"{__file__}:{inner.line}"
    assert RAN == []


def test_every_task_is_there_with_what_it_waits_for(asynchronous: Exported) -> None:
    state = state_at(asynchronous)
    assert state.seq == len(asynchronous.rows)
    assert functions(state) == [["parts"], ["part"], ["part"]]
    assert [task.name for task in state.tasks] == ["travel_parts", "part 0", "part 1"]
    assert [task.waits_for for task in state.tasks] == ["recv", "part 0/timer", "part 1/timer"]
    assert state.tasks[2].stack[0].variables == {"number": "1", "pause": "3600", "doubled": "2"}
    waits = {one.operation: one for one in state.pending}
    assert waits["recv"].due_at is not None
    assert waits["part 0/timer"].what == "timer"
    assert (state.ended, state.stuck) == (None, None)
    assert RAN == []


def test_what_gather_and_tasks_are_waited_for_is_said() -> None:
    @workflow(name="travel_gather")
    async def gathering() -> None:
        task = asyncio.create_task(part(1, 5))
        await asyncio.gather(part(2, 5), part(3, 5))
        await task

    with VirtualEngine() as engine:
        engine.run(gathering.options(id="g"))
        history = engine.history("g")
    assert [task.waits_for for task in state_at(history, 2).tasks] == [
        "task 3, task 4",
        "part/double",
        "part#2/double",
        "part#3/double",
    ]


def test_blocking_code_is_seen_on_its_threads() -> None:
    with VirtualEngine() as engine:
        engine.start(blocking.options(id="b"), 2)
        engine.sleep(60)
        history = engine.history("b")
        RAN.clear()
        first = state_at(history, 2)
        assert functions(first) == [["blocking"]]
        assert first.tasks[0].stack[0].variables == {"most": "2"}
        state = state_at(history)
    assert functions(state) == [["blocking"], ["branch"], ["branch"]]
    assert [task.waits_for for task in state.tasks][1:] == ["branch/timer", "branch#2/timer"]
    assert [task.stack[0].variables for task in state.tasks][1:] == [
        {"number": "0", "tripled": "0"},
        {"number": "1", "tripled": "3"},
    ]
    assert RAN == []


def test_before_the_code_begins_and_after_it_has_ended_there_are_no_tasks() -> None:
    with VirtualEngine() as engine:
        engine.run(doubled.options(id="d"), 4)
        history = engine.history("d")
    before, after = state_at(history, 1), state_at(history)
    assert (before.tasks, before.pending, before.ended, before.type) == ([], [], None, "workflow_created")
    assert "The code has not begun." in str(before)
    assert (after.tasks, after.pending, after.ended, after.type) == ([], [], "workflow_completed", "workflow_completed")
    assert "The code has ended: workflow_completed" in str(after)


@workflow(name="travel_doubled")
async def doubled(number: int) -> int:
    return await double(number)


def test_values_are_hidden_by_the_hook(asynchronous: Exported) -> None:
    def redact(name: str, value: object) -> object:
        if name == "total":
            raise ValueError("no")
        if name == "recv":
            return "a wait"
        return "<hidden>" if name == "card" else value

    shown, hidden = state_at(asynchronous), state_at(asynchronous, redact=redact)
    assert shown.tasks[0].stack[0].variables["card"] == "'4242'"
    assert hidden.tasks[0].stack[0].variables["card"] == "'<hidden>'"
    assert hidden.tasks[0].stack[0].variables["total"] == "<hidden: redact raised ValueError>"
    assert hidden.tasks[0].stack[0].variables["most"] == "2"
    assert "a wait" in [one.what for one in hidden.pending]
    assert "4242" in str(shown)
    assert "4242" not in str(hidden)


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("leave me alone")


@workflow(name="travel_values")
async def values() -> None:
    long, shy = "x" * 1000, Shy()
    await double(len(long))
    del shy


def test_values_that_cannot_be_shown_harm_nothing() -> None:
    with VirtualEngine() as engine:
        engine.run(values.options(id="v"))
        (task,) = state_at(engine.history("v"), 2).tasks
    assert len(task.stack[0].variables["long"]) == 200
    assert "Shy" in task.stack[0].variables["shy"]


def test_code_that_does_not_fit_stands_where_the_two_part(asynchronous: Exported) -> None:
    @workflow(name="travel_parts")
    async def another(most: int, card: str = "") -> None:
        answer = await everlog.recv("go", type=str)
        await double(len(answer))

    state = state_at(asynchronous, workflow=another)
    assert state.seq == 3
    assert state.stuck is not None
    assert "at seq 3" in state.stuck
    assert functions(state) == [[another.fn.__qualname__]]
    assert "cannot go on at this event" in str(state)


@workflow(name="travel_lives")
async def lives(left: int) -> int:
    await double(left)
    if left:
        continue_as_new(lives, left - 1)
    return left


def test_each_life_of_a_workflow_can_be_looked_at() -> None:
    with VirtualEngine() as engine:
        engine.run(lives.options(id="l"), 2)
        history = engine.history("l")
    names = [payload.split(b'"')[3].decode() for _, _, payload in history.rows]
    begins = [seq for seq, name in enumerate(names, start=1) if name == "workflow_began"]
    assert len(begins) == 3
    assert [state_at(history, seq).tasks[0].stack[0].variables["left"] for seq in begins] == ["2", "1", "0"]
    assert state_at(history).ended == "workflow_completed"


@step
async def fails_at_first(number: int) -> int:
    RAN.append("fails")
    if RAN.count("fails") == 1:
        raise ValueError("not yet")
    return number


@workflow(name="travel_retried")
async def retried() -> int:
    first = await double(1)
    with suppress(KeyError):
        second = await fails_at_first(2)
        return await double(first + second)
    return 0


def test_what_was_made_void_by_a_retry_is_still_there_to_be_looked_at() -> None:
    with VirtualEngine() as engine:
        handle = engine.start(retried.options(id="r"))
        with pytest.raises(everlog.WorkflowFailed):
            handle.result()
        handle.retry()
        assert handle.result() == 8
        history = engine.history("r")
    names = [payload.split(b'"')[3].decode() for _, _, payload in history.rows]
    rewound = names.index("workflow_rewound") + 1
    failed = names.index("step_failed") + 1
    assert failed < rewound
    assert state_at(history, failed).ended == "workflow_failed"
    assert state_at(history, failed - 1).tasks[0].stack[0].variables == {"first": "2"}
    assert [one.operation for one in state_at(history, rewound).pending] == ["fails_at_first"]
    assert state_at(history).ended == "workflow_completed"
    assert replay(history).is_clean


def test_an_event_that_is_not_there_and_code_that_is_not_here_are_refused(asynchronous: Exported) -> None:
    with pytest.raises(UsageError, match="has no event 99: its history has 1 to"):
        state_at(asynchronous, 99)
    rows = [(1, 1, asynchronous.rows[0][2].replace(b"travel_parts", b"travel_nobody"))]
    unknown = Exported(workflow_id="u", name="travel_nobody", rows=rows)
    with pytest.raises(NotFound, match="it is a 'travel_nobody'"):
        state_at(unknown)
    with pytest.raises(HistoryDiverges) as caught:
        replay(unknown)
    assert caught.value.verdict.outcome == "unknown"
    with pytest.raises(HistoryDiverges) as caught:
        replay(Exported(workflow_id="e", name="x", rows=[(1, 1, b"{}")]))
    assert caught.value.verdict.outcome == "unreadable"
    with pytest.raises(CorruptLog, match="is empty"):
        state_at(Exported(workflow_id="e", name="x", rows=[]))


def test_a_history_goes_to_a_file_and_back(asynchronous: Exported, tmp_path: Path) -> None:
    save_history(asynchronous, tmp_path / "parts.jsonl")
    assert load_history(tmp_path / "parts.jsonl") == asynchronous
    assert state_at(tmp_path / "parts.jsonl", 3).pending == state_at(asynchronous, 3).pending
    assert replay(str(tmp_path / "parts.jsonl")).is_clean
    with pytest.raises(NotFound, match=r"nowhere\.jsonl"):
        load_history(tmp_path / "nowhere.jsonl")
    (tmp_path / "broken.jsonl").write_text("hello\n")
    with pytest.raises(CorruptLog, match=r"broken\.jsonl: line 1"):
        load_history(tmp_path / "broken.jsonl")


def test_the_history_of_an_engine_is_the_one_in_its_store() -> None:
    async def program(engine: everlog.Engine) -> Exported:
        await engine.run(doubled.options(id="d"), 4)
        with pytest.raises(NotFound):
            await history_of(engine, "nobody")
        return await history_of(engine, "d")

    history = run(program)
    assert (history.workflow_id, history.name) == ("d", "travel_doubled")
    assert replay(history, doubled).is_clean
    assert replay(history, codec=JsonCodec()).is_clean


def test_a_replay_can_be_stepped_by_hand(asynchronous: Exported) -> None:
    seen: list[int] = []
    with open_replay(asynchronous) as one:
        while one.advance():
            seen.append(one.seq)
        assert one.stuck is None
        assert one.next_row() is None
        assert not one.advance()
    assert seen == [seq for seq, _, _ in asynchronous.rows]


def test_it_works_where_an_event_loop_runs(asynchronous: Exported) -> None:
    async def main() -> CodeState:
        return state_at(asynchronous, 3)

    assert asyncio.run(main()).pending == state_at(asynchronous, 3).pending


def test_nothing_is_said_twice(asynchronous: Exported, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    for seq in range(1, len(asynchronous.rows) + 1):
        state_at(asynchronous, seq)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
