"""Reading: how handles read values and streams of workflows. What they wait on is the engine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from everlog.core.codec import ANY
from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.names import RESERVED, check_name, check_value_name
from everlog.errors import NotFound, UsageError
from everlog.replay.asking import NO_DEFAULT
from everlog.runtime.readers import StreamReader, ValueReader, unknown, values_of
from everlog.runtime.streams import Stream
from everlog.store import ENDED, FoundValue, StreamPage, StreamQuestion

if TYPE_CHECKING:
    from everlog.runtime.client import Client


async def read_value(
    client: Client, workflow_id: str, name: str, declared: object, timeout: Duration | None, default: object
) -> Any:
    """Give a value as `Handle.get_value` promises."""
    check_value_name(name)
    limit = None if timeout is None else microseconds(timeout, what="timeout of get_value") / SECOND
    found = await _look(client, workflow_id, name) if limit == 0 else await _wait(client, workflow_id, name, limit)
    if found is not None and found.value is not None:
        return client.codec.decode(found.value.payload, declared, what=f"value {name!r} of workflow {workflow_id!r}")
    if default is not NO_DEFAULT:
        return default
    if found is not None and found.state in ENDED:
        raise NotFound(f"workflow {workflow_id!r} has ended ({found.state}) and never set the value {name!r}")
    raise TimeoutError(f"workflow {workflow_id!r} has not set the value {name!r} within {limit:g} s; it goes on")


async def _look(client: Client, workflow_id: str, name: str) -> FoundValue:
    (found,) = await client.on_thread(lambda: values_of(client.store).find_values([(workflow_id, name)]))
    if found.state is None:
        raise unknown(workflow_id)
    return found


async def _wait(client: Client, workflow_id: str, name: str, limit: float | None) -> FoundValue | None:
    try:
        async with asyncio.timeout(limit):
            found: FoundValue = await client.wait_for(partial(ValueReader, workflow_id, name))
            return found
    except TimeoutError:
        return None


async def read_values(client: Client, workflow_id: str) -> Mapping[str, Any]:
    """Give all values as `Handle.values` promises."""
    rows = await client.on_thread(lambda: values_of(client.store).values(workflow_id))
    if not rows:
        (head,) = await client.on_thread(lambda: client.store.heads([workflow_id]))
        if head is None:
            raise unknown(workflow_id)
    what = f"value {{}} of workflow {workflow_id!r}"
    return {
        row.name: client.codec.decode(row.payload, ANY, what=what.format(repr(row.name)))
        for row in rows
        if not row.name.startswith(RESERVED)
    }


def open_stream(client: Client, workflow_id: str, name: str, declared: object, start: int) -> Stream[Any]:
    """Give a stream as `Handle.stream` promises."""
    check_name(name, "the name of a stream")
    # Users without a type checker give anything.
    if type(start) is not int or start < 0:
        raise UsageError(f"start of a stream must be a whole number from 0 on, got {start!r}")

    async def read(offset: int) -> StreamPage:
        question = StreamQuestion(workflow_id=workflow_id, stream=name, start=offset)
        page: StreamPage = await client.wait_for(partial(StreamReader, question))
        return page

    return Stream(read, client.codec, name, declared, start)
