"""Receiving: how a `recv` becomes an operation, and its fact a message, a request, or that nothing came in time."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from everlog.core import events
from everlog.core.asks import ask_topic
from everlog.core.durations import Duration, microseconds
from everlog.core.event_parts import ABSENT
from everlog.core.names import check_name, check_topic
from everlog.core.schemas import schema_of
from everlog.errors import UsageError
from everlog.replay.asking import NO_DEFAULT, ask, site
from everlog.replay.operations import WaitOperation
from everlog.replay.requests import AnyRequest, Request, request_of, value_type
from everlog.replay.sizes import LARGE, check_size

if TYPE_CHECKING:
    from everlog.replay.execution import Execution


def receive(
    execution: Execution,
    topic: str,
    declared: object,
    timeout: Duration | None,
    default: object,
    *,
    title: str | None = None,
    metadata: object = None,
    requests: type[AnyRequest[Any]] = Request,
) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a `recv`; `requests` is the type of requests where it is called."""
    if default is not NO_DEFAULT and timeout is None:
        raise UsageError("recv: default= needs timeout=; without a timeout it would never be given")
    check_topic(topic)
    takes = value_type(declared, requests)
    listing = _listing(execution, topic, declared, title, metadata, is_ask=takes is not None)
    due_at = None if timeout is None else execution.loop.log_time + microseconds(timeout, what="timeout of recv")
    identity = execution.loop.branch().draw("recv")
    operation = WaitOperation(
        execution,
        identity,
        site(),
        topic=topic if takes is None else ask_topic(topic),
        due_at=due_at,
        takes=takes,
        **listing,
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


def _listing(
    execution: Execution, topic: str, declared: object, title: str | None, metadata: object, *, is_ask: bool
) -> dict[str, Any]:
    """Give what a wait that is listed has beyond others."""
    if title is None:
        if metadata is not None:
            raise UsageError("recv: metadata= is shown with a title=; without one the wait is not listed for anybody")
        return {}
    if is_ask:
        raise UsageError(
            "recv: title= lists a wait for a message, which people answer; asks are answered by the workflow"
        )
    what = f"metadata of the wait on topic {topic!r}"
    encoded = b"" if metadata is None else execution.environment.codec.encode(metadata, what=what)
    schema = schema_of(declared)
    if len(encoded) >= LARGE:
        check_size(encoded, what, silent=execution.replaying)
    return {
        "title": check_name(title, "the title of a wait"),
        "metadata": Raw(encoded) if encoded else ABSENT,
        "schema": ABSENT if schema is None else Raw(schema),
        "declared": declared,
    }
