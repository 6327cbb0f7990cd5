"""People: how a run waits, durably, for what somebody decides or another system answers, without ending."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied

import everlog
from everlog.errors import UsageError
from everlog.integrations.pydantic_ai.conversations import jsonable
from everlog.integrations.pydantic_ai.runs import Run

if TYPE_CHECKING:
    from everlog import Client, Engine

NOBODY = "nobody decided in time"


@dataclass
class Decision:
    """What somebody decided of a tool call: `arguments` are called instead of those of the model, if given."""

    approved: bool
    message: str = ""
    arguments: dict[str, Any] | None = None


@dataclass
class ToolResult:
    """What became of a tool that runs elsewhere: its result, or why there is none."""

    result: Any = None
    failed: str | None = None


@dataclass
class EventAnswer:
    """What an external event came to: the payload for whoever waits, such as `RequestInput`."""

    payload: Any


@dataclass
class EventFailure:
    """That an external event will not come, and why."""

    reason: str


async def decided(
    run: Run, agent: str, requests: DeferredToolRequests, topic: str, timeout: timedelta | None
) -> DeferredToolResults:
    """Wait for the decisions on all calls that a run defers, each listed for people as a wait of its own."""

    async def one(call: Any, kind: Any, default: object, title: str) -> Any:
        metadata = {
            "tool": call.tool_name,
            "tool_call_id": call.tool_call_id,
            "arguments": jsonable(call.args_as_dict()),
        }
        given: dict[str, Any] = {} if timeout is None else {"timeout": timeout, "default": default}
        with run.named(call.tool_call_id):
            return await everlog.recv(topic, type=kind, title=title, metadata=metadata, **given)

    approvals, calls = requests.approvals, requests.calls
    outcomes = await asyncio.gather(
        *(one(call, Decision, Decision(False, NOBODY), f"{agent} wants to {call.tool_name}") for call in approvals),
        *(one(call, ToolResult, ToolResult(failed=NOBODY), f"{agent} waits for {call.tool_name}") for call in calls),
    )
    return requests.build_results(
        approvals={call.tool_call_id: _approval(outcome) for call, outcome in zip(approvals, outcomes, strict=False)},
        calls={
            call.tool_call_id: outcome.result if outcome.failed is None else ModelRetry(outcome.failed)
            for call, outcome in zip(calls, outcomes[len(approvals) :], strict=True)
        },
    )


def _approval(decision: Decision) -> ToolApproved | ToolDenied:
    if decision.approved:
        return ToolApproved(override_args=decision.arguments)
    return ToolDenied(decision.message) if decision.message else ToolDenied()


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """The wait that the token of an external event names. Its topic cannot be guessed."""

    workflow_id: str
    topic: str


class Waiter:
    """Waits for external events, such as those of `RequestInput`, by a message to the workflow."""

    def __init__(self, run: Run, ask_step: Callable[[str, str, Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._run = run
        self._ask_step = ask_step

    async def wait(self, name: str, *, ask: Callable[[str], Awaitable[Any]], timeout: timedelta | None) -> Any:
        """Have `ask` deliver a token, once, and give what it answers, or what the token is answered with."""
        from pydantic_ai.external_events import ExternalEventError  # absent from the first versions that we work with

        topic = f"external:{name}:{everlog.uuid4().hex}"
        token = _text(_Token(everlog.current().workflow_id, topic))
        answer = await self._ask_step(name, self._run.label, lambda: ask(token))
        if answer is not None:
            return answer
        with self._run.named(name):
            try:
                given = await everlog.recv(
                    topic, type=EventAnswer | EventFailure, timeout=timeout, title=name, metadata={"token": token}
                )
            except TimeoutError as error:
                raise ExternalEventError(NOBODY) from error
        if isinstance(given, EventFailure):
            raise ExternalEventError(given.reason)
        return given.payload


async def answer_event(client: Client | Engine, token: str, answer: EventAnswer | EventFailure) -> None:
    """Answer the external event of a token, such as `RequestInput` hands out, from any process; the first one counts.

    A token that is none is a `UsageError`; where its workflow has ended, `NotFound`.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        named = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=_Token)
    except (ValueError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"this is no token of an external event: {token[:60]!r}; take it as it was handed out"
        ) from error
    await client.send(named.workflow_id, named.topic, answer, key=named.topic)


def _text(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()
