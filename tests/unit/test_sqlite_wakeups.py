"""Wake-ups of the SQLite store: rung between processes, and found by looking where nobody rings."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from everlog import Client, Engine, recv, workflow
from everlog.store import Commit, Done, SupportsWakeups
from everlog.testing.making import claim, commit, create, events, new
from everlog_sqlite import open_store, wakeups
from everlog_sqlite.bells import Bells
from everlog_sqlite.store import PushingStore

NEVER = 3600.0
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@workflow(name="sqlite_wakeups.listens")
async def listens() -> int:
    number: int = await recv("number", type=int)
    return number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], PushingStore]]:
    """Opens stores on the file, and closes them in the end."""
    stores: list[PushingStore] = []

    def one_more() -> PushingStore:
        store = open_store(f"sqlite:///{path}")
        assert isinstance(store, PushingStore)
        stores.append(store)
        return store

    yield one_more
    for store in stores:
        store.close()


@pytest.fixture
def only_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks: what is not told is not noticed."""
    for name in ("LOOK_SELDOM", "LOOK_OFTEN", "ANYWAY"):
        monkeypatch.setattr(wakeups, name, NEVER)


@pytest.fixture
def no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells: what is noticed was looked for."""
    monkeypatch.setattr(Bells, "ring", lambda self: None)


def subscribed(store: PushingStore) -> Event:
    """Subscribe, and wait for the first look."""
    woken = Event()
    store.subscribe(woken.set)
    assert woken.wait(timeout=10)
    woken.clear()
    return woken


def bells(path: Path) -> list[Path]:
    directory = path.with_name(f"{path.name}-workers")
    return sorted(directory.glob("*.bell")) if directory.exists() else []


@needs_pipes
@pytest.mark.usefixtures("only_bells")
def test_a_write_wakes_the_subscribers_of_others(opened: Callable[[], PushingStore]) -> None:
    first, second = opened(), opened()
    here, there = subscribed(first), subscribed(second)
    for number in range(3):
        here.clear()
        there.clear()
        create(second, new(f"order-{number}"))
        assert here.wait(timeout=10)
        assert there.is_set(), "those of the same store are told at once"


@needs_pipes
@pytest.mark.usefixtures("only_bells")
def test_who_comes_later_is_found(opened: Callable[[], PushingStore]) -> None:
    """Also where the directory changed twice within a tick of its clock."""
    writer = opened()
    woken: list[Event] = []
    for number in range(10):
        woken.append(subscribed(opened()))
        create(writer, new(f"order-{number}"))
        for one in woken:
            assert one.wait(timeout=10)
            one.clear()


@needs_pipes
@pytest.mark.usefixtures("only_bells")
def test_a_workflow_that_only_runs_on_wakes_nobody(opened: Callable[[], PushingStore]) -> None:
    first, second = opened(), opened()
    here = subscribed(first)
    create(second, new("order"))
    claim(second, "t")

    def go_on(seq: int) -> None:
        rows = events(seq + 1, seq + 1)
        done = commit(second, Commit(workflow_id="order", token="t", seq=seq, state="running", events=rows))
        assert done == Done()

    go_on(1)  # now it runs
    assert here.wait(timeout=10)
    while here.wait(timeout=0.1):  # one for each of those
        here.clear()
    for seq in range(2, 20):
        go_on(seq)
    assert not here.wait(timeout=0.1)


@pytest.mark.usefixtures("no_bells")
def test_a_write_of_one_who_does_not_ring_is_found(opened: Callable[[], PushingStore]) -> None:
    first, second = opened(), opened()
    here = subscribed(first)
    for number in range(3):
        here.clear()
        create(second, new(f"order-{number}"))
        assert here.wait(timeout=10)


@pytest.mark.usefixtures("no_bells")
def test_where_there_are_no_pipes_writes_are_looked_for_often(
    opened: Callable[[], PushingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "mkfifo", raising=False)
    monkeypatch.setattr(wakeups, "LOOK_SELDOM", NEVER)
    monkeypatch.setattr(wakeups, "ANYWAY", NEVER)
    first, second = opened(), opened()
    here = subscribed(first)
    create(second, new("order"))
    assert here.wait(timeout=10)


def test_where_no_pipe_can_be_made_it_works_all_the_same(
    path: Path, opened: Callable[[], PushingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no pipes on this file system")

    monkeypatch.setattr(os, "mkfifo", refuse, raising=False)
    first, second = opened(), opened()
    here = subscribed(first)
    create(second, new("order"))
    assert here.wait(timeout=10)
    assert bells(path) == []


@needs_pipes
@pytest.mark.usefixtures("only_bells")
def test_the_bell_of_a_dead_process_is_removed(path: Path, opened: Callable[[], PushingStore]) -> None:
    """One that has been rung before it died, and one that has not."""
    program = (
        "import sys, time; from everlog_sqlite import open_store; store = open_store(sys.argv[1])\n"
        "store.subscribe(lambda: None); print('ready', flush=True); time.sleep(60)"
    )
    writer = opened()
    here = subscribed(opened())
    for number, is_rung in enumerate([True, False]):
        command = [sys.executable, "-c", program, f"sqlite:///{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert len(bells(path)) == 2
            if is_rung:
                create(writer, new("first"))
            process.kill()
        here.clear()
        create(writer, new(f"order-{number}"))
        assert here.wait(timeout=10)
        assert len(bells(path)) == 1


@needs_pipes
def test_a_bell_that_nobody_answers_holds_nobody_up(tmp_path: Path) -> None:
    file = tmp_path / "test.db"
    file.touch()
    deaf, ringing = Bells(tmp_path / "bells", file), Bells(tmp_path / "bells", file)
    ear = deaf.hang()
    assert ear is not None
    for _ in range(70_000):
        ringing.ring()
    assert len(os.read(ear, 1_000_000)) < 70_000, "it was full"
    ringing.ring()
    assert os.read(ear, 1_000_000)
    deaf.close()
    ringing.close()


@needs_pipes
def test_who_may_write_to_the_file_may_ring(path: Path, opened: Callable[[], PushingStore]) -> None:
    store = opened()
    path.chmod(0o660)
    subscribed(store)
    (bell,) = bells(path)
    assert stat.S_IMODE(bell.stat().st_mode) == 0o660


@needs_pipes
@pytest.mark.usefixtures("only_bells")
def test_a_path_may_be_long(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 200)
    directory.mkdir()
    first, second = (open_store(f"sqlite:///{directory / 'test.db'}") for _ in range(2))
    assert isinstance(first, PushingStore)
    here = subscribed(first)
    create(second, new("order"))
    assert here.wait(timeout=10)
    first.close()
    second.close()


@needs_pipes
def test_what_is_no_pipe_is_left_alone(tmp_path: Path) -> None:
    file, target = tmp_path / "test.db", tmp_path / "target"
    file.touch()
    target.touch()
    ours = Bells(tmp_path / "bells", file)
    assert ours.hang() is not None
    (tmp_path / "bells" / "plain.bell").write_text("kept")
    (tmp_path / "bells" / "link.bell").symlink_to(target)
    ours.ring()
    ours.close()
    assert (tmp_path / "bells" / "plain.bell").read_text() == "kept"
    assert target.read_text() == ""


@needs_pipes
def test_a_fork_keeps_no_bell(tmp_path: Path) -> None:
    """As long as it did, its parent's death could not be seen."""
    file = tmp_path / "test.db"
    file.touch()
    ours = Bells(tmp_path / "bells", file)
    ear = ours.hang()
    assert ear is not None
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.fstat(ear)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.fstat(ear)
    ours.close()


