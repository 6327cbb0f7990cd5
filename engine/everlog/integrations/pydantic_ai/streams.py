"""Streams: the events of a run, tokens included, in a durable stream that any process can follow."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_ai.messages import AgentStreamEvent

import everlog
from everlog import Handle, StreamReset
from everlog.integrations.pydantic_ai.runs import in_workflow_code, running
from everlog.replay.context import attempt

_EVENTS: Final[TypeAdapter[Any]] = TypeAdapter(AgentStreamEvent)


def handler_of(stream: str | None, handler: Any) -> Any:
    """Give the handler that writes all events to the stream, and has the user's handler see them too."""
    if stream is None:
        return handler

    async def write(_: Any, events: AsyncIterable[Any]) -> None:
        async for event in _written(stream, events):
            del event

    async def write_and_handle(ctx: Any, events: AsyncIterable[Any]) -> None:
        written = _written(stream, events)
        await handler(ctx, written)
        async for event in written:  # what the handler left
            del event

    return write if handler is None else write_and_handle


async def _written(stream: str, events: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for event in events:
        run = running.get()
        if run is not None and in_workflow_code():
            await run.show(stream, _EVENTS.dump_python(event, mode="json"))
        elif attempt.get() is not None:  # in a step; outside there is no stream to write to
            await everlog.emit(stream, _EVENTS.dump_python(event, mode="json"))
        yield event


async def agent_events(
    handle: Handle[Any], stream: str, *, start: int = 0
) -> AsyncIterator[AgentStreamEvent | StreamReset]:
    """Give the events of a run as they come, from any process, until the workflow ends or the stream is closed.

    Those of a model request are there while the model still speaks. Where its step has to run again there is a
    `StreamReset`: what the step has written so far does not count.
    """
    async for item in handle.stream(stream, start=start).items():
        yield item if isinstance(item, StreamReset) else _EVENTS.validate_python(item.value)
