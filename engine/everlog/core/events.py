"""Events: the immutable rows of a history, as past-tense tagged structs. What they say, never what to do about it.

A *fact* is an event that is delivered to the workflow; every other event opens or closes an operation and is only
checked against the code. Tags and field names are stored for ever: a new field has a default, a changed meaning is
a new type, and `everlog.core.upcast` turns old bodies into new ones before they are decoded here.
Times are integer microseconds of the store's clock since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec
from msgspec import Raw

from everlog.core.attributes import AttributeValue
from everlog.core.failures import Failure
from everlog.core.upcast import upcast
from everlog.errors import CorruptLog

FORMAT: Final = 1
"""The version of the scheduling rules and of the event bodies that a new history is written under."""


ABSENT: Final = Raw()
"""Stands for what another row carries, or none as a whole."""


class LargeInput(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Stands for a step input over the size that is kept whole."""

    digest: str
    size: int
    preview: str


WhenParentEnds = Literal["cancel", "terminate", "leave"]
"""What becomes of a child that has not ended when its parent ends, or when the call that awaits it is given up."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all events: written once, never changed."""


class WorkflowCreated(Event, frozen=True, gc=False, kw_only=True, tag="workflow_created"):
    """Seq 1, written by whoever creates the workflow."""

    name: str
    input: Raw
    seed: str
    instance: Raw = ABSENT
    """The object whose method it is, where that was recorded as a value."""
    parent: str | None = None
    """The workflow that started it, which is told of its end."""
    parent_operation: str | None = None
    """The operation of the parent that did."""
    timeout: int | None = None
    """Microseconds from its beginning after which it is cancelled."""
    deadline: int | None = None
    """A time at which it is cancelled whenever it began: that of what started it."""
    attributes: dict[str, AttributeValue] = {}
    """What is said of it to find it by, in normal form."""


class WorkflowBegan(Event, frozen=True, gc=False, kw_only=True, tag="workflow_began"):
    """The first fact, written by the first holder, seq 2 unless others wrote to it before: log time starts here."""

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
    """Fact. The message lies in the destination's inbox: written in one commit with it.

    One that is `control` asks the workflow itself for something, which its topic names: to stop, for one. Where it has
    ended there is nobody to ask, and that is well.
    """

    operation: str
    to: str
    topic: str
    message: Raw
    key: str | None = None
    control: bool = False


class SendFailed(Event, frozen=True, gc=False, kw_only=True, tag="send_failed"):
    """Fact. The message could not be delivered: stands where `message_sent` would have stood."""

    operation: str
    to: str
    topic: str
    message: Raw
    error: Failure
    key: str | None = None
    control: bool = False


class ChildStarted(Event, frozen=True, gc=False, kw_only=True, tag="child_started"):
    """Fact. The child is there: written in one commit with its creation.

    With `existed` the same workflow was there before under this id, started by somebody, and nothing was created. Its
    end is then not told.
    """

    operation: str
    child: str
    name: str
    input: Raw
    instance: Raw = ABSENT
    when_parent_ends: WhenParentEnds = "cancel"
    existed: bool = False


class StartFailed(Event, frozen=True, gc=False, kw_only=True, tag="start_failed"):
    """Fact. The child could not be created: stands where `child_started` would have stood."""

    operation: str
    child: str
    name: str
    input: Raw
    error: Failure
    instance: Raw = ABSENT


class ValueSet(Event, frozen=True, gc=False, kw_only=True, tag="value_set"):
    """A value was published. With an `attempt`, `operation` is the step whose attempt of that number did it."""

    operation: str
    name: str
    value: Raw
    attempt: int = 0


class ItemsEmitted(Event, frozen=True, gc=False, kw_only=True, tag="items_emitted"):
    """Workflow code emitted to a stream: written in one commit with the items, which fill `count` places from `offset`.

    What steps emit is in the stream alone.
    """

    operation: str
    stream: str
    offset: int
    count: int
    items: Raw = ABSENT
    large_items: LargeInput | None = None


class StreamClosed(Event, frozen=True, gc=False, kw_only=True, tag="stream_closed"):
    """Workflow code closed a stream; the mark in it is at `offset`."""

    operation: str
    stream: str
    offset: int


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


class AttributesChanged(Event, frozen=True, gc=False, kw_only=True, tag="attributes_changed"):
    """Somebody changed the attributes, name by name; None takes one away. Not a fact, and not undone by a rewinding.

    `number` is that of the message by which who held it was asked, and 0 where nobody did.
    """

    by: str
    attributes: dict[str, AttributeValue | None]
    number: int = 0


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


EndEvent = WorkflowCompleted | WorkflowFailed | WorkflowCancelled


class ChildEnded(Event, frozen=True, gc=False, kw_only=True, tag="child_ended"):
    """Fact. A child has ended; `operation` is the one that started it. Written when it is heard of, awaited or not."""

    operation: str
    child: str
    outcome: EndEvent


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
    | ChildStarted
    | StartFailed
    | ChildEnded
    | ValueSet
    | ItemsEmitted
    | StreamClosed
    | CancelRequested
    | TerminateRequested
    | WorkflowPaused
    | WorkflowResumed
    | AttributesChanged
    | WorkflowRewound
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
)

Publication = ValueSet | ItemsEmitted | StreamClosed
"""What workflow code published: written by the commit that ends its drain, and not a fact."""
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
        ChildStarted,
        StartFailed,
        ChildEnded,
        CancelRequested,
    }
)
"""The events that are delivered to workflow code, one at a time, in log order."""

TAGS: Final[dict[type[Event], str]] = {kind: str(kind.__struct_config__.tag) for kind in get_args(AnyEvent)}
"""The tag under which events of each type are stored."""

_decoder: Final = msgspec.json.Decoder(AnyEvent)


def type_of(event: AnyEvent) -> str:
    """Give the tag under which the event is stored."""
    return TAGS[type(event)]


encode_event: Final[Callable[[AnyEvent], bytes]] = msgspec.json.Encoder().encode
"""Gives the event as one line of JSON, the form in which it is stored."""


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
