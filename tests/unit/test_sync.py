"""`everlog.sync` for programs: engine, client, handle and listings without await, and the two colours compared."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import everlog
from everlog import (
    StoreError,
    StoreUnavailable,
    UsageError,
    WorkflowCancelled,
    WorkflowFailed,
    WrongContext,
    step,
    sync,
    workflow,
)
from everlog.replay import blocking as blocking_functions
from everlog.replay import primitives
from everlog.runtime import blocking as blocking_classes
from everlog.runtime import blocking_handles, blocking_outbox, client, engine, handles, outbox, queue_handles, schedules

PATIENCE = 30


class Declined(Exception):
    pass


@step
def double(number: int) -> int:
    return 2 * number


@step
async def where() -> str:
    return threading.current_thread().name


@step
async def decline() -> None:
    raise Declined("gold")


@workflow
def doubles(number: int, *, times: int = 1) -> int:
    for _ in range(times):
        number = double(number)
    return number


@workflow
async def doubles_async(number: int) -> int:
    return await everlog.call(double, number)


@workflow
def waits() -> str:
    return sync.recv("answer", type=str)


@workflow
def fails() -> None:
    sync.call(decline)


@workflow
def asks_where() -> str:
    return sync.call(where)


@pytest.fixture
def opened() -> Iterator[sync.Engine]:
    with sync.Engine("memory://", grace=0) as opened:
        yield opened


# -- engine, client, handle --------------------------------------------------------------------------------------------


def test_workflows_of_both_colours_run(opened: sync.Engine) -> None:
    assert opened.run(doubles, 3, times=2) == 12
    assert opened.run(doubles_async, 3) == 6
    handle = opened.start(doubles.options(id="one"), 5)
    assert (handle.id, handle.result(), handle.result(timeout=1)) == ("one", 10, 10)
    assert opened.handle("one", doubles).result() == 10
    assert opened.handle("one").status().state == "completed"
    assert repr(handle) == "<Handle 'one'>"


def test_messages_and_cancellation(opened: sync.Engine) -> None:
    for id in ("one", "two", "three"):
        opened.start(waits.options(id=id))
    opened.send("one", "answer", "yes")
    opened.handle("two").send("answer", "no", key="once")
    assert [opened.handle(id).result() for id in ("one", "two")] == ["yes", "no"]
    assert opened.cancel("one", "three") == ["three"]
    with pytest.raises(WorkflowCancelled):
        opened.handle("three").result()
    opened.start(waits.options(id="four")).cancel(reason="enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        opened.handle("four").result()


def test_failures_and_time_limits(opened: sync.Engine) -> None:
    with pytest.raises(WorkflowFailed) as failed:
        opened.run(fails)
    assert isinstance(failed.value.__cause__, Declined)
    handle = opened.start(waits)
    with pytest.raises(TimeoutError, match=rf"workflow '{handle.id}' has not ended within 0\.01 s, and goes on"):
        handle.result(timeout=0.01)
    assert handle.status().state in ("running", "waiting")


def test_listings_are_read_page_by_page_as_often_as_wanted(opened: sync.Engine) -> None:
    for number in range(205):
        opened.start(doubles.options(id=f"{number:03}"), number)
    listing = opened.workflows()
    for _ in range(2):
        assert sorted(one.id for one in listing) == [f"{number:03}" for number in range(205)]
    assert next(iter(opened.handle("000").history(after=1))).seq == 2
    assert list(opened.workflows(name="nothing")) == []
    opened.handle("204", doubles).result()
    assert {one.name for one in opened.workflows(state="completed", name="doubles")} == {"doubles"}


def test_async_steps_run_on_a_loop_aside(opened: sync.Engine) -> None:
    name = opened.run(asks_where)
    assert name == opened.run(asks_where)
    assert name.startswith("everlog-aside")


def test_several_threads_may_use_one_engine(opened: sync.Engine) -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(opened.run(doubles, n))) for n in range(10)]  # type: ignore[misc] # a lambda
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == [2 * number for number in range(10)]


def test_calls_of_other_threads_end_when_the_engine_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever they come: also after the last turn of the loop, and before it is closed."""
    client = sync.Client("memory://")
    ends: dict[int, object] = {}

    def call(number: int) -> None:
        try:
            client._portal.call(lambda: asyncio.sleep(600))
        except Exception as error:
            ends[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    closing = asyncio.Runner.close

    def close(runner: asyncio.Runner) -> None:
        if "everlog" in threading.current_thread().name:
            loop: Any = runner.get_loop()
            threads[1].start()
            while not loop._ready:
                time.sleep(0.001)
        closing(runner)

    monkeypatch.setattr(asyncio.Runner, "close", close)
    with client:
        threads[0].start()
        time.sleep(0.05)
    threads[2].start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [type(ends.get(number)) for number in range(3)] == [StoreUnavailable, StoreUnavailable, UsageError]
    ends.clear()
    gc.collect()  # asyncio says of the second that it was never done: here, and not in whatever test is next


def test_where_there_is_no_loop_it_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(runner: asyncio.Runner) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(asyncio.Runner, "get_loop", refuse)
    with pytest.raises(OSError, match="too many open files"), sync.Client("memory://"):
        pass


def test_a_client_runs_nothing_and_sees_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'everlog.db'}"
    with sync.Client(url) as other:
        handle = other.start(doubles.options(id="one"), 4)
        assert handle.status().state == "queued"
        with sync.Engine(url, grace=0):
            assert handle.result() == 8


