"""Events: the immutable rows of a history, as past-tense tagged structs. What they say, never what to do about it.

A *fact* is an event that is delivered to the workflow; every other event opens or closes an operation and is only
checked against the code. Tags and field names are stored for ever: a new field has a default, a changed meaning is
a new type, and `everlog.core.upcast` turns old bodies into new ones before they are decoded here.
Times are integer microseconds of the store's clock since 1970-01-01 UTC.
"""

from __future__ import annotations

from typing import Final, get_args

import msgspec
from msgspec import Raw

from everlog.core.failures import Failure
from everlog.core.upcast import upcast
from everlog.errors import CorruptLog

FORMAT: Final = 1
"""The version of the scheduling rules and of the event bodies that a new history is written under."""


ABSENT: Final = Raw()
"""Stands for an input that an earlier row carries."""


class LargeInput(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Stands for a step input over the size that is kept whole."""

    digest: str
    size: int
    preview: str


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all events: written once, never changed."""


class WorkflowCreated(Event, frozen=True, gc=False, kw_only=True, tag="workflow_created"):
    """Seq 1, written by whoever creates the workflow."""

    name: str
    input: Raw
    seed: str
    instance: Raw = ABSENT
    """The object whose method it is, where that was recorded as a value."""
    timeout: int | None = None
    """Microseconds from its beginning after which it is cancelled."""
    deadline: int | None = None
    """A time at which it is cancelled whenever it began: that of what started it."""


class WorkflowBegan(Event, frozen=True, gc=False, kw_only=True, tag="workflow_began"):
    """The first fact, written by the first holder, seq 2 unless it was paused before: log time starts here."""

    format: int
    everlog: str
    python: str
    build: str
    worker: str


class StepStarted(Event, frozen=True, gc=False, kw_only=True, tag="step_started"):
    """Opens a step: it was still running when a commit was formed, or must be known to have begun before it runs."""

    operation: str
    step: str
    attempt: int = 1
    input: Raw = ABSENT
    large_input: LargeInput | None = None


class StepAttemptFailed(Event, frozen=True, gc=False, kw_only=True, tag="step_attempt_failed"):
    """An attempt failed and another follows at `retry_at`. Opens the step if nothing did before. Not a fact."""

    operation: str
    step: str
    attempt: int
    started_at: int
    retry_at: int
    error: Failure
    input: Raw = ABSENT
    large_input: LargeInput | None = None


class StepCompleted(Event, frozen=True, gc=False, kw_only=True, tag="step_completed"):
    """Fact. The step returned. Carries the input where no earlier row does."""

    operation: str
    step: str
    started_at: int
    result: Raw
    attempt: int = 1
    input: Raw = ABSENT
    large_input: LargeInput | None = None


class StepFailed(Event, frozen=True, gc=False, kw_only=True, tag="step_failed"):
    """Fact. The step's last attempt failed. Carries the input where no earlier row does."""

    operation: str
    step: str
    started_at: int
    error: Failure
    attempt: int = 1
    input: Raw = ABSENT
    large_input: LargeInput | None = None


class StepCancelled(Event, frozen=True, gc=False, kw_only=True, tag="step_cancelled"):
    """Closes a step that the workflow cancelled."""

    operation: str


class TimerSet(Event, frozen=True, gc=False, kw_only=True, tag="timer_set"):
    """Opens a timer that was still running when a commit was formed."""

    operation: str
    due_at: int


class TimerFired(Event, frozen=True, gc=False, kw_only=True, tag="timer_fired"):
    """Fact. The timer was due."""

    operation: str
    due_at: int


class TimerCancelled(Event, frozen=True, gc=False, kw_only=True, tag="timer_cancelled"):
    """Closes a timer that the workflow cancelled."""

    operation: str


class WaitStarted(Event, frozen=True, gc=False, kw_only=True, tag="wait_started"):
    """Opens a wait for a message that was still unanswered when a commit was formed."""

    operation: str
    topic: str
    due_at: int | None = None


class MessageReceived(Event, frozen=True, gc=False, kw_only=True, tag="message_received"):
    """Fact. The message moved from the inbox to the wait that took it."""

    operation: str
    topic: str
    source: str
    number: int
    arrived_at: int
    message: Raw
    due_at: int | None = None


class WaitExpired(Event, frozen=True, gc=False, kw_only=True, tag="wait_expired"):
    """Fact. No message came before the wait's timeout."""

    operation: str
    topic: str
    due_at: int


class WaitCancelled(Event, frozen=True, gc=False, kw_only=True, tag="wait_cancelled"):
    """Closes a wait that the workflow cancelled."""

    operation: str


class MessageSent(Event, frozen=True, gc=False, kw_only=True, tag="message_sent"):
    """Fact. The message lies in the destination's inbox: written in one commit with it."""

    operation: str
    to: str
    topic: str
    message: Raw
    key: str | None = None


class SendFailed(Event, frozen=True, gc=False, kw_only=True, tag="send_failed"):
    """Fact. The message could not be delivered: stands where `message_sent` would have stood."""

    operation: str
    to: str
    topic: str
    message: Raw
    error: Failure
    key: str | None = None


class CancelRequested(Event, frozen=True, gc=False, kw_only=True, tag="cancel_requested"):
    """Fact. The workflow is to stop, and ends cancelled unless it handles that: asked for, or its deadline came."""

    by: str
    reason: str = ""
    due_at: int | None = None
    """The deadline, where nobody asked."""


class TerminateRequested(Event, frozen=True, gc=False, kw_only=True, tag="terminate_requested"):
    """Somebody ended the workflow: its code is dropped as it stands. The rows that close what is open follow."""

    by: str
    reason: str = ""


class WorkflowPaused(Event, frozen=True, gc=False, kw_only=True, tag="workflow_paused"):
    """Nothing begins and nothing arrives from here on; results of attempts that run are still recorded. Not a fact."""

    by: str
    asked_at: int


class WorkflowResumed(Event, frozen=True, gc=False, kw_only=True, tag="workflow_resumed"):
    """Takes the pause back. Not a fact."""

    by: str
    asked_at: int


class WorkflowRewound(Event, frozen=True, gc=False, kw_only=True, tag="workflow_rewound"):
    """Follows an end, or a moment at which it was stuck: the workflow goes on from seq `to`. Not a fact.

    What lies between stays in the history, and is void for replay. What was open at `to` is open anew.
    """

    to: int
    by: str
    asked_at: int
    deadline: int | None = None
    """The time at which it is cancelled, which takes the place of every earlier one."""


class WorkflowCompleted(Event, frozen=True, gc=False, kw_only=True, tag="workflow_completed"):
    """Last event: the workflow returned."""

    result: Raw


class WorkflowFailed(Event, frozen=True, gc=False, kw_only=True, tag="workflow_failed"):
    """Last event: the workflow raised."""

    error: Failure
    rewind_to: int | None = None
    """The seq from which a retry goes on."""


class WorkflowCancelled(Event, frozen=True, gc=False, kw_only=True, tag="workflow_cancelled"):
    """Last event: the workflow was cancelled, or terminated."""

    reason: str = ""
    terminated: bool = False
    rewind_to: int | None = None
    """The seq from which a retry goes on."""


AnyEvent = (
    WorkflowCreated
    | WorkflowBegan
    | StepStarted
    | StepAttemptFailed
    | StepCompleted
    | StepFailed
    | StepCancelled
    | TimerSet
    | TimerFired
    | TimerCancelled
    | WaitStarted
    | MessageReceived
    | WaitExpired
    | WaitCancelled
    | MessageSent
    | SendFailed
    | CancelRequested
    | TerminateRequested
    | WorkflowPaused
    | WorkflowResumed
    | WorkflowRewound
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
)

EndEvent = WorkflowCompleted | WorkflowFailed | WorkflowCancelled
StepEvent = StepStarted | StepAttemptFailed | StepCompleted | StepFailed

FACTS: Final[frozenset[type[Event]]] = frozenset(
    {
        WorkflowBegan,
        StepCompleted,
        StepFailed,
        TimerFired,
        MessageReceived,
        WaitExpired,
        MessageSent,
        SendFailed,
        CancelRequested,
    }
)
"""The events that are delivered to workflow code, one at a time, in log order."""

_tags: Final[dict[type[Event], str]] = {kind: str(kind.__struct_config__.tag) for kind in get_args(AnyEvent)}
_decoder: Final = msgspec.json.Decoder(AnyEvent)
_encoder: Final = msgspec.json.Encoder()


def type_of(event: AnyEvent) -> str:
    """Give the tag under which the event is stored."""
    return _tags[type(event)]


def encode_event(event: AnyEvent) -> bytes:
    """Give the event as one line of JSON, the form in which it is stored."""
    return _encoder.encode(event)


def decode_event(payload: bytes) -> AnyEvent:
    """Rebuild an event of this or any earlier format; `CorruptLog` where the bytes are no event."""
    try:
        event: AnyEvent = _decoder.decode(upcast(payload))
        return event
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptLog(
            f"this is no event that Everlog can read: {payload[:120]!r} ({error}); if a newer version wrote it, "
            "use that version"
        ) from error
