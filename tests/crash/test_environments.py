"""Programs as users write them, in real processes: scripts that are killed and run again, forks, processes of steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 120.0

SCRIPT = """
import asyncio, os, sys
from dataclasses import dataclass
import everlog
from everlog import Engine, step, workflow


@dataclass
class Order:
    item: str


class Shop:
    @workflow
    async def sell(self, order: Order) -> str:
        first = await self.weigh(order)
        second = await self.weigh(order)
        return f"{first} {second}"

    @step
    async def weigh(self, order: Order) -> str:
        print("weighing", flush=True)
        await asyncio.sleep(0 if sys.argv[2] == "again" else 600)
        return order.item


async def main() -> None:
    shop = everlog.register(Shop(), name="here")
    async with Engine(sys.argv[1], lease=600) as engine:
        handle = await engine.start(shop.sell.options(id="one"), Order("tea"))
        print("result", await handle.result(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
"""

WITH_PROCESSES = """
import asyncio, os, sys, time
import everlog
from everlog import Engine, step, workflow


@step(process=True)
def work(seconds: float) -> int:
    print("working", os.getpid(), flush=True)
    time.sleep(seconds)
    return os.getpid()


class Refused(Exception):
    pass


@step(process=True)
def refuse() -> None:
    raise Refused("no")


@workflow
async def flow(seconds: float) -> int:
    if not seconds:
        try:
            await everlog.call(refuse)
        except Refused as error:
            print("caught", error, flush=True)
    return await everlog.call(work, seconds)


async def main() -> None:
    async with Engine("memory://") as engine:
        print("result", await engine.run(flow, float(sys.argv[1])) != os.getpid(), flush=True)

"""
GUARD = 'if __name__ == "__main__":\n    '

FORKS = """
import asyncio, multiprocessing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks in processes with threads
from pathlib import Path
import everlog
from everlog_sqlite.liveness import WorkerLocks
from everlog import Engine, UsageError, step, workflow


@step
async def add(n: int) -> int:
    return n + 1


@workflow
async def adds(n: int) -> int:
    return await add(n)


async def use(engine) -> None:
    try:
        await engine.start(adds, 1)
    except UsageError as error:
        assert "fork" in str(error), error
        print("refused", flush=True)


def child(engine) -> None:
    asyncio.run(use(engine))


def still_holds_its_lock() -> bool:
    folder = Path(sys.argv[1].removeprefix("sqlite:///") + "-workers")
    (lock,) = folder.glob("*.lock")
    return not WorkerLocks(folder).is_free(lock.stem)


async def main() -> None:
    async with Engine(sys.argv[1], lease=600) as engine:
        assert await engine.run(adds, 1) == 2
        pid = os.fork()
        if pid == 0:
            # The loop of the parent is no use here either.
            asyncio.events._set_running_loop(None)
            asyncio.set_event_loop_policy(None)
            child(engine)
            print("leaving", flush=True)
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert still_holds_its_lock()
        assert await engine.run(adds, 2) == 3
        process = multiprocessing.get_context("fork").Process(target=after_fork, args=(engine,))
        process.start()
        while process.is_alive():
            await asyncio.sleep(0.01)
        assert process.exitcode == 0, process.exitcode
        assert still_holds_its_lock()
        assert await engine.run(adds, 3) == 4
        async with everlog.Client(sys.argv[1]) as client:
            assert await client.handle((await engine.start(adds, 4)).id).result() == 5
    print("left", flush=True)


def after_fork(engine) -> None:
    asyncio.events._set_running_loop(None)
    child(engine)


asyncio.run(main())
"""


class Programs:
    """Runs programs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def write(self, text: str, name: str = "program.py") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *args], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def output(self, *args: str) -> tuple[str, str]:
        out, err = self.start(*args).communicate(timeout=PATIENCE)
        return out, err


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not come"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("lasts", ["program.py", "moved.py"])
def test_a_script_that_was_killed_goes_on_when_it_is_run_again_without_waiting_for_the_lease(
    programs: Programs, lasts: str
) -> None:
    """Its definitions are in `__main__`: the log names them without it, so that the file may have another name too."""
    programs.write(SCRIPT)
    programs.write(SCRIPT, "moved.py")
    url = f"sqlite:///{programs.folder / 'shop.db'}"
    first = programs.start("program.py", url, "first")
    assert line_of(first) == "weighing"
    first.send_signal(signal.SIGKILL)
    first.wait()
    out, err = programs.output(lasts, url, "again")
    assert out.splitlines() == ["weighing", "weighing", "result tea tea"], err
    assert PATIENCE < 600, "or waiting for the lease would pass"
    assert b"__main__" not in (programs.folder / "shop.db").read_bytes()


def test_the_processes_of_a_killed_engine_end_by_themselves(programs: Programs) -> None:
    programs.write(WITH_PROCESSES + GUARD + "asyncio.run(main())\n")
    process = programs.start("program.py", "600")
    pid = int(line_of(process).removeprefix("working "))
    assert runs(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not runs(pid))


@pytest.mark.parametrize("how", [("program.py",), ("-m", "program")])
def test_steps_of_a_script_run_in_processes(programs: Programs, how: tuple[str, ...]) -> None:
    programs.write(WITH_PROCESSES + GUARD + "asyncio.run(main())\n")
    out, err = programs.output(*how, "0")
    told = [line for line in out.splitlines() if not line.startswith("working")]
    assert told == ["caught no", "result True"], err


LEAVES = """
async def leave() -> None:
    engine = await Engine("memory://").__aenter__()
    handle = await engine.start(flow, 600)
    await asyncio.sleep(600)

"""


def test_a_program_that_ends_without_closing_its_engine_leaves_no_process(programs: Programs) -> None:
    programs.write(WITH_PROCESSES + LEAVES + GUARD + "asyncio.run(leave())\n")
    process = programs.start("program.py", "600")
    pid = int(line_of(process).removeprefix("working "))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in err
    until(lambda: not runs(pid))


def test_a_script_that_would_open_its_engine_in_the_process_of_a_step_is_told(programs: Programs) -> None:
    programs.write(WITH_PROCESSES + "asyncio.run(main())\n")
    out, err = programs.output("program.py", "0")
    assert "result" not in out
    assert "must not open an engine" in err
    assert '__name__ == "__main__"' in err


def test_an_interrupt_of_the_terminal_leaves_the_outcome_to_the_parent(programs: Programs) -> None:
    programs.write(WITH_PROCESSES + GUARD + "asyncio.run(main())\n")
    process = programs.start("program.py", "1")
    pid = int(line_of(process).removeprefix("working "))
    os.kill(pid, signal.SIGINT)
    assert line_of(process) == "result True"


def test_a_fork_cannot_use_the_engine_and_does_not_disturb_it(programs: Programs) -> None:
    programs.write(FORKS)
    out, err = programs.output("program.py", f"sqlite:///{programs.folder / 'shop.db'}")
    assert out.splitlines() == ["refused", "leaving", "refused", "left"], err
