"""Bytecodes per step, `python -m benchmarks.opcodes [--alone] [--inside] [--top N]`: a figure that defies the load.

A measure of how much Python runs for a step, on all threads, not of how long it takes: what is done in C counts little.
Figures of different versions of Python cannot be compared. Of several runs the one with the fewest counts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple
from unittest import mock

from benchmarks.everlog_sqlite import count, flight
from benchmarks.measuring import FLIGHT, STEPS
from everlog import Engine

ALONE: Final = 50
"""Steps of the workflow that runs alone."""
RUNS: Final = 2
LATER: Final = 3_600_000_000
"""For what is done now and then: counting takes time, in which it would be done more often for each step."""


class Counted(NamedTuple):
    """What was run, by function: bytecodes of its own, bytecodes with those of what it called, and calls."""

    own: Counter[CodeType]
    inclusive: Counter[CodeType]
    calls: Counter[CodeType]


class Counts:
    """Counts what all threads run."""

    def __init__(self) -> None:
        self.own: Counter[CodeType] = Counter()
        self.inclusive: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()
        self._here = threading.local()

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """Begin to count what a function does; for `sys.settrace`."""
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.calls[frame.f_code] += 1
        self._stack().append(0)
        return self._inside

    def _inside(self, frame: FrameType, event: str, argument: object) -> Any:
        stack = self._stack()
        if event == "opcode":
            self.own[frame.f_code] += 1
            stack[-1] += 1
        elif event == "return":
            within = stack.pop()
            self.inclusive[frame.f_code] += within
            if stack:
                stack[-1] += within
        return self._inside

    def _stack(self) -> list[int]:
        stack: list[int] | None = getattr(self._here, "stack", None)
        if stack is None:
            self._here.stack = stack = []
        return stack

    def begin(self) -> None:
        """Begin again."""
        for counter in (self.own, self.inclusive, self.calls):
            counter.clear()

    def taken(self) -> Counted:
        """Give what was counted since."""
        return Counted(self.own.copy(), self.inclusive.copy(), self.calls.copy())


async def counted(counts: Counts, url: str, *, alone: bool) -> Counted:
    """Run the workflows, one before that uncounted; give the run with the fewest bytecodes."""
    async with Engine(url) as engine:
        await engine.run(count, STEPS)
        runs: list[Counted] = []
        for _ in range(RUNS):
            counts.begin()
            await (engine.run(count, ALONE) if alone else flight(engine))
            runs.append(counts.taken())
    return min(runs, key=lambda run: run.own.total())


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.opcodes")
    arguments.add_argument("--alone", action="store_true", help="one workflow of sequential steps, none beside it")
    arguments.add_argument("--inside", action="store_true", help="order by what a function runs and calls")
    arguments.add_argument("--top", type=int, default=60, help="how many functions are listed")
    given = arguments.parse_args()
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="everlog-bench-") as directory, ExitStack() as patches:
        for name in ("replay.rests.SETTLE", "runtime.worker.SETTLE", "runtime.shell.POLL"):
            patches.enter_context(mock.patch(f"everlog.{name}", LATER))
        threading.settrace(counts.trace)
        sys.settrace(counts.trace)
        try:
            run = asyncio.run(counted(counts, f"sqlite:///{Path(directory)}/bench.db", alone=given.alone))
        finally:
            sys.settrace(None)
            threading.settrace(None)
    show(run, ALONE if given.alone else FLIGHT * STEPS, by_inclusive=given.inside, top=given.top)


def show(counts: Counted, steps: int, *, by_inclusive: bool, top: int) -> None:
    """Print the table."""
    print(f"Python {sys.version.split()[0]}: {counts.own.total() / steps:,.0f} bytecodes and", end=" ")
    print(f"{counts.calls.total() / steps:,.1f} calls of functions per step\n")
    print(f"{'own':>8}{'with called':>13}{'calls':>8}  function")
    order = counts.inclusive if by_inclusive else counts.own
    for code, _ in order.most_common(top):
        own, inclusive, calls = (each[code] / steps for each in (counts.own, counts.inclusive, counts.calls))
        place = "/".join(Path(code.co_filename).parts[-2:])
        print(f"{own:8.1f}{inclusive:13.1f}{calls:8.2f}  {place}:{code.co_firstlineno} {code.co_name}")


if __name__ == "__main__":
    main()
