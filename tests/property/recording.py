"""Recording: runs programs live on a simulated host, and has their histories replayed by another process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from everlog import AskRefused, Engine, Handle, NotFound, SyncWorkflow, Workflow, WorkflowCancelled, WorkflowFailed
from everlog.store import ENDED, Head, Store, WorkflowQuery
from everlog.testing.simulation import SimulatedHost
from tests.property.blocking_interpreter import interpret_blocking, interpret_child_blocking
from tests.property.databases import Database
from tests.property.interpreter import interpret, interpret_child
from tests.property.programs import random_recipe

INTERPRETERS = (interpret, interpret_blocking, interpret_child, interpret_child_blocking)
PATIENCE = 60
"""Seconds of virtual time after which a program is cancelled, and after which it is cancelled again."""
ALL = WorkflowQuery(limit=100_000)
ROOT = Path(__file__).parents[2]


MEMORY = Database("memory")


def record(recipe: dict[str, Any], database: Database = MEMORY) -> list[dict[str, Any]]:
    """Run a recipe live; give the histories of its workflows, ended or not, as JSON data."""
    host = SimulatedHost(seed=recipe["seed"])
    database.clean()
    store = database.open(host.wall)
    ids = [f"program-{number}" for number in range(len(recipe["programs"]))]

    async def main() -> None:
        async with Engine(store, host=host, guards="off", workflows=INTERPRETERS) as engine:
            starts = [
                engine.start(
                    interpreter_of(recipe, number).options(id=one, timeout=recipe["timeouts"][number]),
                    program,
                    ids[number - 1],
                    one,
                )
                for number, (one, program) in enumerate(zip(ids, recipe["programs"], strict=True))
            ]
            handles: list[Handle[Any]] = await asyncio.gather(*starts)
            await disturb(handles, recipe["outside"])
            await until_ended(handles)

    host.run(main())
    if host.failure is not None:
        raise host.failure
    return histories(store)


def interpreter_of(recipe: dict[str, Any], number: int) -> Workflow[..., list[Any]] | SyncWorkflow[..., list[Any]]:
    """Give the workflow that runs a program of a recipe."""
    return interpret_blocking if recipe["blocking"][number] else interpret


async def disturb(handles: Sequence[Handle[Any]], outside: Sequence[dict[str, Any]]) -> None:
    """Send and cancel from outside, as the recipe says."""
    for one in outside:
        await asyncio.sleep(one["after"])
        handle = handles[one["to"]]
        try:
            if one["do"] == "cancel":
                await handle.cancel()
            elif one["do"] == "send":
                await handle.send(one["topic"], one["value"])
            else:
                await ask_or_answer(handle, one, key=None)
        except (NotFound, AskRefused, TimeoutError):
            pass


async def ask_or_answer(handle: Handle[Any], one: dict[str, Any], *, key: str | None) -> Any:
    """Ask a workflow, or answer what it asks people; give its answer."""
    if one["do"] == "ask":
        return await handle.ask(one["topic"], one["value"], timeout=1, key=key)
    client = handle._client
    for wait in await client.waits(workflow_id=handle.id):
        await client.answer(wait.token, one["value"])
    return None


async def until_ended(handles: Sequence[Handle[Any]]) -> None:
    """Wait for all ends; cancel what does not come to one, at last even that which swallows it."""
    for handle in handles:
        for _ in range(3):
            with suppress(TimeoutError, WorkflowFailed, WorkflowCancelled):
                await handle.result(timeout=PATIENCE)
            if (await handle.status()).state in {*ENDED, "stuck"}:
                break
            await handle.cancel()


def histories(store: Store) -> list[dict[str, Any]]:
    """Give the histories of all workflows, children among them, by id."""
    return [
        history(store, head.workflow_id) for head in sorted(store.workflows(ALL), key=lambda head: head.workflow_id)
    ]


def history(store: Store, workflow_id: str) -> dict[str, Any]:
    """Give a history as JSON data. A workflow that got stuck live is a failure of the test."""
    (head,) = store.heads([workflow_id])
    assert isinstance(head, Head)
    assert head.state != "stuck", head.why
    rows = [[row.seq, row.recorded_at, row.payload.decode()] for row in store.read(workflow_id)]
    return {"id": workflow_id, "state": head.state, "rows": rows}


class Replayer:
    """Other processes that replay histories: long-lived, with other hash seeds, working at once."""

    def __init__(self, processes: int = 2, *, python: str = sys.executable, modules: Sequence[str] = ()) -> None:
        self._modules = modules
        self._processes = [self._begin(python, number) for number in range(processes)]
        self._asked: dict[int, dict[str, Any]] = {}

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=30)
            assert process.stdout is not None
            process.stdout.close()

    def check(self, histories: Iterable[dict[str, Any]]) -> int:
        """Have histories replayed, each once, and insist that each went exactly; give how many there were."""
        checked = 0
        for recorded in histories:
            self._answer(checked % len(self._processes))
            self._ask(checked % len(self._processes), recorded)
            checked += 1
        for number in range(len(self._processes)):
            self._answer(number)
        return checked

    def _ask(self, number: int, recorded: dict[str, Any]) -> None:
        stdin = self._processes[number].stdin
        assert stdin is not None
        stdin.write(json.dumps(recorded) + "\n")
        stdin.flush()
        self._asked[number] = recorded

    def _answer(self, number: int) -> None:
        if number not in self._asked:
            return
        recorded, process = self._asked.pop(number), self._processes[number]
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the replaying process died: {process.wait(timeout=30)}"
        answer = json.loads(line)
        assert answer["ok"], f"{recorded.get('from', recorded['id'])}: {answer['why']}"

    def _begin(self, python: str, number: int) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONHASHSEED": str(4711 + number), "PYTHONPATH": path}
        if number % 2:
            environment["PYTHONMALLOC"] = "malloc"
        worker = str(Path(__file__).with_name("replay_worker.py"))
        return subprocess.Popen(
            [python, "-W", "ignore", worker, str(number), *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=ROOT,
        )


def record_seeds(seeds: Iterable[int], *, database: Database = MEMORY, **options: Any) -> Iterator[dict[str, Any]]:
    """Record the programs of these seeds, one after the other."""
    for seed in seeds:
        for recorded in record(random_recipe(Random(seed), **options), database):
            yield {"from": f"the program of seed {seed}, {options}", **recorded}
