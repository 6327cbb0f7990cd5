"""Explain: one sentence that says why a workflow is where it is."""

from __future__ import annotations

from collections.abc import Sequence

from everlog.core.asks import ASK, spoken_topic
from everlog.core.durations import as_datetime, spoken
from everlog.core.queues import QueueCounts, QueueLimits, QueueRow
from everlog.core.sealed import shown_text
from everlog.core.state import OpenChild, OpenOperation, OpenRequest, WorkflowState
from everlog.core.versions import told

SHOWN = 3


def why_enqueued(name: str, due_at: int, row: QueueRow | None, counts: QueueCounts | None, now: int) -> str:
    """Give the sentence for a workflow that stands in queue `name`; `row` and `counts` are of that, where it is known.

    How many are due is cheap to know, which of them go first is not.
    """
    if due_at > now:
        return f"It is delayed until {as_datetime(due_at):%Y-%m-%d %H:%M:%S} UTC, and stands in queue {name!r} then."
    if row is None:
        return f"It stands in queue {name!r}, which nobody has declared: an engine that declares it admits it."
    if row.paused:
        return f"It stands in queue {name!r}, which is paused: nothing of that is admitted until somebody resumes it."
    others = 0 if counts is None else max(0, counts.due - 1)
    among = "" if not others else " beside 1 other" if others == 1 else f" beside {others} others"
    limits = _limits(row.limits, 0 if counts is None else counts.taken)
    waits = f"; {'; '.join(limits)}." if limits else ", and waits for a worker that knows it and has room."
    return f"It stands in queue {name!r}{among}{waits}"


def _limits(limits: QueueLimits, taken: int) -> list[str]:
    told: list[str] = []
    if limits.concurrency is not None:
        told.append(f"{taken} of its {limits.concurrency} slots {'is' if limits.concurrency == 1 else 'are'} taken")
    if limits.rate_limit is not None:
        told.append(f"it admits {limits.rate_limit.limit} in {spoken(limits.rate_limit.per)}")
    if limits.partition_concurrency is not None:
        told.append(f"each partition of it has {limits.partition_concurrency} slots")
    if limits.partition_rate_limit is not None:
        rate = limits.partition_rate_limit
        told.append(f"it admits {rate.limit} of each partition in {spoken(rate.per)}")
    if limits.worker_concurrency is not None:
        told.append(f"each worker holds {limits.worker_concurrency} of it")
    if limits.partition_worker_concurrency is not None:
        told.append(f"each worker holds {limits.partition_worker_concurrency} of each partition of it")
    return told


def why(state: str, summary: str | None, folded: WorkflowState, now: int) -> str:
    """Give the sentence for a head in `state` with `summary` (its `why`), and what its history says."""
    match state:
        case "queued":
            queued_at = folded.created_at if folded.continued_at is None else folded.continued_at
            return f"It has waited {spoken(max(0, now - queued_at))} for a worker that knows {told(folded.name)}."
        case "paused":
            since = "" if folded.paused_at is None else f" for {spoken(max(0, now - folded.paused_at))}"
            return f"It has been paused{since}: nothing of it begins or arrives until somebody calls resume()."
        case "stuck":
            return f"It is stuck: {summary or 'no reason was recorded'}"
        case "completed":
            steps = "1 step" if folded.steps_completed == 1 else f"{folded.steps_completed} steps"
            lately = "" if folded.continued_at is None else " since it last continued as new"
            return f"It returned after {spoken(_lasted(folded))}, having run {steps}{lately}."
        case "failed":
            return f"It failed after {spoken(_lasted(folded))}: {summary or 'no reason was recorded'}"
        case "cancelled":
            return f"It was cancelled{': ' + summary if summary else '.'}"
        case _:
            return _in_flight(state, folded, now)


def _in_flight(state: str, folded: WorkflowState, now: int) -> str:
    if folded.status == "created" and folded.begins_at is not None:
        return f"It is delayed until {as_datetime(folded.begins_at):%Y-%m-%d %H:%M:%S} UTC, when it begins."
    parts = [_part(operation, now) for operation in folded.open.values()]
    if folded.children:
        parts.append(_children(list(folded.children.values()), now))
    if folded.requests:
        parts.append(_requests(list(folded.requests.values()), now))
    if not parts and state == "waiting" and folded.deadline is not None:
        parts = [f"waits for nothing but its deadline, {as_datetime(folded.deadline):%Y-%m-%d %H:%M:%S} UTC"]
    if not parts:
        return "It is running." if state == "running" else "It waits, but for no step, timer, message or child."
    more = f", and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    cancelling = " It was asked to stop." if folded.cancel_requested else ""
    return f"It {'; it '.join(parts[:SHOWN])}{more}.{cancelling}"


def _part(operation: OpenOperation, now: int) -> str:
    due = "" if operation.due_at is None else f"{as_datetime(operation.due_at):%Y-%m-%d %H:%M:%S} UTC"
    match operation.kind:
        case "timer":
            return f"sleeps until {due}"
        case "wait":
            waited = spoken(max(0, now - operation.since))
            return f"has waited {waited} for {_awaited(operation)}" + (f", until {due}" if due else "")
        case "step":
            if operation.due_at is not None and operation.due_at > now:
                reason = f" ({shown_text(operation.failure.message)[:80]})" if operation.failure else ""
                return f"tries step {operation.name!r} for the {_ordinal(operation.attempt)} time at {due}{reason}"
            tries = "" if operation.attempt == 1 else f" (attempt {operation.attempt})"
            return f"has run step {operation.name!r}{tries} for {spoken(max(0, now - operation.since))}"


def _awaited(operation: OpenOperation) -> str:
    if operation.asked is not None:
        return f"an answer of {operation.asked!r}"
    if operation.name.startswith(ASK):
        return f"an ask on topic {spoken_topic(operation.name)!r}"
    titled = "" if operation.listed is None else f" ({operation.listed.title!r})"
    return f"a message on topic {operation.name!r}{titled}"


def _requests(requests: Sequence[OpenRequest], now: int) -> str:
    since = spoken(max(0, now - requests[0].since))
    if len(requests) == 1:
        return f"has had an ask on topic {requests[0].topic!r} to answer for {since}"
    return f"has {len(requests)} asks to answer, the first, on topic {requests[0].topic!r}, for {since}"


def _children(children: Sequence[OpenChild], now: int) -> str:
    names = ", ".join(repr(one.child) for one in children[:SHOWN])
    more = f" and {len(children) - SHOWN} more" if len(children) > SHOWN else ""
    since = spoken(max(0, now - children[0].since))
    if len(children) == 1:
        return f"has had a child, {names}, for {since}, which goes on"
    return f"has {len(children)} children that go on, the first for {since}: {names}{more}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _lasted(folded: WorkflowState) -> int:
    # A fork has the row that its source began with, from a time before there was a fork.
    began = max(folded.first_began_at or folded.created_at, folded.created_at)
    return max(0, (folded.ended_at or began) - began)
