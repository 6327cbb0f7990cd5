"""Events: the immutable rows of a history, as past-tense tagged structs. What they say, never what to do about it.

A *fact* is an event that is delivered to the workflow; every other event opens or closes an operation and is only
checked against the code. Tags and field names are stored for ever: a new field has a default, a changed meaning is
a new type, and `everlog.core.upcast` turns old bodies into new ones before `everlog.core.event_codec` decodes them.
Times are integer microseconds of the store's clock since 1970-01-01 UTC.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, field

from everlog.core.attributes import AttributeValue
from everlog.core.event_changes import PatchMarked as PatchMarked
from everlog.core.event_changes import WorkflowRewound as WorkflowRewound
from everlog.core.event_forks import WorkflowForked as WorkflowForked
from everlog.core.event_parts import ABSENT, CarriedChild, CarriedMessage, LargeInput, QueuePlace, WhenParentEnds
from everlog.core.event_parts import Event as Event
from everlog.core.failures import Failure

FORMAT: Final = 1
"""The version of the scheduling rules and of the event bodies that a new history is written under."""


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
    place: QueuePlace | None = None
    """Where it stands until it is admitted."""
    begins_at: int | None = None
    """A time before which it does not begin; one with a place has that there."""
    tick: int | None = None
    """The time for which a schedule planned it."""
    tick_offset: int = 0
    """By how many seconds the schedule's local time was ahead of UTC then."""
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    """What is said of it to find it by, in normal form."""
    forked_from: str | None = None  # the workflow that it is a fork of


class InputReplaced(Event, frozen=True, gc=False, kw_only=True, tag="input_replaced"):
    """Another input takes the place of that of a workflow which has not begun, and the place is put off. Not a fact."""

    by: str
    input: Raw
    place: QueuePlace
    instance: Raw = ABSENT
    operation: str | None = None
    """The operation of the workflow `by` that did it, where a workflow did."""


class WorkflowPlaced(Event, frozen=True, gc=False, kw_only=True, tag="workflow_placed"):
    """Somebody gave it another place, or another time, before it began or was admitted again. Not a fact."""

    by: str
    place: QueuePlace | None = None
    begins_at: int | None = None


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
    asked: str | None = None
    """The workflow whose answer is waited for, where this is a wait for an answer."""
    title: str | None = None
    """What people are asked, where the wait is listed for them."""
    metadata: Raw = ABSENT
    schema: Raw = ABSENT
    """The JSON schema of what is waited for, where the type of it has one."""


class MessageReceived(Event, frozen=True, gc=False, kw_only=True, tag="message_received"):
    """Fact. The message moved from the inbox to the wait that took it."""

    operation: str
    topic: str
    source: str
    number: int
    arrived_at: int
    message: Raw
    due_at: int | None = None
    just_this: bool = False
    """Whether it was sent to just this wait, by its token."""


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
    ask: bool = False
    """Whether an answer is waited for."""
    sent_as: int | None = None
    """The number by which an ask is known that was sent before the workflow was rewound; None: the seq of this row."""


class SendFailed(Event, frozen=True, gc=False, kw_only=True, tag="send_failed"):
    """Fact. The message could not be delivered: stands where `message_sent` would have stood."""

    operation: str
    to: str
    topic: str
    message: Raw
    error: Failure
    key: str | None = None
    control: bool = False
    ask: bool = False


class RequestAnswered(Event, frozen=True, gc=False, kw_only=True, tag="request_answered"):
    """Fact. The workflow answered what it was asked: written in one commit with the answer.

    `source` and `number` are those of the ask. The answer lies in the inbox of the workflow `source`, or, with
    `reply_to`, beside the log of this one, under that name. Who was answered before this workflow was rewound is not
    answered again.
    """

    operation: str
    topic: str
    source: str
    number: int
    answer: Raw
    reply_to: str | None = None


class RequestRefused(Event, frozen=True, gc=False, kw_only=True, tag="request_refused"):
    """Fact. The workflow refused what it was asked, for a reason that who asked is told as an answer is.

    Without an `operation` its code had no part in that: the message did not fit, or the workflow ended.
    """

    topic: str
    source: str
    number: int
    reason: str
    reply_to: str | None = None
    operation: str = ""


class ChildStarted(Event, frozen=True, gc=False, kw_only=True, tag="child_started"):
    """Fact. The child is there: written in one commit with its creation.

    With `existed` the same workflow was there before under this id, started by somebody, and nothing was created. Its
    end is then not told. With `deduplicated` it is the one that had the `dedup_key`, and has another id.
    """

    operation: str
    child: str
    name: str
    input: Raw
    instance: Raw = ABSENT
    when_parent_ends: WhenParentEnds = "cancel"
    existed: bool = False
    deduplicated: bool = False
    queue: str | None = None
    """The queue in which it stands."""
    needs_our_slot: bool = False
    """Whether it may wait for a slot that its parent, or who waits for that, keeps: then it cannot be awaited."""


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


class WorkflowContinued(Event, frozen=True, gc=False, kw_only=True, tag="workflow_continued"):
    """The workflow goes on as if this row had created it: a replay begins here, with `workflow_began` as before.

    Id and seq go on, and so do its inbox, its values and its streams. What else is known of before is in this row.
    """

    created: WorkflowCreated
    """As the first row was, with the name, the input and the seed of what follows, and the deadline that runs on."""
    began_at: int
    """When the workflow first began."""
    inherited: bool = False
    """Whether the deadline is that of its parent."""
    children: tuple[CarriedChild, ...] = ()
    messages: tuple[CarriedMessage, ...] = ()
    closed: tuple[str, ...] = ()
    """The streams that workflow code has closed."""
    told: tuple[tuple[str, int], ...] = ()
    """Asks among the messages, by source and number, that were answered when they were first received."""


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
    | InputReplaced
    | WorkflowPlaced
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
    | RequestAnswered
    | RequestRefused
    | ChildStarted
    | StartFailed
    | ChildEnded
    | ValueSet
    | ItemsEmitted
    | StreamClosed
    | PatchMarked
    | CancelRequested
    | TerminateRequested
    | WorkflowPaused
    | WorkflowResumed
    | AttributesChanged
    | WorkflowRewound
    | WorkflowForked
    | WorkflowContinued
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
)

Publication = ValueSet | ItemsEmitted | StreamClosed | PatchMarked
"""What workflow code said: written by the commit that ends its drain, before all else, and not a fact."""
PlacingEvent = InputReplaced | WorkflowPlaced | WorkflowRewound | WorkflowForked
"""What puts a workflow into a queue after its creation, if it names a place."""
OpeningEvent = WorkflowRewound | WorkflowForked
ReplyEvent = RequestAnswered | RequestRefused
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
        RequestAnswered,
        RequestRefused,
        ChildStarted,
        StartFailed,
        ChildEnded,
        CancelRequested,
    }
)
"""The events that are delivered to workflow code, one at a time, in log order."""

TIMES: Final = FACTS | {WorkflowContinued}
"""The events that log time follows: the facts, and the end of a life, so that the next one does not begin before it."""
