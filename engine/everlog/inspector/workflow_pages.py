"""Workflow pages: one workflow, one of its events, a fork of it, and two side by side. They change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from everlog.cli.diff import events_of, pairs_of
from everlog.core.durations import as_datetime
from everlog.core.log_lines import Exported
from everlog.core.plain import is_object
from everlog.errors import EverlogError, NotFound, PayloadUnavailable, UsageError
from everlog.inspector.conversation import may_talk, turns_of
from everlog.inspector.event_rows import details, log_rows, void_of
from everlog.inspector.forms import fields_of
from everlog.inspector.offspring import MOST_INSIDE, children_of
from everlog.inspector.published import published_of
from everlog.inspector.site import Site
from everlog.inspector.waterfall import KINDS, MOST, waterfall, with_children
from everlog.runtime import looking
from everlog.runtime.code_state import CodeState, code_state
from everlog.runtime.looking import Looked
from everlog.runtime.replaying import Replay, decoded, known_workflows, replay_environment
from everlog.runtime.status import HistoryEvent, history_event
from everlog.runtime.waits import Wait
from everlog.store import ENDED, EventRow

LOG: Final = 200
"""So many events are on one page of the log."""
CHILDREN: Final = 50
MOST_PAIRS: Final = 1000
MOST_TURNS: Final = 500
EDITABLE: Final = {
    "step_completed": "result",
    "step_failed": "",
    "child_ended": "",
    "message_received": "message",
}
"""The events of which a fork may have another outcome, and where they hold it as plain data."""


async def workflow_page(site: Site, request: Request) -> Response:
    """Show one workflow."""
    workflow_id = id_of(request)
    looked = await looking.look(site.client, workflow_id)
    log = await _log(site, request, looked)
    children, more = await looking.workflows_page(
        site.client, {"parent": workflow_id}, newest_first=True, after=None, limit=CHILDREN
    )
    waits = await _waits(site, workflow_id)
    return site.page(
        request,
        "workflow.html",
        **await summary_of(site, looked),
        **await timeline_of(site, request, looked),
        log=log,
        children=children,
        more_children=more is not None,
        waits=[(wait, fields_of(wait.schema), site.payloads.pretty("metadata", wait.metadata)) for wait in waits],
        **await published_of(site, workflow_id, looked.streams),
        talks=not site.payloads.hides and may_talk(looked.rows),
        may_export=not site.payloads.hides and site.settings.redact is None,
        view=view_of(request),
        done=request.query_params.get("done", ""),
    )


async def _waits(site: Site, workflow_id: str) -> Sequence[Wait]:
    """Give what it waits for that is listed; none without the key that opens it, as the rest can be shown."""
    try:
        return await site.client.waits(workflow_id=workflow_id)
    except PayloadUnavailable:
        return ()


async def summary_of(site: Site, looked: Looked) -> dict[str, Any]:
    """Give what the upper part of a page about a workflow is made of."""
    status = looked.status
    hidden = site.payloads.hides
    error = looked.state.error if looked.head.state == "failed" else None
    reason = f"It is {status.state}. (Why is hidden here.)" if hidden else site.payloads.text("why", status.why)
    return {
        "status": status,
        "why": reason,
        "error": None if error is None else _shown_error(site, error.type, error.message, error.traceback),
        "attributes": {name: site.payloads.label(name, value) for name, value in status.attributes.items()},
        "is_over": looked.head.state in ENDED,
        "seq": looked.head.seq,
        "now": as_datetime(looked.now),
    }


async def timeline_of(site: Site, request: Request, looked: Looked) -> dict[str, Any]:
    """Give what the waterfall is made of."""
    client, skip = site.client, number_in(request, "bars") or 0
    inside = request.query_params.getlist("inside")[:MOST_INSIDE]
    ended = looked.head.state in ENDED
    found = await client.aside(lambda: waterfall(looked.history, looked.now, ended=ended, skip=skip))
    links = list(dict.fromkeys(bar.link for bar in found.bars if bar.link is not None))
    if links:
        children = await children_of(client, links, inside)
        found = await client.aside(lambda: with_children(found, children))
    return {
        "waterfall": found,
        "kinds": KINDS,
        "most_bars": MOST,
        "workflow_id": looked.head.workflow_id,
        "inside": inside,
    }


def view_of(request: Request) -> dict[str, Any]:
    """Give what a URL says of which bars are shown, so that they stay so."""
    return {"bars": number_in(request, "bars"), "inside": request.query_params.getlist("inside")[:MOST_INSIDE]}


async def _log(site: Site, request: Request, looked: Looked) -> dict[str, Any]:
    """Give a page of the log: the last one unless another is asked for."""
    last, given = looked.head.seq, number_in(request, "after")
    after = max(0, last - LOG) if given is None else given
    if looked.rows and looked.rows[0].seq <= after + 1:
        rows: Sequence[EventRow] = [row for row in looked.rows if after < row.seq <= after + LOG]
    else:
        rows = await looking.events_page(site.client, looked.head.workflow_id, after=after, limit=LOG)
    until = rows[-1].seq if rows else after
    return {
        "rows": log_rows(rows, site.payloads, void_of(looked.rows)),
        "before": max(0, after - LOG) if after > 0 else None,
        "after": until if until < last else None,
        "last": last,
        "until": until,
    }


async def event_page(site: Site, request: Request) -> Response:
    """Show one event, and where asked what the code was doing there."""
    workflow_id, seq = id_of(request), number_in(request, "seq") or 0
    head = await looking.head_of(site.client, workflow_id)
    event = await _event(site, workflow_id, seq)
    state, problem = None, ""
    if request.query_params.get("state"):
        try:
            state = await _state_at(site, workflow_id, head.name, seq)
        except EverlogError as error:
            problem = str(error)
    return site.page(
        request,
        "event.html",
        workflow_id=workflow_id,
        name=head.name,
        event=event,
        details=details(event, site.payloads),
        last=head.seq,
        state=state,
        problem=problem,
        asked_state=bool(request.query_params.get("state")),
    )


async def conversation_page(site: Site, request: Request) -> Response:
    """Show what an agent, its models, its tools and people have said to each other."""
    looked = await looking.look(site.client, id_of(request))
    turns = [] if site.payloads.hides else await site.client.aside(lambda: turns_of(looked.rows, site.payloads))
    return site.page(
        request,
        "conversation.html",
        workflow_id=looked.head.workflow_id,
        name=looked.head.name,
        turns=turns[-MOST_TURNS:],
        before=max(0, len(turns) - MOST_TURNS),
        tokens=(sum(one.tokens_in for one in turns), sum(one.tokens_out for one in turns)),
    )


async def fork_page(site: Site, request: Request) -> Response:
    """Show the form of a fork at an event."""
    workflow_id, seq = id_of(request), number_in(request, "at")
    looked = await looking.look(site.client, workflow_id)
    event = None if seq is None else await _event(site, workflow_id, seq)
    outcome = outcome_of(event)
    first = await _event(site, workflow_id, looked.head.first_seq)
    return site.page(
        request,
        "fork.html",
        workflow_id=workflow_id,
        name=looked.head.name,
        at=seq,
        event=event,
        editable=event is not None and event.type in EDITABLE,
        outcome="" if outcome is None else site.payloads.editable("result", outcome),
        input=site.payloads.editable("input", input_of(first)),
    )


async def compare_page(site: Site, request: Request) -> Response:
    """Show two histories side by side, the first difference marked."""
    left, right = request.query_params.get("left", ""), request.query_params.get("right", "")
    for name in (left, right):
        await looking.head_of(site.client, name)
    found = await site.client.on_thread(
        lambda: [events_of(site.client.store, name, site.client.codec) for name in (left, right)]
    )
    pairs = await site.client.aside(lambda: list(pairs_of(*found)))
    first = next((place for place, pair in enumerate(pairs) if pair.mark != "same"), None)
    start = 0 if first is None else max(0, first - 20)
    shown = [
        (
            start + place,
            pair.mark,
            [
                None
                if one is None
                else (one.seq, one.kind, one.operation, site.payloads.of_event(one.said), one.counts)
                for one in (pair.left, pair.right)
            ],
        )
        for place, pair in enumerate(pairs[start : start + MOST_PAIRS])
    ]
    return site.page(
        request, "compare.html", left=left, right=right, pairs=shown, first=first, start=start, total=len(pairs)
    )


# -- parts ------------------------------------------------------------------------------------------------------------


def id_of(request: Request) -> str:
    """Give the workflow that a URL names."""
    found = request.query_params.get("id", "")
    if not found:
        raise UsageError("which workflow? The address has no id=")
    return found


def number_in(request: Request, name: str) -> int | None:
    """Give a number of a URL; None where there is none. Raises `UsageError`."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UsageError(f"{name} must be a number, got {text[:60]!r}")
    return int(text)


