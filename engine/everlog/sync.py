"""Everlog for blocking code: the names of `everlog` that wait, without `await`. It adds no mechanism of its own.

    from everlog import step, sync, workflow

    @workflow
    def etl(day: str, regions: list[str]) -> int:
        counts = sync.map(load_region, regions, limit=4)
        sync.call(notify, f"{sum(counts)} rows")
        return sum(counts)

    with sync.Engine("sqlite:///etl.db") as engine:
        print(engine.run(etl, "2026-11-21", ["eu", "us"]))

`map`, `submit` and `timeout` stand for what asyncio does in async code. What never waits is the same in both.
"""

from everlog.replay.blocking import (
    Future,
    Request,
    ask,
    call,
    close_stream,
    compensations,
    emit,
    handle,
    recv,
    send,
    set_value,
    sleep,
    sleep_until,
    start,
    submit,
    timeout,
)
from everlog.replay.blocking import map as map  # noqa: A004 - it is called sync.map, and imported as a part of sync only
from everlog.replay.current import Current
from everlog.replay.primitives import connection, continue_as_new, current, now, patched, random, scope, uuid4
from everlog.runtime.blocking import Client, Engine
from everlog.runtime.blocking_handles import Handle, Listing, QueueHandle, ScheduleHandle, Stream
from everlog.runtime.blocking_outbox import Outbox, OutboxQueue

__all__ = [
    "Client",
    "Current",
    "Engine",
    "Future",
    "Handle",
    "Listing",
    "Outbox",
    "OutboxQueue",
    "QueueHandle",
    "Request",
    "ScheduleHandle",
    "Stream",
    "ask",
    "call",
    "close_stream",
    "compensations",
    "connection",
    "continue_as_new",
    "current",
    "emit",
    "handle",
    "map",
    "now",
    "patched",
    "random",
    "recv",
    "scope",
    "send",
    "set_value",
    "sleep",
    "sleep_until",
    "start",
    "submit",
    "timeout",
    "uuid4",
]
