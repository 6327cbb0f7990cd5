"""What the options of an engine do; what they refuse is in `test_engine`, what `grace` and `guards` do in their own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Engine, step, workflow
from everlog.core.codec import ANY, JsonCodec
from everlog.core.durations import SECOND
from everlog.testing.simulation import SimulatedHost
from tests.support import make_store, on_both_stores, run, simulate

PATIENCE = 30
RUNNING: list[int] = [0, 0]
TURN = threading.Condition()


@step
def holds_a_thread() -> None:
    with TURN:
        RUNNING[0] += 1
        RUNNING[1] = max(RUNNING)
        TURN.notify_all()
        TURN.wait_for(lambda: RUNNING[1] >= 2, timeout=PATIENCE)
        RUNNING[0] -= 1


@workflow
async def holds_threads(count: int) -> None:
    await asyncio.gather(*(everlog.call(holds_a_thread) for _ in range(count)))


def test_step_threads_is_how_many_plain_steps_run_at_once() -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), Engine("memory://", workflows=[holds_threads], step_threads=2) as engine:
            await engine.run(holds_threads, 8)

    RUNNING[:] = [0, 0]
    asyncio.run(main())
    assert RUNNING == [0, 2]


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("process", 1)])
def test_durability_is_what_the_database_is_asked_for(durability: Any, level: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:///{tmp_path / 'e.db'}", workflows=[], durability=durability) as engine:
            store: Any = engine.store
            connection = store._connection
            assert await engine.on_thread(lambda: connection.value("PRAGMA synchronous")) == level

    asyncio.run(main())


@pytest.mark.parametrize("lease", [3, 60])
def test_lease_is_for_how_long_the_worker_registers(lease: int) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[], lease=lease):
            for _ in range(3):
                (row,) = store.workers()
                left = (row.lease_until - store.now()) / SECOND
                assert 0.4 * lease <= left <= lease
                await asyncio.sleep(lease)

    simulate(program)


class Spelled(JsonCodec):
    """Writes payloads that no other codec can read."""

    def encode(self, value: object, declared: object = ANY, *, what: str = "value") -> bytes:
        return b'{"spelled":' + super().encode(value, declared, what=what) + b"}"

    def decode(self, payload: bytes, declared: object = ANY, *, what: str = "value") -> object:
        assert payload.startswith(b'{"spelled":'), payload
        return super().decode(payload[len(b'{"spelled":') : -1], declared, what=what)


@step
async def doubles(n: int) -> int:
    return 2 * n


@workflow
async def uses_every_payload(n: int) -> int:
    await everlog.send("other", "topic", n)
    return await doubles(n) + await everlog.recv("topic", type=int)


@workflow
async def listens() -> int:
    return await everlog.recv("topic", type=int)


@on_both_stores
def test_codec_writes_and_reads_every_payload(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        other = await engine.start(listens.options(id="other"))
        handle = await engine.start(uses_every_payload, 3)
        await handle.send("topic", 10)
        assert await handle.result() == 16
        assert await other.result() == 3
        parts = {"input", "result", "message"}
        data = [event.data for one in (handle, other) for event in await one.history()]
        payloads = [one[part] for one in data for part in parts if part in one]
        assert len(payloads) >= 8
        assert all("spelled" in payload for payload in payloads)

    run(program, kind=kind, folder=tmp_path, workflows=[uses_every_payload, listens], codec=Spelled())