def outcome_of(event: HistoryEvent | None) -> object:
    """Give the outcome that an event holds as plain data, None where there is none."""
    if event is None:
        return None
    if event.type == "child_ended":
        outcome = event.data.get("outcome")
        return outcome.get("result") if is_object(outcome) else None
    return event.data.get(EDITABLE.get(event.type, ""))


def input_of(first: HistoryEvent) -> object:
    """Give the input with which a life of a workflow began."""
    data = first.data
    created = data.get("created")
    return created.get("input") if is_object(created) else data.get("input")


async def _event(site: Site, workflow_id: str, seq: int) -> HistoryEvent:
    rows = await looking.events_page(site.client, workflow_id, after=max(0, seq - 1), limit=1)
    if not rows or rows[0].seq != seq:
        raise NotFound(f"workflow {workflow_id!r} has no event {seq}")
    return history_event(rows[0])


async def _state_at(site: Site, workflow_id: str, name: str, seq: int) -> CodeState:
    """Replay the history up to an event with the code that is here."""
    rows = await looking.events_page(site.client, workflow_id, after=0, limit=1_000_000)
    exported = Exported(
        workflow_id=workflow_id, name=name, rows=[(row.seq, row.recorded_at, row.payload) for row in rows]
    )

    def replay() -> CodeState:
        environment = replay_environment(site.client.codec)
        with Replay(workflow_id, decoded(exported), known_workflows(), environment, at=seq) as one:
            one.run(seq)
            return code_state(one, redact=site.payloads.variable)

    async with site.replays:
        return await site.client.aside(replay)


def _shown_error(site: Site, kind: str, message: str, traceback: str) -> dict[str, str]:
    return {
        "type": kind.rpartition(":")[2],
        "message": site.payloads.text("message", message),
        "traceback": site.payloads.text("traceback", traceback) if traceback else "",
    }
