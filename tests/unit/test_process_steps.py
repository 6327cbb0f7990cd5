"""Steps with `process=True`: they run in processes of their own, which may be killed or die."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from everlog import (
    Engine,
    InvalidDefinition,
    StepInterrupted,
    StepTimeout,
    StreamItem,
    StreamReset,
    WorkflowFailed,
    step,
)
from everlog.core.codec import ANY, JsonCodec
from tests.support import run
from tests.unit import process_steps as steps

T = TypeVar("T")
FLOWS = [
    steps.calls_in_a_process,
    steps.doubles_in_a_process,
    steps.squares_in_a_process,
    steps.calls_inline,
    steps.calls_a_method,
]
PATIENCE = 20


def really(program: Callable[[Engine], Coroutine[Any, Any, T]], **options: Any) -> T:
    """Run a program with a real engine and real processes."""

    async def main() -> T:
        async with asyncio.timeout(PATIENCE), Engine("memory://", workflows=FLOWS, **options) as engine:
            return await program(engine)

    return asyncio.run(main())


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that is dead and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not come"
        time.sleep(0.01)


async def noted(notes: Path) -> int:
    """Wait until a process has noted its number, and give it."""
    await asyncio.to_thread(until, lambda: notes.exists() and notes.read_text().endswith("\n"))
    return int(await asyncio.to_thread(notes.read_text))


async def failure(engine: Engine, name: str, *args: object) -> BaseException | None:
    with pytest.raises(WorkflowFailed) as caught:
        await engine.run(steps.calls_in_a_process, name, *args)
    return caught.value.__cause__


def test_a_step_runs_in_a_process_of_its_own_and_its_values_come_back_as_they_are(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(steps.doubles_in_a_process, steps.Order("tea", 2)) == steps.Order("tea", 4)
        assert await engine.run(steps.squares_in_a_process, 7) == 49
        assert await engine.run(steps.calls_inline, 5) == 5
        handle = await engine.start(steps.calls_in_a_process, "whereabouts")
        pid, workflow_id, name, attempt, flow = await handle.result()  # type: ignore[misc]  # a list, as recorded
        assert pid != os.getpid()
        assert (workflow_id, name, attempt, flow) == (handle.id, "whereabouts", 1, "calls_in_a_process")
        pids.append(pid)

    pids: list[int] = []
    really(program)
    until(lambda: not runs(pids[0]))


def test_what_it_raises_comes_back_with_its_type_and_traceback(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        cause = await failure(engine, "refuses", 7)
        assert isinstance(cause, steps.Refused)
        assert cause.code == 7
        assert "in refuses" in "".join(getattr(cause, "__notes__", []))
        cause = await failure(engine, "returns_what_cannot_be_recorded")
        assert "result of step returns_what_cannot_be_recorded" in str(cause)

    really(program)


def test_its_policy_sees_the_types_of_its_errors(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert isinstance(await failure(engine, "gives_up", str(tmp_path / "a")), steps.Refused)
        assert len((tmp_path / "a").read_text().split()) == 1
        assert await engine.run(steps.calls_in_a_process, "recovers", str(tmp_path / "b")) == 3

    really(program)


def test_its_timeout_kills_the_process(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert isinstance(await failure(engine, "sleeps", str(tmp_path / "notes")), StepTimeout)
        assert await engine.run(steps.squares_in_a_process, 3) == 9, "another process takes its place"

    really(program)
    (pid,) = (tmp_path / "notes").read_text().split()
    until(lambda: not runs(int(pid)))


def test_cancelling_the_workflow_kills_the_process(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        notes = tmp_path / "notes"
        handle = await engine.start(steps.calls_in_a_process, "works_long", str(notes))
        pid = await noted(notes)
        await handle.cancel()
        await asyncio.to_thread(until, lambda: not runs(pid))

    really(program)


def test_a_process_that_dies_leaves_its_attempt_to_be_run_again(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(steps.calls_in_a_process, "dies_first", str(tmp_path / "a")) == 3
        cause = await failure(engine, "dies_once", str(tmp_path / "b"))
        assert isinstance(cause, StepInterrupted)
        assert len((tmp_path / "b").read_text().split()) == 1, "at most once"

    really(program)


def test_a_step_that_always_kills_its_process_fails(tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        cause = await failure(engine, "always_dies", str(tmp_path / "notes"))
        assert isinstance(cause, StepInterrupted)
        assert "exit code 3" in str(cause)

    really(program)
    assert len((tmp_path / "notes").read_text().split()) == 4


def test_leaving_the_engine_ends_its_processes_and_hands_the_step_back(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def main() -> None:
        async with Engine(f"sqlite:///{tmp_path / 'e.db'}", workflows=FLOWS, grace=0.1) as engine:
            await engine.start(steps.calls_in_a_process.options(id="one"), "works_long", str(notes))
            await noted(notes)
        async with Engine(f"sqlite:///{tmp_path / 'e.db'}", workflows=[]) as engine:
            kinds = [event.type for event in await engine.handle("one").history()]
            assert "step_failed" not in kinds
            await engine.handle("one").cancel()

    asyncio.run(main())
    until(lambda: not runs(int(notes.read_text())))


def test_leaving_an_engine_whose_thread_does_not_come_back_ends_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlog.runtime.engine.CLOSING", 0.3)
    notes, gate = tmp_path / "notes", threading.Event()

    async def main() -> None:
        async with Engine("memory://", workflows=FLOWS, grace=0, lease=0.5) as engine:
            await engine.start(steps.calls_in_a_process.options(id="one"), "works_long", str(notes))
            await noted(notes)
            engine._open_shell().submit(lambda: gate.wait() and None)
        await asyncio.to_thread(until, lambda: not runs(int(notes.read_text())))

    try:
        asyncio.run(main())
    finally:
        gate.set()


def test_where_the_machine_has_no_thread_for_a_process_the_step_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "everlog-process" in thread.name and len(refused) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    async def program(engine: Engine) -> None:
        assert await engine.run(steps.doubles_in_a_process, steps.Order("pen", 2)) == steps.Order("pen", 4)

    really(program)
    assert len(refused) == 2


class SpellingCodec(JsonCodec):
    """Writes payloads that no other codec can read."""

    def encode(self, value: object, declared: object = ANY, *, what: str = "value") -> bytes:
        return b'{"spelled":' + super().encode(value, declared, what=what) + b"}"

    def decode(self, payload: bytes, declared: object = ANY, *, what: str = "value") -> object:
        assert payload.startswith(b'{"spelled":')
        return super().decode(payload[len(b'{"spelled":') : -1], declared, what=what)


def test_a_codec_of_ones_own_stays_in_this_process() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(steps.doubles_in_a_process, steps.Order("tea", 2))
        assert await handle.result() == steps.Order("tea", 4)
        data = [event.data for event in await handle.history() if event.type.startswith("step_")]
        assert all("spelled" in one[part] for one in data for part in ("input", "result") if part in one)
        assert {part for one in data for part in one} >= {"input", "result"}

    really(program, codec=SpellingCodec())


def test_the_simulation_runs_it_in_place() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(steps.squares_in_a_process, 7) == 49
        pid, *_ = await engine.run(steps.calls_in_a_process, "whereabouts")  # type: ignore[misc]
        assert pid == os.getpid()

    run(program, workflows=FLOWS)


def test_a_method_is_refused_where_it_is_called() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(steps.calls_a_method, 1)
        with pytest.raises(WorkflowFailed, match="static method"):
            await handle.result()
        assert [event.type for event in await handle.history()][-1] == "workflow_failed"

    run(program, workflows=FLOWS)


async def is_async() -> None: ...


def test_what_no_other_process_could_find_cannot_be_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    def local() -> None: ...

    for wrong in (local, lambda: None, functools.partial(steps.plain, 1)):
        function: Any = wrong
        with pytest.raises(InvalidDefinition, match="process of its own"):
            step(function, process=True, name="wrong")
    with pytest.raises(InvalidDefinition, match="async def"):
        step(is_async, process=True)
    with pytest.raises(InvalidDefinition, match="process must be"):
        step(steps.plain, process="yes")  # type: ignore[call-overload]
    monkeypatch.setattr(steps.plain, "__module__", "__main__")
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__file__")
    monkeypatch.setattr(main, "__spec__", None)
    with pytest.raises(InvalidDefinition, match="notebook"):
        step(steps.plain, process=True)


def test_outside_of_workflows_it_is_a_plain_call() -> None:
    assert steps.Tools.square(4) == 16
    assert steps.Tools().method(4) == 4


@pytest.mark.parametrize("codec", [None, SpellingCodec()], ids=["json", "another"])
def test_what_a_step_publishes_in_a_process_is_heard_also_of_one_that_dies(codec: Any, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(steps.calls_in_a_process, "shows", str(tmp_path / "notes"))
        seen = [item async for item in handle.stream("words").items()]
        resets = [item.offset for item in seen if isinstance(item, StreamReset)]
        assert resets == [2]
        values = [item.value for item in seen if isinstance(item, StreamItem)]
        assert values == ["1a", "1b", "2a", "2b", *range(2000)]
        assert await handle.get_value("times") == 2
        assert await handle.result() == 2

    really(program, codec=codec)
