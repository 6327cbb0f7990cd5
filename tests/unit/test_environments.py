"""Where programs run: loops of every kind, notebooks, and what differs on other systems, simulated here."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import everlog
from everlog import Engine, InvalidDefinition, UsageError, step, workflow
from everlog.host import SystemHost
from everlog.replay import importable
from everlog_sqlite import SqliteStore, liveness

PATIENCE = 30


@step
async def add(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@step
def add_in_a_thread(n: int) -> int:
    return n + 1


@workflow
async def adds(n: int) -> int:
    return await everlog.call(add_in_a_thread, await add(n))


async def program() -> int:
    async with asyncio.timeout(PATIENCE), Engine("memory://", workflows=[adds]) as engine:
        return await engine.run(adds, 1)


def by_runner() -> int:
    with asyncio.Runner() as runner:
        first = runner.run(program())
        assert runner.run(program()) == first
        return first


def by_uvloop() -> int:
    uvloop = pytest.importorskip("uvloop")
    result: int = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(program())
    return result


def by_a_loop_of_ones_own() -> int:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(program())
    finally:
        loop.close()


def in_a_thread() -> int:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(program())))
    thread.start()
    thread.join(PATIENCE)
    return results[0]


@pytest.mark.parametrize(
    "start",
    [
        lambda: asyncio.run(program()),
        lambda: asyncio.run(program(), debug=True),
        lambda: anyio.run(program),
        by_runner,
        by_uvloop,
        by_a_loop_of_ones_own,
        in_a_thread,
    ],
    ids=["asyncio", "debug", "anyio", "Runner", "uvloop", "new_event_loop", "thread"],
)
def test_an_engine_runs_on_the_loop_on_which_it_was_opened(start: Callable[[], int]) -> None:
    assert start() == 3


# -- notebooks


class Notebook:
    """Runs cells one after the other on one loop, which goes on between them, in a `__main__` that was typed in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.main: Any = types.ModuleType("__main__")
        self.main.__spec__ = None
        monkeypatch.setitem(sys.modules, "__main__", self.main)
        self.loop = asyncio.new_event_loop()

    def cell(self, text: str) -> Any:
        """Run a cell, which may await; give the value of `out`."""
        code = compile(text, "<cell>", "exec", flags=__import__("ast").PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, vars(self.main))
        if running is not None:
            self.loop.run_until_complete(asyncio.wait_for(running, PATIENCE))
        return vars(self.main).get("out")


FIRST = """
import asyncio, everlog
from everlog import Engine, step, workflow

@step
async def shout(word):
    return word.upper()

@workflow
async def speak(word):
    await asyncio.sleep(0.05)
    return await shout(word) + "!"
"""


def test_cells_of_a_notebook_may_be_run_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    notebook = Notebook(monkeypatch)
    notebook.cell(FIRST)
    url = f"sqlite:///{tmp_path / 'notebook.db'}"
    notebook.cell(f"engine = await Engine({url!r}).__aenter__()")
    assert notebook.cell("out = await engine.run(speak, 'one')") == "ONE!"
    notebook.cell("handle = await engine.start(speak.options(id='kept'), 'two')")
    caplog.clear()
    notebook.cell(FIRST.replace('"!"', '"?"'))
    assert ["replaces" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        True
    ], "the notice"
    assert notebook.cell("out = await handle.result()") == "TWO!", "begun under the first definition"
    assert notebook.cell("out = await engine.run(speak, 'three')") == "THREE?"
    assert notebook.cell("out = (await handle.status()).name") == "speak"
    notebook.cell("await engine.__aexit__(None, None, None)")
    notebook.loop.close()
    assert b"__main__" not in (tmp_path / "notebook.db").read_bytes()


def test_what_is_typed_in_cannot_run_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(monkeypatch)
    with pytest.raises(InvalidDefinition, match="notebook"):
        notebook.cell("from everlog import step\n@step(process=True)\ndef work(): ...\n")
    assert importable.is_interactive()
    notebook.loop.close()


# -- other systems


class Msvcrt(types.ModuleType):
    """Byte locks as Windows has them: they belong to an open file, and keep out every other."""

    LK_NBLCK = 1
    LK_UNLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.locked: dict[int, int] = {}

    def locking(self, file: int, mode: int, size: int) -> None:
        import os

        inode = os.fstat(file).st_ino
        if mode == self.LK_UNLCK:
            assert self.locked.pop(inode) == file
        elif self.locked.setdefault(inode, file) != file:
            raise PermissionError(13, "Permission denied")


def test_the_locks_of_workers_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locks = Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("liveness_on_windows", liveness.__file__)
    assert spec is not None
    assert spec.loader is not None
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    monkeypatch.undo()
    mine, other = there.WorkerLocks(tmp_path), there.WorkerLocks(tmp_path)
    mine.hold("worker-1")
    assert not other.is_free("worker-1")
    assert not other.is_free("worker-2"), "nothing is known of it"
    locks.locked.clear()  # its process has ended
    assert other.is_free("worker-1")
    assert other.is_free("worker-1"), "asking takes nothing"
    mine.close()


def test_on_macos_the_disk_itself_is_asked_to_keep_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, list[int]] = {}
    for platform in ("linux", "darwin"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", platform)
            store = SqliteStore(tmp_path / f"{platform}.db")
            driver: Any = store
            connection = driver._connection
            asked[platform] = [
                connection.value("PRAGMA fullfsync"),
                connection.value("PRAGMA checkpoint_fullfsync"),
            ]
            store.close()
    assert asked == {"linux": [0, 0], "darwin": [1, 1]}


def test_where_the_system_does_not_tell_when_a_process_began_none_is_called_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SystemHost()
    on_linux = here.process()
    monkeypatch.setattr("everlog.host._read", lambda path: "")
    monkeypatch.setattr("everlog.host._namespace", lambda: "")
    for process in (here.process(), on_linux, "", "{}", "null", '{"pid": "1"}'):
        assert not here.is_gone(process)


class LoopOfWindows:
    """A loop that has no signal handlers, as those of Windows."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add_signal_handler(self, number: int, function: Callable[[], object]) -> None:
        raise NotImplementedError

    def remove_signal_handler(self, number: int) -> bool:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("on_windows", [False, True])
def test_serve_ends_at_a_signal_and_puts_back_what_was_there(
    number: int, on_windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(number: int, frame: object) -> None: ...

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), Engine("memory://", workflows=[adds]) as engine:
            loop = asyncio.get_running_loop()
            if on_windows:
                monkeypatch.setattr(asyncio, "get_running_loop", lambda: LoopOfWindows(loop))
            serving = asyncio.ensure_future(engine.serve())
            await asyncio.sleep(0)
            monkeypatch.undo()
            signal.raise_signal(number)
            await serving

    before = signal.signal(number, own)
    try:
        asyncio.run(main())
        # A loop with handlers of its own leaves the system's default behind.
        assert signal.getsignal(number) is own or not on_windows
    finally:
        signal.signal(number, before)


def test_serve_is_refused_off_the_main_thread() -> None:
    async def main() -> None:
        async with Engine("memory://", workflows=[adds]) as engine:
            with pytest.raises(UsageError, match="main thread"):
                await engine.serve()
        done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(PATIENCE)
    assert done
