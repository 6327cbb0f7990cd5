"""Inner handles: a workflow, as workflow code sees it. What they are asked is recorded, and replayed with the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from everlog.core.codec import ANY
from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.event_codec import decode_event, encode_event
from everlog.core.events import EndEvent
from everlog.core.orders import CANCEL
from everlog.errors import CorruptLog, EverlogError, WrongContext
from everlog.replay import asking, requests, starting
from everlog.replay.context import active, attempt
from everlog.replay.definitions import Step
from everlog.replay.execution import Execution
from everlog.runtime.client import Client
from everlog.runtime.handles import Handle
from everlog.runtime.status import WorkflowStatus

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class InnerHandle(Handle[T_co]):
    """The handle of a workflow in the code of another. It belongs to the workflow that made it.

    Its methods are plain ones that give coroutines, since an operation is drawn where it is called: to a checker a
    slightly wider type than that of an async method, hence what it is told to ignore.
    """

    def __init__(self, execution: Execution, workflow_id: str, result_type: object = ANY) -> None:
        self._execution = execution
        self._id = workflow_id
        self._result_type = result_type

    def result(self, *, timeout: Duration | None = None) -> Coroutine[Any, Any, T_co]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        """Wait for the end and give what the workflow returned; durable, the timeout as well. See `Handle.result`.

        Who is cancelled while waiting here cancels nothing else.
        """
        execution = self._here("result")
        waiting = starting.result_of(execution, self._id, self._result_type)
        if timeout is None:
            return waiting
        return self._within(waiting, microseconds(timeout, what="timeout of result") / SECOND)

    def status(self) -> Coroutine[Any, Any, WorkflowStatus]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        """Give where the workflow is, and why: as it was when that was first asked for."""
        return asking.call_step(self._here("status"), STATUS, (self._id,), {})

    def send(self, topic: str, message: object, /, *, key: str | None = None) -> Coroutine[Any, Any, None]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        """Send the workflow a message; see `everlog.send`."""
        return asking.send(self._here("send"), self._id, topic, message, key)

    @overload
    def ask(
        self, topic: str, message: object, /, *, timeout: Duration, key: str | None = None
    ) -> Coroutine[Any, Any, Any]: ...
    @overload
    def ask(
        self, topic: str, message: object, /, *, type: TypeForm[T], timeout: Duration, key: str | None = None
    ) -> Coroutine[Any, Any, T]: ...
    def ask(  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        self, topic: str, message: object, /, *, type: Any = ANY, timeout: Duration, key: str | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Ask the workflow and give its answer; see `everlog.ask`."""
        return requests.ask(self._here("ask"), self._id, topic, message, type, timeout, key)

    def cancel(self, *, reason: str = "") -> Coroutine[Any, Any, None]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        """Ask the workflow to stop; when this returns, it is asked. Nothing happens if it has ended."""
        return asking.request(self._here("cancel"), self._id, CANCEL, reason)

    async def _within(self, waiting: Coroutine[Any, Any, T_co], limit: float) -> T_co:
        try:
            async with asyncio.timeout(limit):
                return await waiting
        except TimeoutError:
            raise TimeoutError(f"workflow {self._id!r} has not ended within {limit:g} s, and goes on") from None

    def _here(self, name: str) -> Execution:
        if active.execution is not self._execution:
            raise WrongContext(
                f"this handle of {self._id!r} belongs to workflow {self._execution.workflow_id!r}, and {name}() was "
                "called elsewhere; pass on the id, and make a handle of it there"
            )
        return self._execution


async def _end_of(workflow_id: str) -> str:
    end = await _client().wait_for_end(workflow_id)
    if isinstance(end, EverlogError):
        raise end
    return encode_event(end).decode()


async def _status_of(workflow_id: str) -> WorkflowStatus:
    return await _client().handle(workflow_id).status()


def _client() -> Client:
    running = attempt.get()
    assert running is not None
    client: Client = running.client
    return client


def _built_in(function: Callable[[str], Coroutine[Any, Any, T]], name: str) -> Step[[str], T]:
    function.__module__ = "builtins"  # the package of a definition is one whose exceptions are rebuilt
    return Step(function, name=name)


RESULT: Final = _built_in(_end_of, "everlog.result")
RESULT.only_waits = True
STATUS: Final = _built_in(_status_of, "everlog.status")


def _wait(execution: Execution, workflow_id: str) -> Coroutine[Any, Any, EndEvent]:
    asked = asking.call_step(execution, RESULT, (workflow_id,), {})

    async def wait() -> EndEvent:
        end = decode_event((await asked).encode())
        if not isinstance(end, EndEvent):
            raise CorruptLog(f"what was recorded of the end of workflow {workflow_id!r} is no end")
        return end

    return wait()


def install_handles() -> None:
    """Have workflow code given these handles."""
    starting.strangers.wait, starting.strangers.handle = _wait, InnerHandle
