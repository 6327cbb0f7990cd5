"""Stores whose payloads are sealed: nothing can be read in their files, keys rotate, and without a key nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import everlog
from everlog import (
    Client,
    Engine,
    Handle,
    IdInUse,
    PayloadUnavailable,
    Request,
    RetryPolicy,
    WorkflowFailed,
    step,
    workflow,
)
from everlog.cli.main import main as cli
from everlog.codecs import Chain, Compressed, Encrypted, Json, Offloaded, chain
from everlog.core.codec import JsonCodec
from everlog.errors import StepFailed
from everlog.memory import MemoryStore
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import verdict_of
from everlog.testing.simulation import SimulatedHost
from tests.inspecting import visiting_as
from tests.support import in_state, make_store, on_both_stores, simulate

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}
HIDDEN = "pl41n"
"""In every payload, and in nothing that is said to stay in the open."""
RAN: list[str] = []
PATIENCE = 30


def sealing(*keys: dict[str, bytes], over: int = 512) -> Chain:
    ring = {name: secret for one in keys for name, secret in one.items()}
    return chain(Json(), Compressed(over=over), Encrypted(ring))


class HiddenError(Exception):
    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.held = f"{HIDDEN} attribute"


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    RAN.clear()


# -- what every payload is


@step(name="codecs.step")
async def answers(said: str) -> str:
    RAN.append("codecs.step")
    return f"{HIDDEN} result of {said}"


@step(name="codecs.emitting")
async def emits(said: str) -> None:
    await everlog.emit("of a step", f"{HIDDEN} {said}")


@step(name="codecs.failing", retry=RetryPolicy(max_attempts=2, first_delay=0.01))
async def fails(said: str) -> None:
    error = HiddenError(f"{HIDDEN} message of {said}")
    error.add_note(f"{HIDDEN} note")
    raise error from ValueError(f"{HIDDEN} cause")


@step(name="codecs.transaction", transaction=True)
def pays(said: str) -> str:
    connection = everlog.connection(type=sqlite3.Connection)
    connection.execute("CREATE TABLE IF NOT EXISTS paid (at TEXT)")
    connection.execute("INSERT INTO paid VALUES ('x')")
    return f"{HIDDEN} receipt of {said}"


@workflow(name="codecs.child")
async def child(said: str) -> str:
    if "fails" in said:
        raise HiddenError(f"{HIDDEN} failure of a child")
    return f"{HIDDEN} result of a child, {said}"


@workflow(name="codecs.everything")
async def everything(said: str, rounds: int = 1) -> str:
    await answers(f"{HIDDEN} argument")
    await answers(f"{HIDDEN} large argument " + "x" * 100_000)
    await emits("argument")
    with contextlib.suppress(StepFailed, HiddenError):
        await fails(f"{HIDDEN} argument")
    await everlog.call(pays, f"{HIDDEN} argument")
    await everlog.set_value("said", f"{HIDDEN} value")
    await everlog.emit("said", f"{HIDDEN} item", {"of": f"{HIDDEN} items"})
    await everlog.emit("large", *(f"{HIDDEN} item {number} {'y' * 1000}" for number in range(100)))
    await child(f"{HIDDEN} input of a child")
    with contextlib.suppress(StepFailed, HiddenError, WorkflowFailed):
        await child(f"{HIDDEN} fails")
    await everlog.send("codecs-listener", "news", f"{HIDDEN} message")
    assert await everlog.ask("codecs-listener", "question", f"{HIDDEN} question", type=str, timeout=60) == f"{HIDDEN} answer"
    await everlog.recv("go", type=str, title="Go on?", metadata={"why": f"{HIDDEN} metadata"})
    if rounds:
        everlog.continue_as_new(everything, f"{HIDDEN} again", 0)
    raise HiddenError(f"{HIDDEN} failure of {said}")


@workflow(name="codecs.listener")
async def listener() -> str:
    for _ in range(2):
        asked = await everlog.recv("question", type=Request[str])
        await asked.reply(f"{HIDDEN} answer")
    return await everlog.recv("news", type=str)


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def answered(engine: Engine, workflow_id: str, *, before: str = "") -> str:
    """Wait until the workflow waits for somebody, otherwise than before, and answer; give the token."""
    while True:
        for wait in await engine.waits(workflow_id=workflow_id):
            if wait.token != before:
                assert wait.metadata == {"why": f"{HIDDEN} metadata"}
                await engine.answer(wait.token, f"{HIDDEN} go")
                return wait.token
        await asyncio.sleep(0.01)


async def do_everything(url: str, codec: Chain | None) -> Handle[str]:
    async with Engine(url, codec=codec, durability="process") as engine:
        await engine.start(listener.options(id="codecs-listener"))
        handle = await engine.start(everything.options(id="codecs-all"), f"{HIDDEN} input")
        async with asyncio.timeout(PATIENCE):
            token = await answered(engine, "codecs-all")
            await answered(engine, "codecs-all", before=token)
        with pytest.raises(WorkflowFailed, match=f"{HIDDEN} failure of {HIDDEN} again") as caught:
            await handle.result(timeout=PATIENCE)
        assert isinstance(caught.value.__cause__, HiddenError)
        assert caught.value.__cause__.held == f"{HIDDEN} attribute"
        assert caught.value.error is not None
        assert HIDDEN in caught.value.error.message
        assert (await handle.get_value("said"), HIDDEN in str(await handle.history())) == (f"{HIDDEN} value", True)
        items = [item async for item in handle.stream("of a step", type=str)]
        assert items == [f"{HIDDEN} argument"] * 2
        return handle


def test_no_payload_can_be_read_in_the_files_of_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sealed.db'}"
    asyncio.run(do_everything(url, sealing(NEW)))
    held = contents(tmp_path)
    assert b'"$":"sealed"' in held
    assert b"codecs.everything" in held, "names stay in the open"
    places = [held[found - 60 : found + 60] for found in _places(held, HIDDEN.encode())]
    assert places == []


def test_the_same_program_without_a_codec_leaves_every_payload_to_be_read(tmp_path: Path) -> None:
    """So that the test above cannot pass because it looks in the wrong place."""
    asyncio.run(do_everything(f"sqlite:///{tmp_path / 'plain.db'}", None))
    held = contents(tmp_path)
    kinds = ("argument", "large argument", "result of", "message of", "note", "cause", "attribute", "receipt", "value", "item", "input of a child", "result of a child", "failure of a child", "message",
             "question", "answer", "metadata", "go", "again", "failure of", "input")  # fmt: skip
    assert [kind for kind in kinds if f"{HIDDEN} {kind}".encode() not in held] == []


def _places(held: bytes, what: bytes) -> list[int]:
    found, at = [], held.find(what)
    while at >= 0:
        found.append(at)
        at = held.find(what, at + 1)
    return found