# -- where it may be used ----------------------------------------------------------------------------------------------


def test_it_is_used_inside_its_block_and_once() -> None:
    before = set(threading.enumerate())  # engines that other tests let die end when they are collected
    unused = sync.Engine("memory://")
    with pytest.raises(UsageError, match=r"is not open; use it inside: with sync\.Engine"):
        unused.run(doubles, 1)
    with unused, pytest.raises(UsageError, match="was opened before"):
        unused.__enter__()
    with pytest.raises(UsageError, match="is not open"):
        unused.workflows().__iter__().__next__()
    with pytest.raises(UsageError, match="was opened before"):
        unused.__enter__()
    assert not [one for one in set(threading.enumerate()) - before if one.name == "everlog"]


def test_an_engine_that_cannot_be_opened_leaves_nothing_behind() -> None:
    with pytest.raises(UsageError), sync.Engine("nothing://here"):
        pass
    with pytest.raises(UsageError, match="guards"):
        sync.Engine("memory://", guards="maybe")  # type: ignore[arg-type] # that is the test
    with pytest.raises(StoreError), sync.Client("sqlite:////nowhere/at/all.db"):
        pass


def test_in_a_thread_with_a_running_loop_it_is_refused(opened: sync.Engine) -> None:
    async def main() -> None:
        for use in (lambda: opened.run(doubles, 1), lambda: sync.Client("memory://").__enter__(), opened.serve):
            with pytest.raises(WrongContext, match=r"write: async with everlog\.Engine"):
                use()
        assert await asyncio.to_thread(opened.run, doubles, 1) == 2

    asyncio.run(main())


def test_in_workflow_code_it_is_refused_and_in_steps_it_is_not(opened: sync.Engine) -> None:
    @step
    def starts(id: str) -> str:
        return opened.start(doubles.options(id=id), 7).id

    @workflow(name="starts another")
    def flow() -> int:
        with pytest.raises(WrongContext, match="not for workflow code"):
            opened.start(doubles, 1)
        with pytest.raises(WrongContext, match="not for workflow code"):
            list(opened.workflows())
        starts("started in a step")
        return 1

    assert opened.run(flow) == 1
    assert opened.handle("started in a step", doubles).result() == 14


