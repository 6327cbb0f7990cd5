"""Tracing: spans of OpenTelemetry for workflows, attempts of steps, waits in queues and messages.

A span of an attempt is made where the attempt runs, all others when what they tell of is durable: a replay makes none.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from threading import local
from typing import Any, Final

from msgspec import Struct
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from everlog.core.asks import spoken_topic
from everlog.core.events import (
    AnyEvent,
    EndEvent,
    MessageReceived,
    OpeningEvent,
    WorkflowBegan,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowCreated,
    WorkflowFailed,
)
from everlog.core.failures import Failure
from everlog.core.version import VERSION
from everlog.core.versions import workflow_of
from everlog.host import Host
from everlog.observing.origins import TRACEPARENT, Caller, Origin, Origins, traceparent
from everlog.replay.drafting import Draft
from everlog.replay.environment import StepEnd
from everlog.runtime.observers import Observer
from everlog.runtime.residents import History, Resident
from everlog.runtime.steps import Dispatch
from everlog.store import Head, Store

_NANOSECONDS: Final = 1000
"""In a microsecond."""


class _Stretch(Struct, kw_only=True, eq=False):
    """A workflow in memory, from its creation, its last retry or its last beginning as new on."""

    origin: Origin
    seq: int
    """Of the row that began it; 1 for the first."""
    since: int
    span: Span


class Tracing(Observer):
    """Spans for what an engine does: `Engine(url, observers=[Tracing()])`. Needs the extra `otel`.

    `provider` makes the spans, by default the one that is set when the engine is opened. There is one span for each
    workflow, from its creation to its end, and below it one for each attempt of a step that was run, one for each wait
    in a queue and one for each message received, which is linked to the workflow that sent it. Children are below their
    parents. What is started while a span is current is below that: the workflow gets the attribute `traceparent`,
    unless `carry` is False. While an attempt runs its span is the current one, save in a process of its own.
    Each engine has a `Tracing` of its own.
    """

    def __init__(self, provider: trace.TracerProvider | None = None, *, carry: bool = True) -> None:
        self._provider = provider
        self._carry = carry
        self._ids = _Ids()
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._held: dict[str, _Stretch] = {}
        self._attempts: dict[Dispatch, Span] = {}

    def opened(self, host: Host, store: Store) -> None:
        provider = self._provider or trace.get_tracer_provider()
        self._host = host
        self._origins = Origins(store)
        self._tracer = provider.get_tracer("everlog", VERSION)
        self._ids.choose_for(self._tracer)

    def carries(self) -> Mapping[str, str]:
        at = trace.get_current_span().get_span_context()
        if not (self._carry and at.is_valid):
            return {}
        return {TRACEPARENT: traceparent(at.trace_id, at.span_id, at.trace_flags)}

    # -- workflows ---------------------------------------------------------------------------------------------------

    def held(self, workflow_id: str, history: History, head: Head | None) -> None:
        first_seq, first_at, first = history[0]
        created = first.created if isinstance(first, WorkflowContinued) else first
        assert isinstance(created, WorkflowCreated)
        known = self._origins.find(workflow_id) if head is None and first_seq > 1 else None
        created_at = head.created_at if head is not None else known.created_at if known is not None else first_at
        origin = self._origins.of_created(workflow_id, created, created_at)
        seq, since = (first_seq, first_at) if first_seq > 1 else (1, created_at)
        for row, recorded_at, event in reversed(history):
            if isinstance(event, OpeningEvent):
                seq, since = row, recorded_at
                break
        self._held[workflow_id] = _Stretch(origin=origin, seq=seq, since=since, span=self._span_of(origin, seq, since))

    def committed(self, resident: Resident, drafted: Draft) -> None:
        stretch = self._held.get(resident.workflow_id)
        if stretch is None:
            return
        for event in drafted.rows:
            kind = type(event)
            if kind is WorkflowBegan:
                self._waited(stretch, resident, drafted.recorded_at)
            elif isinstance(event, MessageReceived):
                self._received(stretch, event, drafted.recorded_at)
            elif isinstance(event, EndEvent | WorkflowContinued):
                _end(stretch, event, drafted.recorded_at)
                return

    def let_go(self, resident: Resident) -> None:
        self._held.pop(resident.workflow_id, None)

    def _span_of(self, origin: Origin, seq: int, since: int) -> Span:
        """Begin the span of a workflow, as every process does that holds it. It is made known by its end, once."""
        first = None if seq == 1 else self._context_of(origin)
        span_id = origin.span_id if seq == 1 else origin.later_span_id(seq)
        parent = first if first is not None else self._above(origin)
        with self._ids.chosen(origin.trace_id, span_id):
            return self._tracer.start_span(
                f"workflow {workflow_of(origin.name)}",
                context=_within(parent),
                start_time=since * _NANOSECONDS,
                attributes={
                    "everlog.workflow.id": origin.workflow_id,
                    "everlog.workflow.name": workflow_of(origin.name),
                },
            )

    def _above(self, origin: Origin) -> SpanContext | None:
        if origin.parent is not None:
            return self._context_of(origin.parent)
        return None if origin.caller is None else _remote(origin.caller)

    def _context_of(self, origin: Origin) -> SpanContext:
        """Give what the first span of a workflow is known by; a sampler that asks no chance says the same each time."""
        held = self._held.get(origin.workflow_id)
        if held is not None and held.seq == 1 and held.origin.span_id == origin.span_id:
            return held.span.get_span_context()
        return self._span_of(origin, 1, origin.created_at).get_span_context()

    def _waited(self, stretch: _Stretch, resident: Resident, until: int) -> None:
        place = resident.execution.place
        if place is None or stretch.seq != 1:
            return
        self._tracer.start_span(
            f"queue {place.queue}",
            context=_within(stretch.span.get_span_context()),
            start_time=max(stretch.since, place.due_at) * _NANOSECONDS,
            attributes={"everlog.queue": place.queue, "everlog.workflow.id": resident.workflow_id},
        ).end(until * _NANOSECONDS)

    def _received(self, stretch: _Stretch, event: MessageReceived, at: int) -> None:
        sender = self._origins.find(event.source)
        topic = spoken_topic(event.topic)
        self._tracer.start_span(
            f"recv {topic}",
            context=_within(stretch.span.get_span_context()),
            kind=SpanKind.CONSUMER,
            start_time=event.arrived_at * _NANOSECONDS,
            links=[] if sender is None else [Link(self._context_of(sender))],
            attributes={"everlog.topic": topic, "everlog.source": event.source},
        ).end(at * _NANOSECONDS)

    # -- attempts ----------------------------------------------------------------------------------------------------

    def dispatched(self, dispatch: Dispatch) -> None:
        stretch = self._held.get(dispatch.resident.workflow_id)
        if stretch is not None:
            # Attempts run in copies of this context, on whichever thread, and nothing else does.
            operation = dispatch.operation
            operation.context = operation.context.copy()
            operation.context.run(contexts.attach, _within(stretch.span.get_span_context()))

    def begins(self, dispatch: Dispatch) -> None:
        attempt = dispatch.attempt
        span = self._tracer.start_span(
            f"step {attempt.step}",
            start_time=self._host.wall() * _NANOSECONDS,
            attributes={
                "everlog.workflow.id": attempt.workflow_id,
                "everlog.workflow.name": attempt.name,
                "everlog.step": attempt.step,
                "everlog.attempt": attempt.number,
                "everlog.operation": attempt.identity,
            },
        )
        self._attempts[dispatch] = span
        contexts.attach(trace.set_span_in_context(span))  # for the rest of this context, which is the attempt's alone

    def ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        span = self._attempts.pop(dispatch, None)
        if span is None:
            return
        if end is None:
            span.set_attribute("everlog.outcome", "cut short")
        elif end.failure is None:
            span.set_attribute("everlog.outcome", "completed")
            span.set_status(Status(StatusCode.OK))
        else:
            span.set_attribute("everlog.outcome", "failed" if end.retry_at is None else "retried")
            _fail(span, end.failure, self._host.wall())
        span.end(self._host.wall() * _NANOSECONDS)


class _Ids:
    """Chooses the ids of spans that every process makes alike, and leaves those of all others as they are."""

    def __init__(self) -> None:
        self._chosen = local()
        self._others: Any = None

    def choose_for(self, tracer: Any) -> None:
        """Stand before what makes the ids of this one tracer; one that has no such part makes spans of its own ids."""
        others = getattr(tracer, "id_generator", None)
        if others is not None and others is not self:
            self._others, tracer.id_generator = others, self

    @contextmanager
    def chosen(self, trace_id: int, span_id: int) -> Generator[None]:
        """Have the span that is begun here have these ids."""
        self._chosen.ids = trace_id, span_id
        try:
            yield
        finally:
            self._chosen.ids = None

    def generate_trace_id(self) -> int:
        """Give the id of a trace, as the SDK asks."""
        ids = getattr(self._chosen, "ids", None)
        return int(self._others.generate_trace_id() if ids is None else ids[0])

    def generate_span_id(self) -> int:
        """Give the id of a span, as the SDK asks."""
        ids = getattr(self._chosen, "ids", None)
        return int(self._others.generate_span_id() if ids is None else ids[1])

    def is_trace_id_random(self) -> bool:
        """Tell whether samplers may take the ids of traces for chance: those that are chosen are digests."""
        return True


def _end(stretch: _Stretch, event: AnyEvent, at: int) -> None:
    span = stretch.span
    if isinstance(event, WorkflowFailed):
        span.set_attribute("everlog.state", "failed")
        _fail(span, event.error, at)
    elif isinstance(event, WorkflowCompleted):
        span.set_attribute("everlog.state", "completed")
        span.set_status(Status(StatusCode.OK))
    else:
        span.set_attribute("everlog.state", "continued" if isinstance(event, WorkflowContinued) else "cancelled")
    span.end(at * _NANOSECONDS)


def _fail(span: Span, failure: Failure, at: int) -> None:
    kind = failure.type.rpartition(":")[2]
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {failure.message}"))
    said = {"exception.type": kind, "exception.message": failure.message, "exception.stacktrace": failure.traceback}
    span.add_event("exception", said, at * _NANOSECONDS)


def _within(parent: SpanContext | None) -> contexts.Context:
    empty = contexts.Context()
    return empty if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), empty)


def _remote(caller: Caller) -> SpanContext:
    return SpanContext(caller.trace_id, caller.span_id, is_remote=True, trace_flags=TraceFlags(caller.flags))
