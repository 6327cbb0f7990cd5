"""Real processes, killed in the middle of things: retries, interrupted steps, poison, and who goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everlog import Client, NotFound, StoreError
from tests.postgres import needs_postgres, new_schema

PROGRAM = Path(__file__).with_name("retrying.py")
DELAY = 1.0
"""Seconds between attempts, as the program has it."""
PATIENCE = 120.0

on_both_databases = pytest.mark.parametrize(
    "runner", ["sqlite", pytest.param("postgres", marks=needs_postgres)], indirect=True
)


class Runner:
    """Runs the program on one database, as many processes as are wanted."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.notes = folder / "notes"
        self.notes.touch()
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, flow: str, *, grace: float = 30, build: str = "", lease: float = 10) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), self.url, str(self.notes), flow, str(grace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "EVERLOG_BUILD": build, "LEASE": str(lease)},
        )
        self.processes.append(process)
        return process

    def noted(self, text: str = "attempt") -> list[tuple[float, str]]:
        lines = [line.split(" ", 1) for line in self.notes.read_text().splitlines()]
        return [(float(at), said) for at, said in lines if said.startswith(text)]

    def attempts(self) -> list[str]:
        return [said for _, said in self.noted("attempt")]

    def wait_for(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, f"what the test waits for did not come; noted: {self.notes.read_text()}"
            time.sleep(0.01)

    def look(self, workflow_id: str) -> tuple[Any, list[Any]]:
        """Give the status and the history of a workflow."""

        async def look() -> tuple[Any, list[Any]]:
            async with Client(self.url) as client:
                handle = client.handle(workflow_id)
                return await handle.status(), await handle.history()

        return asyncio.run(look())

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    kind = getattr(request, "param", "sqlite")
    made = Runner(tmp_path, new_schema() if kind == "postgres" else f"sqlite:///{tmp_path}/everlog.db")
    yield made
    made.close()


def result_of(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    assert error == ""
    return out.strip()


def test_killed_during_the_back_off_the_next_attempt_comes_when_the_rest_of_it_is_over(runner: Runner) -> None:
    first = runner.start("retries")
    runner.wait_for(lambda: len(runner.attempts()) == 3)

    def third_is_recorded() -> bool:
        return [event.type for event in runner.look("retries")[1]].count("step_attempt_failed") == 3

    runner.wait_for(third_is_recorded)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert result_of(runner.start("retries")) == "result done"
    assert runner.attempts() == ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]
    times = [at for at, _ in runner.noted()]
    failed = [event for event in runner.look("retries")[1] if event.type == "step_attempt_failed"]
    retry_at = failed[-1].data["retry_at"] / 1e6
    assert abs(retry_at - times[2] - DELAY) < 0.2
    assert times[3] >= retry_at - 0.002, "not before the back-off is over"


def test_killed_during_the_third_attempt_that_attempt_runs_again(runner: Runner) -> None:
    # With leases longer than anybody waits here: a dead process of this machine is noticed without them.
    first = runner.start("hangs", lease=600)
    runner.wait_for(lambda: len(runner.attempts()) == 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert result_of(runner.start("hangs", lease=600)) == "result done"
    assert runner.attempts() == ["attempt 1", "attempt 2", "attempt 3", "attempt 3"]


@on_both_databases
def test_killed_during_an_attempt_that_may_run_once_it_is_interrupted(runner: Runner) -> None:
    first = runner.start("once")
    runner.wait_for(lambda: len(runner.attempts()) == 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert "interrupted: step 'hangs_and_runs_once' of workflow 'once'" in result_of(runner.start("once"))
    assert runner.attempts() == ["attempt 1", "attempt 2", "attempt 3"]


@on_both_databases
def test_a_running_peer_takes_over_at_once_from_a_killed_process(runner: Runner) -> None:
    first = runner.start("hangs")
    runner.wait_for(lambda: len(runner.attempts()) == 3)
    second = runner.start("works")  # ends soon, so one that stays is needed
    third = runner.start("waits")
    assert result_of(second) == "result slept"
    runner.wait_for(lambda: len(runner.noted("sleeps")) == 2)
    first.send_signal(signal.SIGKILL)
    died = time.time()
    runner.wait_for(lambda: len(runner.attempts()) == 4)
    assert runner.noted()[-1][0] - died < 3
    third.kill()


def test_a_stopped_process_that_was_taken_over_does_not_write_when_it_goes_on(runner: Runner) -> None:
    first = runner.start("short")
    runner.wait_for(lambda: runner.noted("sleeps"))
    first.send_signal(signal.SIGSTOP)
    second = runner.start("works")
    assert result_of(second) == "result slept", "a stopped process holds up nobody"
    first.send_signal(signal.SIGCONT)
    assert result_of(first) == "result slept"
    assert [event.seq for event in runner.look("short")[1]] == list(range(1, len(runner.look("short")[1]) + 1))


def test_a_step_that_ends_its_process_is_stuck_after_five_takeovers_and_others_finish(runner: Runner) -> None:
    died = 0
    while True:
        process = runner.start("poison", build="one")
        runner.wait_for(lambda process=process: process.poll() is not None or is_stuck(runner))
        if process.poll() is None:
            process.kill()
            break
        assert process.returncode == -signal.SIGKILL
        died += 1
        assert died < 10
    assert 5 <= died <= 6
    status, _ = runner.look("poison")
    assert "'ends_its_process'" in status.why
    assert result_of(runner.start("works", build="one")) == "result slept"
    assert len(runner.attempts()) == died


def is_stuck(runner: Runner) -> bool:
    with contextlib.suppress(NotFound, StoreError):  # not created yet
        return bool(runner.look("poison")[0].state == "stuck")
    return False