@needs_pipes
@pytest.mark.parametrize("end", ["commit", "close"])
def test_the_end_of_a_transaction_of_the_users_is_told_to_others(
    path: Path, opened: Callable[[], PushingStore], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_SELDOM", NEVER)
    monkeypatch.setattr(wakeups, "ANYWAY", NEVER)
    first, second = opened(), opened()
    here, there = subscribed(first), subscribed(second)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    second._may_commit(connection)
    here.clear()
    there.clear()
    assert not here.wait(timeout=0.1)
    getattr(connection, end)()
    assert here.wait(timeout=10)
    assert there.wait(timeout=10)
    connection.close()


def test_closing_ends_the_thread_and_takes_the_bell_down(path: Path) -> None:
    before = set(enumerate_threads())  # of other tests, some of them about to end
    store = open_store(f"sqlite:///{path}")
    assert isinstance(store, PushingStore)
    leave = store.subscribe(lambda: None)
    assert len(set(enumerate_threads()) - before) == 1
    leave()
    leave()
    store.close()
    store.close()
    assert not set(enumerate_threads()) - before
    assert bells(path) == []


def test_a_store_on_a_clock_of_its_own_does_not_push(path: Path) -> None:
    """As in simulations, in which no other thread may decide about anything."""
    store = open_store(f"sqlite:///{path}", clock=lambda: 0)
    assert not isinstance(store, SupportsWakeups)
    store.close()


@needs_pipes
@pytest.mark.usefixtures("only_bells")
def test_engines_and_clients_on_one_file_wake_each_other(path: Path) -> None:
    async def program() -> int:
        url = f"sqlite:///{path}"
        async with Engine(url, workflows=[listens]), Client(url) as client:
            handle = await client.start(listens)
            await handle.send("number", 7)
            return await handle.result()

    assert asyncio.run(asyncio.wait_for(program(), timeout=60)) == 7
