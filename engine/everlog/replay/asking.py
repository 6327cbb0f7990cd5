"""Asking: how a call in workflow code becomes an operation, and its fact the value or exception of the call."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from everlog.core import events
from everlog.core.codec import SELF, JsonCodec, digest
from everlog.core.event_parts import LargeInput
from everlog.core.names import check_id, check_name, check_reason, check_topic
from everlog.errors import WrongContext
from everlog.replay.divergence import TornDown
from everlog.replay.importable import reference
from everlog.replay.instances import unwrapped, with_class
from everlog.replay.operations import NOT_KEPT, Operation, SendOperation, Site, StepOperation
from everlog.replay.origins import note_handled
from everlog.replay.sizes import LARGE, check_size

if TYPE_CHECKING:
    from everlog.replay.definitions import AnyStep
    from everlog.replay.execution import Execution

_PACKAGE: Final = __name__.rpartition(".")[0]
PREVIEW: Final = 200
NO_DEFAULT: Final = object()
Finish = Callable[["Execution", Any, Any], Any]


def call_step(
    execution: Execution,
    step: AnyStep[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    called_at: Site | None = None,
) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a step call; awaiting it gives what the step returned or raises what it raised."""
    if args and isinstance(args[0], type):
        step, args = with_class(step, args)
    if step.process:
        reference(step)
    codec, name, signature = execution.environment.codec, step.name, step.signature
    plain = None if kwargs or type(codec) is not JsonCodec else signature.encode_plain(args)
    encoded = plain or signature.encode(codec, args, kwargs, what=f"input of step {name}")
    identity = execution.draw_key(name, step.key) if step.key else execution.loop.branch().draw(name)
    operation = StepOperation(
        execution,
        identity,
        called_at or site(),
        definition=step,
        name=name,
        bound=step.bound,
        context=copy_context(),
        input=encoded,
        key=step.key,
        retry=step.retry,
        timeout=step.timeout,
        must_start=step.at_most_once,
        args=None if plain is None else args,
    )
    if signature.unrecorded:
        operation.passed = signature.passed_on(args, kwargs)
    if len(encoded) > execution.environment.whole_input:
        operation.large_input = LargeInput(
            digest=digest(encoded), size=len(encoded), preview=encoded[:PREVIEW].decode(errors="replace")
        )
    return ask(execution, operation, _finish_step, name)


def send(execution: Execution, to: str, topic: str, message: object, key: str | None) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a `send`."""
    check_id(to)
    check_topic(topic)
    if key is not None:
        check_name(key, "the key of a message")
    what = f"message on topic {topic!r}"
    payload = execution.environment.codec.encode(message, SELF, what=what)
    if len(payload) >= LARGE:
        check_size(payload, what, silent=execution.replaying)
    identity = execution.loop.branch().draw("send")
    operation = SendOperation(
        execution, identity, site(), to=to, topic=topic, payload=payload, declared=type(message), key=key
    )
    return ask(execution, operation, _finish_send, "send")


def request(execution: Execution, to: str, topic: str, reason: str) -> Coroutine[Any, Any, Any]:
    """Draw the operation that asks a workflow for something: a control message, with the topic that says what."""
    check_id(to)
    payload = json.encode(check_reason(reason))
    identity = execution.loop.branch().draw(topic)
    operation = SendOperation(
        execution, identity, site(), to=to, topic=topic, payload=payload, declared=str, control=True
    )
    return ask(execution, operation, _finish_send, topic)


def to_thread(execution: Execution, function: Any, args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
    """Give the operation for a plain step that came by `asyncio.to_thread` or `loop.run_in_executor`."""
    kwargs: dict[str, Any] = {}
    step: Any = function
    if isinstance(function, functools.partial) and isinstance(getattr(function.func, "__self__", None), Context):
        given: list[Any] = [*function.args, *args]
        step, args, kwargs = given[0], tuple(given[1:]), function.keywords
    step = unwrapped(step)
    if not getattr(step, "runs_in_thread", False):
        raise WrongContext(
            f"workflow {execution.workflow_id!r}: {step!r} would run in a thread and not be recorded; make it a "
            "step and write: await everlog.call(step, ...)"
        )
    return call_step(execution, step, args, kwargs)


def ask(execution: Execution, operation: Operation, finish: Finish, name: str) -> Coroutine[Any, Any, Any]:
    """Give the coroutine that opens the operation, and gives what `finish` makes of its outcome."""
    note_handled(execution)
    return coroutine_of(execution, operation, _perform(execution, operation, finish), name)


def coroutine_of(
    execution: Execution, operation: Operation, coroutine: Coroutine[Any, Any, Any], name: str
) -> Coroutine[Any, Any, Any]:
    """Name the coroutine of an operation that was called; one that is never awaited is reported."""
    named: Any = coroutine
    named.__name__ = name
    operation.coroutine = coroutine
    execution.called[id(operation)] = operation
    return coroutine


async def outcome_of(execution: Execution, operation: Operation) -> Any:
    """Open the operation and wait for its outcome."""
    future = execution.issue(operation)
    try:
        return await future
    except asyncio.CancelledError:
        if execution.torn_down:
            raise TornDown from None
        raise


async def _perform(execution: Execution, operation: Operation, finish: Finish) -> Any:
    future = execution.issue(operation)
    try:
        event = await future
    except asyncio.CancelledError:
        if execution.torn_down:
            raise TornDown from None
        raise
    return finish(execution, operation, event)


def _finish_step(execution: Execution, operation: StepOperation, event: Any) -> Any:
    if operation.result is not NOT_KEPT:
        return operation.result
    if isinstance(event, events.StepCompleted):
        step = operation.definition
        return execution.decode(bytes(event.result), step.signature.result_type, f"result of step {step.name}")
    raise execution.raise_recorded(event.error)


def _finish_send(execution: Execution, operation: SendOperation, event: Any) -> None:
    if isinstance(event, events.SendFailed):
        raise execution.raise_recorded(event.error)


def site(depth: int = 3) -> Site | None:
    """Give the nearest place outside this package: the user's call.

    The file is taken from the module, not from the code object: reading that would wake every audit hook.
    """
    frame: FrameType | None = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage] - the frames between are known
    while frame is not None:
        names = frame.f_globals
        module: str = names.get("__name__", "")
        if not module.startswith(_PACKAGE):
            return names.get("__file__", module), frame.f_lineno
        frame = frame.f_back
    return None
