"""Receiving: how a `recv` becomes an operation, and its fact a message, a request, or that nothing came in time."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from everlog.core import events
from everlog.core.asks import ask_topic
from everlog.core.durations import Duration, microseconds
from everlog.core.names import check_topic
from everlog.errors import UsageError
from everlog.replay.asking import NO_DEFAULT, ask, site
from everlog.replay.operations import WaitOperation
from everlog.replay.requests import AnyRequest, Request, request_of, value_type

if TYPE_CHECKING:
    from everlog.replay.execution import Execution


def receive(
    execution: Execution,
    topic: str,
    declared: object,
    timeout: Duration | None,
    default: object,
    *,
    requests: type[AnyRequest[Any]] = Request,
) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a `recv`; `requests` is the type of requests where it is called."""
    if default is not NO_DEFAULT and timeout is None:
        raise UsageError("recv: default= needs timeout=; without a timeout it would never be given")
    check_topic(topic)
    takes = value_type(declared, requests)
    due_at = None if timeout is None else execution.loop.log_time + microseconds(timeout, what="timeout of recv")
    identity = execution.loop.branch().draw("recv")
    operation = WaitOperation(
        execution,
        identity,
        site(),
        topic=topic if takes is None else ask_topic(topic),
        due_at=due_at,
        takes=takes,
    )

    def finish(execution: Execution, operation: WaitOperation, event: Any) -> Any:
        if isinstance(event, events.MessageReceived):
            if takes is not None:
                return request_of(execution, requests, event, takes)
            return execution.decode(bytes(event.message), declared, f"message on topic {topic!r}")
        if default is NO_DEFAULT:
            raise TimeoutError(f"no {'message' if takes is None else 'ask'} on topic {topic!r} came in time")
        return default

    return ask(execution, operation, finish, "recv")