def test_serve_is_for_the_main_thread(opened: sync.Engine) -> None:
    raised: list[BaseException] = []

    def serve() -> None:
        try:
            opened.serve()
        except UsageError as error:
            raised.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(PATIENCE)
    assert "only the main thread gets" in str(raised[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork_it_is_unusable_in_the_child() -> None:
    program = """
import os
from everlog import UsageError, sync
with sync.Client("memory://") as client:
    if os.fork() == 0:
        try:
            client.cancel()
        except UsageError as error:
            os._exit(0 if "before fork()" in str(error) else 1)
        os._exit(2)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=PATIENCE, check=False)
    assert ended.returncode == 0


SERVING = """
import asyncio
import signal
import sys
from everlog import step, sync, workflow

@step
async def note(text: str) -> None:
    while sys.argv[2] == "serve" and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        await asyncio.sleep(0.01)
    print(text, flush=True)

@workflow
def flow() -> None:
    sync.call(note, "begins")
    sync.recv("never")

with sync.Engine(f"sqlite:///{sys.argv[1]}") as engine:
    try:
        handle = engine.start(flow.options(id="one"))
        engine.serve() if sys.argv[2] == "serve" else handle.result()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("closed", flush=True)
"""


@pytest.mark.parametrize(
    ("waiting", "number", "said"),
    [
        ("result", signal.SIGINT, ["interrupted", "closed"]),
        ("serve", signal.SIGINT, ["closed"]),
        ("serve", signal.SIGTERM, ["closed"]),
    ],
)
def test_signals_end_what_waits_and_close_the_engine(
    tmp_path: Path, waiting: str, number: signal.Signals, said: list[str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING, str(tmp_path / "everlog.db"), waiting], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, out.split()) == (0, said)


# -- the mirror --------------------------------------------------------------------------------------------------------

FUNCTIONS = {"recv", "send", "ask", "call", "start", "set_value", "emit", "close_stream", "sleep", "sleep_until"}
"""The names of `everlog` that wait, and are called in workflows."""
ONLY_BLOCKING = {"map", "submit", "timeout", "Future"}
"""What stands for asyncio."""
OWN = {"compensations", "handle"}
"""What never waits, and gives something of which each colour has its own."""
INSIDE = {
    "aside",
    "create",
    "environment",
    "expects_queue",
    "held_here",
    "worker_here",
    "may_import",
    "message",
    "need_queue",
    "on_thread",
    "payload_of",
    "post",
    "post_control",
    "signing_as",
    "start_of",
    "store",
    "wait_for",
    "wait_for_end",
    "wrote",
    "wrote_schedule",
}
"""Methods of a client that its own handles and engines call."""


def declared(module: ModuleType) -> dict[str, list[str]]:
    """Give the signatures of every function and method in a module's source, without `async`: overloads apart."""
    found: dict[str, list[str]] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.args.args or node.args.posonlyargs or node.args.kwonlyargs or node.args.vararg:
                    returns = "" if node.returns is None else ast.unparse(node.returns)
                    overload = any(ast.unparse(one) == "overload" for one in node.decorator_list)
                    if overload or not found.get(prefix + node.name):
                        found.setdefault(prefix + node.name, []).append(f"({ast.unparse(node.args)}) -> {returns}")
            elif isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                visit(node.body, prefix)

    visit(ast.parse(inspect.getsource(module)).body, "")
    return found


def test_every_name_that_waits_has_its_mirror() -> None:
    mirrored = FUNCTIONS | {
        "Client",
        "Engine",
        "Handle",
        "Listing",
        "Outbox",
        "OutboxQueue",
        "QueueHandle",
        "Request",
        "ScheduleHandle",
        "Stream",
    }
    assert mirrored <= set(everlog.__all__)
    mirrored |= OWN
    plain = {name for name in sync.__all__ if getattr(everlog, name, None) is getattr(sync, name)}
    assert set(sync.__all__) == mirrored | ONLY_BLOCKING | plain
    alike = {"Current", "connection", "continue_as_new", "current", "now", "patched", "random", "scope", "uuid4"}
    assert plain == alike
    awaited = {
        name
        for name in everlog.__all__
        if name in declared(primitives) and f"async def {name}(" in inspect.getsource(primitives)
    }
    assert awaited == FUNCTIONS


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_have_the_same_signatures_overload_by_overload(name: str) -> None:
    assert declared(blocking_functions)[name] == declared(primitives)[name]


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (client, "Client"),
        (engine, "Engine"),
        (handles, "Handle"),
        (queue_handles, "QueueHandle"),
        (outbox, "Outbox"),
        (outbox, "OutboxQueue"),
        (schedules, "ScheduleHandle"),
    ],
    ids=lambda one: str(one),
)
def test_methods_have_the_same_names_and_signatures_overload_by_overload(module: ModuleType, kind: str) -> None:
    def methods(of: ModuleType) -> dict[str, list[str]]:
        return {
            name: signatures
            for name, signatures in declared(of).items()
            if name.startswith(f"{kind}.") and not name.rpartition(".")[2].startswith("_")
        }

    mirror = blocking_classes if kind in ("Client", "Engine") else blocking_handles
    mirror = blocking_outbox if module is outbox else mirror
    given, mirrored = methods(module), methods(mirror)
    assert {name for name in given if name.rpartition(".")[2] not in INSIDE} == set(mirrored)
    for name, signatures in mirrored.items():
        assert signatures == given[name]
    if kind in ("Client", "Engine"):
        init = f"{kind}.__init__"
        assert declared(module)[init] == declared(blocking_classes)[init]


def test_the_programs_of_the_docs_import_it_as_a_part_of_everlog() -> None:
    assert importlib.import_module("everlog.sync") is sync
