"""Actions: what forms do, in the name of the visitor, and recorded. Who may do it is checked here, once for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from everlog.core.log_lines import Exported
from everlog.core.plain import is_object
from everlog.errors import NotFound, UsageError
from everlog.inspector import many
from everlog.inspector.filters import moment_in
from everlog.inspector.forms import json_value, value_of
from everlog.inspector.people import Role
from everlog.inspector.portable_pages import bring_in
from everlog.inspector.security import Refused, form_of, visitor_of
from everlog.inspector.site import Handler, Site
from everlog.inspector.workflow_pages import EDITABLE, input_of, outcome_of
from everlog.runtime import looking
from everlog.runtime.client import Client
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.status import history_event
from everlog.runtime.verdicts import Verdict, verdict_of

ONE: Final = ("cancel", "terminate", "pause", "resume", "retry")
"""What may be done to one workflow."""
MANY: Final = (*ONE, "fork")
"""What may be done to many."""


def _needs(role: Role, handler: Handler) -> Handler:
    async def checked(site: Site, request: Request) -> Response:
        if not site.may(visitor_of(request), role):
            raise Refused(403, f"Only an {role} may do that, and {visitor_of(request).name} is none here.")
        return await handler(site, request)

    return checked


def one(request: Request, name: str, *, default: str | None = None) -> str:
    """Give the one value of a field of a form. Raises `UsageError`."""
    given = form_of(request).get(name, [] if default is None else [default])
    if len(given) != 1 or (default is None and not given[0]):
        raise UsageError(f"the form must have {name!r} once")
    return given[0]


# -- one workflow, or many ---------------------------------------------------------------------------------------------


async def _control(site: Site, request: Request) -> Response:
    """Cancel, terminate, pause, resume or retry one workflow."""
    workflow_id, action = one(request, "id"), one(request, "action")
    await looking.head_of(site.client, workflow_id)
    await site.recorded(request, action, workflow_id, partial(_do, site.acting(request), request, action, workflow_id))
    return site.go(request, "/workflow", id=workflow_id, done=action)


async def _do(client: Client, request: Request, action: str, workflow_id: str) -> bool:
    controls, reason = client.controls, one(request, "reason", default="")
    reason = reason or f"asked for by {visitor_of(request).name}"
    match action:
        case "cancel":
            return await controls.cancel(workflow_id, reason)
        case "terminate":
            return await controls.terminate(workflow_id, reason)
        case "pause":
            return await controls.pause(workflow_id)
        case "resume":
            return await controls.resume(workflow_id)
        case "retry":
            return await controls.retry(workflow_id)
        case _:
            raise UsageError(f"a workflow can be {', '.join(ONE)}, not {action[:40]!r}")


async def _many(site: Site, request: Request) -> Response:
    """Do one thing to many workflows; first ask whether that is meant, and say how many they are."""
    action, query = one(request, "action"), one(request, "query", default="")
    if action not in MANY:
        raise UsageError(f"workflows can be {', '.join(MANY)}, not {action[:40]!r}")
    ids = await many.chosen_ids(site, request, query)
    if one(request, "confirmed", default="") != str(len(ids)):
        return await many.asked_first(site, request, action, ids, query)
    client = site.acting(request)

    async def does(workflow_id: str) -> object:
        if action == "fork":
            return await many.fork_as_it_is(client, workflow_id)
        return await _do(client, request, action, workflow_id)

    return await many.done_to(site, request, action, ids, does, query)


async def _import(site: Site, request: Request) -> Response:
    """Bring in a workflow that was exported."""
    text, run = one(request, "text"), one(request, "run", default="") == "1"
    client = site.acting(request)
    found = await site.recorded(request, "import", text[:80], lambda: bring_in(client, text, run=run))
    return site.go(request, "/workflow", id=found, done="import")


# -- messages ----------------------------------------------------------------------------------------------------------


async def _send(site: Site, request: Request) -> Response:
    workflow_id, topic = one(request, "id"), one(request, "topic")
    message = json_value(one(request, "message"), "the message")
    client = site.acting(request)
    await site.recorded(request, f"send {topic}", workflow_id, lambda: client.send(workflow_id, topic, message))
    return site.go(request, "/workflow", id=workflow_id, done="send")


async def _answer(site: Site, request: Request) -> Response:
    """Answer a wait by a form that was made from its type."""
    token, workflow_id = one(request, "token"), one(request, "id")
    found = [wait for wait in await site.client.waits(workflow_id=workflow_id) if wait.token == token]
    if not found:
        raise NotFound(
            f"workflow {workflow_id!r} does not wait for this any more: it was answered, or its time is over"
        )
    message = value_of(found[0].schema, form_of(request))
    client = site.acting(request)
    await site.recorded(request, "answer", workflow_id, lambda: client.answer(token, message))
    if one(request, "from", default="") == "inbox":
        return site.go(request, "/inbox", done="answer")
    return site.go(request, "/workflow", id=workflow_id, done="answer")


# -- forks -------------------------------------------------------------------------------------------------------------


async def _fork(site: Site, request: Request) -> Response:
    """Make a fork; first say what it would be, and whether the code here fits the history."""
    workflow_id, at = one(request, "id"), one(request, "at", default="")
    seq = int(at) if at.isascii() and at.isdigit() else None
    if at and seq is None:
        raise UsageError(f"a fork is cut at the seq of an event, got {at[:40]!r}")
    outcome, given_input = one(request, "outcome", default=""), one(request, "input", default="")
    replace = await _replacements(site, workflow_id, seq, outcome, given_input)
    if one(request, "confirmed", default="") != "yes":
        preview = await site.client.handle(workflow_id).preview_fork(at=seq, replace=replace)
        return site.page(
            request,
            "fork_check.html",
            workflow_id=workflow_id,
            at=at,
            outcome=outcome,
            input=given_input,
            new_id=one(request, "new_id", default=""),
            preview=preview,
            replaced=["the input" if name == "input" else f"the outcome of event {name}" for name in replace],
            verdict=await _verdict(site, workflow_id),
        )
    handle = site.acting(request).handle(workflow_id)
    new_id = one(request, "new_id", default="") or None
    fork = await site.recorded(request, "fork", workflow_id, lambda: handle.fork(at=seq, replace=replace, id=new_id))
    return site.go(request, "/workflow", id=fork.id, done="fork")


async def _replacements(
    site: Site, workflow_id: str, seq: int | None, outcome: str, given_input: str
) -> dict[int | str, object]:
    """Give what was changed in the form: what is as it was recorded is not replaced."""
    found: dict[int | str, object] = {}
    if seq is not None and outcome.strip():
        (row,) = await looking.events_page(site.client, workflow_id, after=seq - 1, limit=1) or (None,)
        event = None if row is None else history_event(row)
        value = json_value(outcome, "the outcome")
        if event is None or event.type not in EDITABLE:
            raise UsageError(f"event {seq} has no outcome that could be another")
        if value != outcome_of(event) or event.type == "step_failed":
            found[seq] = value
    if given_input.strip():
        head = await looking.head_of(site.client, workflow_id)
        (row,) = await looking.events_page(site.client, workflow_id, after=head.first_seq - 1, limit=1)
        value, recorded = json_value(given_input, "the input"), input_of(history_event(row))
        if value != recorded:
            if not is_object(value) or not is_object(recorded):
                raise UsageError("the input is an object: the arguments by their names")
            found["input"] = {name: held for name, held in value.items() if recorded.get(name, _NOTHING) != held}
    return found


_NOTHING: Final = object()


async def _verdict(site: Site, workflow_id: str) -> Verdict:
    head = await looking.head_of(site.client, workflow_id)
    rows = await looking.events_page(site.client, workflow_id, after=0, limit=1_000_000)
    exported = Exported(
        workflow_id=workflow_id, name=head.name, rows=[(row.seq, row.recorded_at, row.payload) for row in rows]
    )
    async with site.replays:
        return await site.client.aside(
            lambda: verdict_of(exported, known_workflows(), replay_environment(site.client.codec))
        )


# -- queues and schedules ----------------------------------------------------------------------------------------------


async def _queue(site: Site, request: Request) -> Response:
    name, action = one(request, "name"), one(request, "action")
    handle = site.acting(request).queue(name)
    does: Mapping[str, Callable[[], Awaitable[Any]]] = {"pause": handle.pause, "resume": handle.resume}
    if action not in does:
        raise UsageError(f"a queue can be paused and resumed here, not {action[:40]!r}")
    await site.recorded(request, f"{action} queue", name, does[action])
    return site.go(request, "/queues", done=action)


async def _schedule(site: Site, request: Request) -> Response:
    name, action = one(request, "name"), one(request, "action")
    handle = site.acting(request).schedule(name)
    does: Mapping[str, Callable[[], Awaitable[Any]]] = {
        "pause": handle.pause,
        "resume": handle.resume,
        "trigger": handle.trigger,
    }
    if action == "backfill":
        begin, end = moment_in(one(request, "start"), "start"), moment_in(one(request, "end"), "end")
        filled = await site.recorded(request, "backfill schedule", name, lambda: handle.backfill(begin, end))
        return site.go(request, "/schedules", done=f"backfill:{len(filled)}")
    if action not in does:
        raise UsageError(f"a schedule can be paused, resumed, triggered and backfilled here, not {action[:40]!r}")
    made = await site.recorded(request, f"{action} schedule", name, does[action])
    if action == "trigger":
        return site.go(request, "/workflow", id=made.id, done="trigger")
    return site.go(request, "/schedules", done=action)


ACTIONS: Final[Mapping[str, Handler]] = {
    "/act/control": _needs("operator", _control),
    "/act/import": _needs("operator", _import),
    "/act/many": _needs("operator", _many),
    "/act/send": _needs("operator", _send),
    "/act/answer": _needs("approver", _answer),
    "/act/fork": _needs("operator", _fork),
    "/act/queue": _needs("operator", _queue),
    "/act/schedule": _needs("operator", _schedule),
}
"""What may be sent to which path."""
