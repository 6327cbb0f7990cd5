"""State: what a history says, as a fold over its events, and the sentence that is made of it."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from everlog.core import events
from everlog.core.event_codec import decode_event, encode_event, type_of
from everlog.core.event_parts import CarriedChild, CarriedMessage, QueuePlace
from everlog.core.events import AnyEvent
from everlog.core.explain import why
from everlog.core.failures import Failure
from everlog.core.state import WorkflowState, evolve, fold
from everlog.errors import CorruptLog

NULL = msgspec.Raw(b"null")
ERROR = Failure(type="builtins:ValueError", message="no")
CREATED = events.WorkflowCreated(name="flow", input=NULL, seed="0")
BEGAN = events.WorkflowBegan(format=1, everlog="0.1", python="3.11", build="b", worker="w")
STEP = events.StepStarted(operation="charge", step="charge", input=NULL)
TIMER = events.TimerSet(operation="timer", due_at=100_000_000)
WAIT = events.WaitStarted(operation="recv", topic="news")
SECOND = 1_000_000

EXAMPLES: list[AnyEvent] = [
    CREATED,
    BEGAN,
    STEP,
    events.StepAttemptFailed(operation="charge", step="charge", attempt=1, started_at=1, retry_at=9, error=ERROR),
    events.StepCompleted(operation="charge", step="charge", started_at=1, result=NULL),
    events.StepFailed(operation="charge", step="charge", started_at=1, error=ERROR),
    events.StepCancelled(operation="charge"),
    TIMER,
    events.TimerFired(operation="timer", due_at=100),
    events.TimerCancelled(operation="timer"),
    WAIT,
    events.MessageReceived(operation="recv", topic="news", source="s", number=1, arrived_at=1, message=NULL),
    events.WaitExpired(operation="recv", topic="news", due_at=1),
    events.WaitCancelled(operation="recv"),
    events.MessageSent(operation="send", to="x", topic="news", message=NULL),
    events.SendFailed(operation="send", to="x", topic="news", message=NULL, error=ERROR),
    events.RequestAnswered(operation="reply", topic="news", source="s", number=1, answer=NULL),
    events.RequestRefused(topic="news", source="s", number=1, reason="no", reply_to="row"),
    events.ChildStarted(operation="ship", child="order/ship", name="ship", input=NULL),
    events.StartFailed(operation="ship", child="order/ship", name="ship", input=NULL, error=ERROR),
    events.ChildEnded(operation="ship", child="order/ship", outcome=events.WorkflowCompleted(result=NULL)),
    events.ValueSet(operation="set_value", name="state", value=NULL),
    events.ItemsEmitted(operation="emit", stream="log", offset=0, count=1, items=NULL),
    events.StreamClosed(operation="close_stream", stream="log", offset=1),
    events.PatchMarked(operation="patched:tax", patch="tax", retired=True),
    events.CancelRequested(by="somebody"),
    events.TerminateRequested(by="somebody"),
    events.WorkflowPaused(by="somebody", asked_at=1),
    events.WorkflowResumed(by="somebody", asked_at=1),
    events.AttributesChanged(by="somebody", attributes={"tenant": "acme", "tags": ("x", 1, 1.5, True), "n": None}),
    events.WorkflowRewound(to=2, by="somebody", asked_at=1),
    events.WorkflowForked(
        source="a", at=3, by="client", asked_at=5, asked="d", replaced=(2,), void=(3,), told=(("b", 1),)
    ),
    events.WorkflowPlaced(by="somebody", place=QueuePlace(queue="mail", priority=1)),
    events.InputReplaced(by="somebody", input=NULL, place=QueuePlace(queue="mail", due_at=1)),
    events.WorkflowContinued(
        created=CREATED,
        began_at=1,
        children=(CarriedChild(child="order/pack", operation="pack", name="pack", since=1),),
        messages=(CarriedMessage(source="c", number=1, topic="t", arrived_at=1, message=NULL),),
        closed=("log",),
    ),
    events.WorkflowCompleted(result=NULL),
    events.WorkflowFailed(error=ERROR),
    events.WorkflowCancelled(),
]


def folded(*history: AnyEvent) -> WorkflowState:
    return fold((seq, seq * SECOND, event) for seq, event in enumerate(history, start=1))


def test_every_event_has_an_example_here_and_goes_through_bytes() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(AnyEvent))
    for event in EXAMPLES:
        written = encode_event(event)
        assert written.startswith(b'{"type":"' + type_of(event).encode() + b'"')
        assert encode_event(decode_event(written)) == written


@pytest.mark.parametrize("event", EXAMPLES, ids=type_of)
def test_the_fold_is_total(event: AnyEvent) -> None:
    state = evolve(folded(CREATED, BEGAN, STEP, TIMER, WAIT), 6, 6 * SECOND, event)
    assert state.seq == 6
    assert why("running", None, state, 10 * SECOND)


def test_operations_open_and_close() -> None:
    state = folded(CREATED, BEGAN, STEP, TIMER, WAIT)
    assert list(state.open) == ["charge", "timer", "recv"]
    for closing, left in (
        (events.StepCompleted(operation="charge", step="charge", started_at=1, result=NULL), ["timer", "recv"]),
        (events.TimerCancelled(operation="timer"), ["recv"]),
        (events.WaitExpired(operation="recv", topic="news", due_at=1), []),
    ):
        state = evolve(state, state.seq + 1, 1, closing)
        assert list(state.open) == left
    assert (state.steps_completed, state.steps_failed) == (1, 0)


def test_a_failed_attempt_keeps_its_step_open_until_the_next() -> None:
    failed = events.StepAttemptFailed(
        operation="charge", step="charge", attempt=2, started_at=1, retry_at=100 * SECOND, error=ERROR
    )
    state = folded(CREATED, BEGAN, failed)
    assert state.open["charge"].attempt == 3
    assert state.open["charge"].due_at == 100 * SECOND
    assert "3rd time" in why("waiting", None, state, 50 * SECOND)
    assert "no" in why("waiting", None, state, 50 * SECOND)


def test_times_and_ends_are_those_of_the_rows() -> None:
    state = folded(CREATED, BEGAN, events.WorkflowFailed(error=ERROR))
    assert (state.created_at, state.began_at, state.ended_at) == (SECOND, 2 * SECOND, 3 * SECOND)
    assert (state.status, state.error, state.name) == ("failed", ERROR, "flow")


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'{"type":"from_the_future"}',
        b'{"type":"timer_set"}',
        b"\xff",
        b'{"type":"timer_set"',
    ],
)
def test_bytes_that_are_no_event_are_a_corrupt_log(wrong: bytes) -> None:
    with pytest.raises(CorruptLog):
        decode_event(wrong)


def test_a_fold_is_the_same_as_one_event_after_the_other_also_of_children() -> None:
    started = [events.ChildStarted(operation=name, child=f"c/{name}", name="ship", input=NULL) for name in "abc"]
    again = events.ChildStarted(operation="d", child="c/b", name="ship", input=NULL, existed=True)
    asked = events.MessageSent(operation="x", to="c/a", topic="cancel", message=NULL, control=True)
    other = events.MessageSent(operation="y", to="c/b", topic="cancel", message=NULL)
    over = events.ChildEnded(operation="c", child="c/c", outcome=events.WorkflowCancelled())
    history = [CREATED, BEGAN, *started, again, asked, other, over]
    state = WorkflowState()
    for seq, event in enumerate(history, start=1):
        state = evolve(state, seq, seq * SECOND, event)
    assert folded(*history) == state
    assert {name: child.asked for name, child in state.children.items()} == {"c/a": True, "c/b": False}
    assert folded(CREATED).children == {}
    assert WorkflowState().children == {}
