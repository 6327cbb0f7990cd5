"""`everlog.observing.Tracing`: spans of workflows and attempts, one trace across queues, children and recoveries."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode

import everlog
from everlog import Engine, Queue, RetryPolicy, step, sync, workflow
from everlog.observing import Observer, Tracing
from everlog.testing.simulation import SimulatedHost
from tests.support import kill, make_store, on_both_stores, opened, simulate, until
from tests.unit import process_steps

QUEUE = Queue("tracing queue")
RAN: Counter[str] = Counter()


class Collected:
    """A provider of spans, and those that were ended."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def tracing(self, **options: Any) -> Tracing:
        return Tracing(self.provider, **options)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def names(self) -> Counter[str]:
        return Counter(span.name for span in self.spans)


def own(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def above(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def said(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {})[f"everlog.{name}"]


@step(name="tracing.quick")
async def quick() -> None:
    RAN["quick"] += 1


@step(name="tracing.inner", retry=RetryPolicy(max_attempts=2, first_delay=1, jitter=0))
async def inner() -> None:
    """As a library of the user's does that knows OpenTelemetry."""
    RAN["inner"] += 1
    tracer = trace.get_tracer("of a user", tracer_provider=PROVIDERS[0])
    with tracer.start_as_current_span("of a library"):
        await asyncio.sleep(0.1)
    if everlog.current().attempt == 1:
        raise ConnectionError("again")


@step(name="tracing.in_a_thread")
def in_a_thread() -> None:
    RAN["in a thread"] += 1
    with trace.get_tracer("of a user", tracer_provider=PROVIDERS[0]).start_as_current_span("in a thread of a library"):
        pass


@step(name="tracing.long")
async def long() -> None:
    RAN["long"] += 1
    await asyncio.sleep(20)


PROVIDERS: list[TracerProvider] = []


@workflow(name="tracing.child")
async def child() -> str:
    await quick()
    await long()
    await everlog.recv("go")
    return "done"


@workflow(name="tracing.parent")
async def parent() -> str:
    await inner()
    await everlog.call(in_a_thread)
    started = await everlog.start(child.options(id="child", queue=QUEUE))
    await everlog.send("child", "go", None)
    return await started.result()


@on_both_stores
@pytest.mark.usefixtures("burial")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_kill_and_a_recovery_are_one_trace(kind: str, tmp_path: Path) -> None:
    """One span for each attempt that was executed, none for what was replayed: over queue, child and recovery."""
    before, after = Collected(), Collected()
    RAN.clear()

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        known = [parent, child]
        PROVIDERS[:] = [before.provider]

        def engine(collected: Collected) -> Engine:
            tracing, own_host = collected.tracing(), host.sibling()
            return Engine(store, host=own_host, workflows=known, queues=[QUEUE], lease=2, observers=[tracing])

        first = await opened(engine(before))
        await first.start(parent.options(id="parent"))
        await until(lambda: RAN["long"] == 1)
        kill(first)
        killed.append(before.names())
        PROVIDERS[:] = [after.provider]
        async with engine(after) as second:
            assert await second.handle("parent").result() == "done"

    killed: list[Counter[str]] = []
    simulate(program)
    assert killed == [
        {
            "step tracing.inner": 2,
            "of a library": 2,
            "step tracing.in_a_thread": 1,
            "in a thread of a library": 1,
            "step tracing.quick": 1,
            "queue tracing queue": 1,
        }
    ]
    assert after.names() == {
        "step tracing.long": 1,
        "recv go": 1,
        "workflow tracing.child": 1,
        "workflow tracing.parent": 1,
    }
    assert RAN == {"inner": 2, "in a thread": 1, "quick": 1, "long": 2}, "the first attempt of long has no end to tell"
    root, below = after.one("workflow tracing.parent"), after.one("workflow tracing.child")
    assert above(root) is None
    assert above(below) == own(root)
    assert [above(span) for span in before.named("step tracing.inner")] == [own(root)] * 2
    assert above(before.one("step tracing.in_a_thread")) == own(root)
    for name in ("step tracing.quick", "queue tracing queue"):
        assert above(before.one(name)) == own(below)
    assert above(after.one("step tracing.long")) == above(after.one("recv go")) == own(below)
    inners = [own(span) for span in before.named("step tracing.inner")]
    assert [above(span) for span in before.named("of a library")] == inners
    assert above(before.one("in a thread of a library")) == own(before.one("step tracing.in_a_thread"))
    (link,) = after.one("recv go").links
    assert (link.context.trace_id, link.context.span_id) == own(root)
    everything = [*before.spans, *after.spans]
    assert {own(span)[0] for span in everything} == {own(root)[0]}
    assert len({own(span)[1] for span in everything}) == len(everything)
    assert said(after.one("step tracing.long"), "attempt") == 1


def test_what_spans_say() -> None:
    collected = Collected()

    @step(name="tracing.fails")
    async def fails() -> None:
        raise ValueError("no such card")

    @workflow(name="tracing.failing")
    async def failing() -> None:
        await asyncio.sleep(3)
        await fails()

    async def program(host: SimulatedHost) -> None:
        PROVIDERS[:] = [collected.provider]
        async with Engine(
            make_store(host), host=host, workflows=[failing, parent, child], observers=[collected.tracing()]
        ) as engine:
            with pytest.raises(everlog.WorkflowFailed):
                await engine.run(failing.options(id="one"))
            await engine.run(parent)

    simulate(program)
    failed, attempt = collected.one("workflow tracing.failing"), collected.one("step tracing.fails")
    for span in (failed, attempt):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ValueError: no such card"
        (event,) = span.events
        assert (event.attributes or {})["exception.type"] == "ValueError"
        assert "fails" in str((event.attributes or {})["exception.stacktrace"])
    assert (said(failed, "workflow.id"), said(failed, "state")) == ("one", "failed")
    assert (said(attempt, "operation"), said(attempt, "outcome")) == ("tracing.fails", "failed")
    assert failed.start_time is not None
    assert failed.end_time is not None
    assert attempt.start_time is not None
    assert 3.0 <= (attempt.start_time - failed.start_time) / 1e9 < 3.5
    assert attempt.start_time <= failed.end_time
    outcomes = [said(span, "outcome") for span in collected.named("step tracing.inner")]
    assert outcomes == ["retried", "completed"]
    assert collected.one("workflow tracing.child").status.status_code is StatusCode.OK


def test_a_start_is_below_the_span_in_which_it_was_made_and_so_is_what_a_step_starts() -> None:
    collected = Collected()

    @workflow(name="tracing.leaf")
    async def leaf() -> None: ...

    @step(name="tracing.starts")
    async def starts() -> None:
        await everlog.start(leaf.options(id="leaf"))

    @workflow(name="tracing.root")
    async def root() -> None:
        await starts()

    async def program(host: SimulatedHost) -> None:
        store, tracing = make_store(host), collected.tracing()
        async with Engine(store, host=host, workflows=[root, leaf], observers=[tracing]) as engine:
            with trace.get_tracer("web", tracer_provider=collected.provider).start_as_current_span("POST /orders"):
                handle = await engine.start(root.options(attributes={"team": "a"}))
            await handle.result()
            await engine.handle("leaf").result()
            status = await handle.status()
            assert list(status.attributes) == ["team", "traceparent"]
            await engine.run(leaf.options(id="apart"))
            assert (await engine.handle("apart").status()).attributes == {}

    simulate(program)
    assert above(collected.one("workflow tracing.root")) == own(collected.one("POST /orders"))
    assert above(collected.one("step tracing.starts")) == own(collected.one("workflow tracing.root"))
    below, apart = collected.named("workflow tracing.leaf")
    assert above(below) == own(collected.one("step tracing.starts"))
    assert above(apart) is None


@workflow(name="tracing.turns")
async def turns(left: int) -> None:
    await quick()
    if left:
        everlog.continue_as_new(turns, left - 1)


@workflow(name="tracing.mended")
async def mended() -> None:
    await quick()
    if BROKEN:
        raise ValueError("broken")


BROKEN: list[bool] = []


def test_each_life_and_each_retry_has_a_span_below_the_first() -> None:
    collected = Collected()

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host, workflows=[turns, mended], observers=[collected.tracing()]) as engine:
            await engine.run(turns, 2)
            BROKEN[:] = [True]
            handle = await engine.start(mended)
            with pytest.raises(everlog.WorkflowFailed):
                await handle.result()
            BROKEN.clear()
            await handle.retry()
            await handle.result()

    simulate(program)
    first, second, third = collected.named("workflow tracing.turns")
    assert [said(span, "state") for span in (first, second, third)] == ["continued", "continued", "completed"]
    assert above(first) is None
    assert above(second) == above(third) == own(first)
    failed, retried = collected.named("workflow tracing.mended")
    assert [said(span, "state") for span in (failed, retried)] == ["failed", "completed"]
    assert above(retried) == own(failed)
    ids = [own(span) for span in collected.spans]
    assert len(set(ids)) == len(ids)
    parents = [above(span) for span in collected.named("step tracing.quick")]
    assert parents == [own(first), own(second), own(third), own(failed)]


def test_attempts_that_are_given_up_end_once() -> None:
    """Cancelled on the loop; running on in a thread after its timeout; cut short as the engine is closed."""
    collected = Collected()

    @step(name="tracing.late", timeout=0.05)
    def late() -> None:
        release.wait(5)

    @step(name="tracing.last")
    async def last() -> None:
        begun.set()
        await asyncio.sleep(20)

    @workflow(name="tracing.gives_up")
    async def gives_up() -> None:
        try:
            async with asyncio.timeout(0.01):
                await long()
        except TimeoutError:
            pass
        try:
            await everlog.call(late)
        except everlog.StepTimeout:
            release.set()
        await last()

    release, begun = threading.Event(), threading.Event()
    with sync.Engine("memory://", workflows=[gives_up], observers=[collected.tracing()], grace=0) as engine:
        engine.start(gives_up)
        assert begun.wait(30)
    told = [(span.name, said(span, "outcome")) for span in collected.spans]
    assert sorted(told) == [
        ("step tracing.last", "cut short"),
        ("step tracing.late", "failed"),
        ("step tracing.long", "cut short"),
    ]


def test_an_attempt_in_a_process_of_its_own_has_a_span() -> None:
    collected = Collected()

    async def program(host: SimulatedHost) -> None:
        @workflow(name="tracing.in_a_process")
        async def in_a_process() -> process_steps.Order:
            return await everlog.call(process_steps.double, process_steps.Order("tea", 2))

        store, tracing = make_store(host), collected.tracing()
        async with Engine(store, host=host, workflows=[in_a_process], observers=[tracing]) as engine:
            assert (await engine.run(in_a_process)).count == 4

    simulate(program)
    (attempt,) = [span for span in collected.spans if span.name.startswith("step ")]
    assert above(attempt) == own(collected.one("workflow tracing.in_a_process"))


def test_what_is_not_sampled_is_not_sampled_anywhere() -> None:
    collected = Collected(sampler=ParentBased(ALWAYS_OFF))

    async def program(host: SimulatedHost) -> None:
        PROVIDERS[:] = [collected.provider]
        async with Engine(
            make_store(host), host=host, workflows=[parent, child], observers=[collected.tracing()]
        ) as engine:
            await engine.run(parent)

    simulate(program)
    assert collected.names() == {}


def test_without_an_sdk_nothing_happens() -> None:
    async def program(host: SimulatedHost) -> None:
        async with Engine(
            make_store(host), host=host, workflows=[turns], observers=[Tracing(trace.NoOpTracerProvider())]
        ) as engine:
            await engine.run(turns, 1)

    simulate(program)


def test_an_observer_that_fails_is_reported_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Observer):
        def committed(self, *_: Any) -> None:
            raise ValueError("mine")

        begins = ended = dispatched = held = let_go = carries = committed

    async def program(host: SimulatedHost) -> None:
        async with Engine(make_store(host), host=host, workflows=[turns], observers=[Fails()]) as engine:
            await engine.run(turns, 1)

    simulate(program)
    assert [record.levelname for record in caplog.records if "observer" in record.getMessage()] == ["ERROR"]
