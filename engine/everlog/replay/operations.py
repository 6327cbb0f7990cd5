"""Operations: the durable things that workflow code asked for and has not had yet. What they are, not what is done.

An operation is *called* where its identity is drawn, *open* from when it is awaited, *closing* once the fact that
ends it was chosen for a commit, and then *ended*; or *cancelled* by the workflow at any time before.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from contextvars import Context
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from msgspec import Raw, Struct

from everlog.core import events
from everlog.core.asks import answer_topic, answered_again, spoken_topic
from everlog.core.event_parts import ABSENT, LargeInput
from everlog.core.events import AnyEvent
from everlog.core.failures import Failure
from everlog.core.retry import RetryPolicy
from everlog.replay.tasks import OperationFuture

if TYPE_CHECKING:
    from everlog.replay.children import Child
    from everlog.replay.definitions import AnyStep, AnyWorkflow
    from everlog.replay.execution import Execution
    from everlog.replay.loop import TimerHandle

Site = tuple[str, int]
"""A place in the code: the file and the line."""

Kind = Literal["step", "timer", "wait", "send", "reply", "start", "end", "value", "stream", "patch", "deadline"]


class NotKept(Enum):
    """Stands for a value of which only the recorded form was kept."""

    NOT_KEPT = auto()


NOT_KEPT: Final = NotKept.NOT_KEPT


class Phase(Enum):
    """How far an operation has come."""

    CALLED = auto()
    OPEN = auto()
    CLOSING = auto()
    ENDED = auto()
    CANCELLED = auto()


class Operation(Struct, eq=False):
    """Base of all operations of one workflow. A struct, since one is made for every call."""

    execution: Execution
    identity: str
    called_at: Site | None
    phase: Phase = Phase.CALLED
    recorded: bool = False
    """Whether the history has a row that opens it."""
    issued_at: int = 0
    future: OperationFuture | None = None
    coroutine: Coroutine[Any, Any, Any] | None = None

    kind: ClassVar[Kind]

    def cancel(self) -> None:
        """Take note that the workflow no longer wants it."""
        self.execution.cancel_operation(self)

    def end(self, outcome: object) -> None:
        """Deliver the outcome to whoever awaits it."""
        future, self.future = self.future, None  # they hold each other: none is left to the garbage collector
        if future is not None and not future.done():
            future.set_result(outcome)

    def opening(self) -> AnyEvent | None:
        """Give the event that opens it, None where it has none."""
        raise NotImplementedError

    def closing(self) -> AnyEvent:
        """Give the event that closes it where the workflow cancelled it."""
        raise NotImplementedError

    def describe(self) -> str:
        """Say what it is, for a person."""
        raise NotImplementedError

    def told(self) -> str:
        """Say what it is and where it was called, where that is known."""
        return self.describe() if self.called_at is None else f"{self.describe()} at {self.place()}"

    def place(self) -> str:
        """Give file and line of the call."""
        if self.called_at is None:
            return "an unknown place"
        file, line = self.called_at
        return f"{file}:{line}"


class StepOperation(Operation, eq=False, kw_only=True):
    """A step that is to be run."""

    definition: AnyStep[..., Any]
    name: str
    """The name of the step in the log."""
    bound: tuple[object, ...]
    context: Context
    """The caller's context: an attempt runs in a copy of it, and what it sets does not come back."""
    input: bytes
    key: str | None
    retry: RetryPolicy | None
    timeout: int | None
    must_start: bool
    """Whether a started row has to be durable before the next attempt runs."""
    large_input: LargeInput | None = None
    args: tuple[object, ...] | None = None
    """The arguments, where to rebuild them from the input would give the very same."""
    passed: Mapping[str, object] | None = None
    """The arguments that are not recorded, by name."""
    result: object = NOT_KEPT
    """The result, where to rebuild it from what is recorded would give the very same."""
    attempt: int = 1
    started_attempt: int = 0
    """The last attempt whose start the history has."""
    retry_at: int | None = None
    dispatched: bool = False
    repeats: bool = False
    """Whether it may have run before, under another holder of the workflow."""
    cut_short: int = 0
    """How often this attempt ended without an outcome in this process."""
    slot: str | None = None
    """The slot that the next or running attempt has taken, where the step has a limit."""

    kind: ClassVar[Kind] = "step"

    def needs_slot(self) -> bool:
        """Tell whether the next attempt has to wait for a slot of a queue."""
        return self.definition.limit is not None and self.slot is None

    def input_fields(self) -> dict[str, Any]:
        """Give the input as event fields; empty where an earlier row has it."""
        if self.recorded:
            return {}
        if self.large_input is not None:
            return {"large_input": self.large_input}
        return {"input": Raw(self.input)}

    def opening(self) -> AnyEvent:
        return events.StepStarted(operation=self.identity, step=self.name, attempt=self.attempt, **self.input_fields())

    def closing(self) -> AnyEvent:
        return events.StepCancelled(operation=self.identity)

    def describe(self) -> str:
        return f"step {self.name}({self.input[:200].decode(errors='replace')})"


class TimerOperation(Operation, eq=False, kw_only=True):
    """A time of the log at which a callback runs."""

    due_at: int
    handle: TimerHandle

    kind: ClassVar[Kind] = "timer"

    def opening(self) -> AnyEvent:
        return events.TimerSet(operation=self.identity, due_at=self.due_at)

    def closing(self) -> AnyEvent:
        return events.TimerCancelled(operation=self.identity)

    def describe(self) -> str:
        return f"timer due at {self.due_at}"


class WaitOperation(Operation, eq=False, kw_only=True):
    """A wait for a message on a topic, with or without an end."""

    topic: str
    due_at: int | None
    takes: object = None
    """The type of the value of an ask, where it waits for asks; None: it waits for messages."""
    asked: str | None = None
    """The workflow whose answer it waits for, if it does."""
    title: str | None = None
    """What people are asked, where it is listed for them."""
    metadata: Raw = ABSENT
    schema: Raw = ABSENT
    declared: object = None
    """The type of the message, where it is listed."""
    opened_as: int = 0
    """The seq of the row that lists it; 0 before there is one."""
    opened_before: tuple[int, ...] = ()
    """The seqs of the rows that did before a rewinding: an answer that was given then, and is unread, is its own."""

    kind: ClassVar[Kind] = "wait"

    def opening(self) -> AnyEvent:
        return events.WaitStarted(
            operation=self.identity,
            topic=self.topic,
            due_at=self.due_at,
            asked=self.asked,
            title=self.title,
            metadata=self.metadata,
            schema=self.schema,
        )

    def topics(self) -> Iterator[str]:
        """Give the topics of the messages that it takes."""
        yield self.topic
        for seq in (*self.opened_before, self.opened_as):
            if seq:
                yield answer_topic(seq)

    def takes_topics(self) -> Iterator[str]:
        """Give the same as they are in memory, where what was received is received again."""
        yield from self.topics()
        if self.title is not None:
            yield answered_again(self.identity)

    def takes_message(self, topic: str) -> bool:
        """Tell whether it takes a message on this topic."""
        return topic == self.topic or (self.title is not None and topic in self.takes_topics())

    def closing(self) -> AnyEvent:
        return events.WaitCancelled(operation=self.identity)

    def describe(self) -> str:
        if self.asked is not None:
            return f"the answer of {self.asked!r}"
        return f"recv({spoken_topic(self.topic)!r})"


class Waits(dict[str, WaitOperation]):
    """The waits that are open, by identity."""

    def __init__(self) -> None:
        super().__init__()
        self.unsure: dict[str, WaitOperation] = {}
        """Those for answers of workflows that may have ended by the time at which they were asked."""
        self.untold: dict[str, WaitOperation] = {}
        """Those that are to be listed, and are not yet."""
        self.lists = False
        """Whether any was ever to be listed."""

    def add(self, wait: WaitOperation) -> None:
        """Add one that was opened."""
        self[wait.identity] = wait
        if wait.asked is not None:
            self.unsure[wait.identity] = wait
        if wait.title is not None:
            self.untold[wait.identity] = wait
            self.lists = True

    def forget(self, identity: str) -> None:
        """Forget one that is over."""
        for waits in (self, self.unsure, self.untold):
            waits.pop(identity, None)


class SendOperation(Operation, eq=False, kw_only=True):
    """A message for another workflow. It is done in the commit that follows its drain, so it never opens."""

    to: str
    topic: str
    payload: bytes
    declared: object
    """The type of the message."""
    key: str | None = None
    control: bool = False
    """Whether it asks the workflow itself for something, which the topic names."""
    optional: bool = False
    """Whether it is well that nobody takes it, where there is nobody."""
    ask: bool = False
    """Whether an answer is waited for."""
    sent_as: int = 0
    """The number of the message, once it was sent."""

    kind: ClassVar[Kind] = "send"

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("a send has no opening row that could need closing")

    def describe(self) -> str:
        if self.control:
            return f"{self.topic}({self.to!r})"
        what = "ask" if self.ask else "send"
        return f"{what}({self.to!r}, {self.topic!r}, {self.payload[:200].decode(errors='replace')})"


class ReplyOperation(Operation, eq=False, kw_only=True):
    """An answer to an ask, or its refusal. Like a send it is done in the commit that follows its drain.

    Who is cancelled while giving it does not take it back: in a replay it may be in the history, or not yet.
    """

    topic: str
    source: str
    number: int
    answer: bytes | None
    """None: it is refused."""
    reason: str
    reply_to: str | None
    declared: object
    """The type of the answer."""

    kind: ClassVar[Kind] = "reply"

    def cancel(self) -> None:
        self.future = None

    def row(self) -> events.ReplyEvent:
        """Give the row that says it."""
        common: dict[str, Any] = {
            "operation": self.identity,
            "topic": self.topic,
            "source": self.source,
            "number": self.number,
            "reply_to": self.reply_to,
        }
        if self.answer is None:
            return events.RequestRefused(reason=self.reason, **common)
        return events.RequestAnswered(answer=Raw(self.answer), **common)

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("an answer has no opening row that could need closing")

    def describe(self) -> str:
        said = (
            f"refuse({self.reason!r})"
            if self.answer is None
            else f"reply({self.answer[:200].decode(errors='replace')})"
        )
        return f"{said} to the ask of {self.source!r} on topic {self.topic!r}"


class StartOperation(Operation, eq=False, kw_only=True):
    """A workflow that is to come to be. Like a send it is done in the commit that follows its drain: it never opens."""

    definition: AnyWorkflow[..., Any]
    name: str
    """The name of the workflow in the log."""
    child: str
    """The id that it gets here; the history may have another, where nobody chose it."""
    input: bytes
    instance: Raw
    key: str | None
    is_call: bool
    """Whether its end is awaited as that of a call is: who gives up the call gives up the child."""
    undoes: bool = False
    """Whether it is a compensation, which the deadline of its parent does not cut short."""
    is_prepared: bool = False
    """Whether it is known if its queue can be had."""
    failure: Failure | None = None
    """Why it cannot be had, where that is known before it is tried."""
    needs_our_slot: bool = False
    """Whether it may wait for a slot that this workflow, or who waits for that, keeps."""
    takes_key: bool = False
    """Whether it takes its `dedup_key` from one that was admitted."""

    kind: ClassVar[Kind] = "start"

    def fields(self) -> dict[str, Any]:
        """Give what all its events have."""
        return {
            "operation": self.identity,
            "child": self.child,
            "name": self.name,
            "input": Raw(self.input),
            "instance": self.instance,
        }

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("a start has no opening row that could need closing")

    def describe(self) -> str:
        return f"child {self.name}({self.input[:200].decode(errors='replace')})"


class EndOperation(Operation, eq=False, kw_only=True):
    """A wait for the end of a child. It has no rows of its own: the end is one, and belongs to the child."""

    child: Child
    is_call: bool

    kind: ClassVar[Kind] = "end"

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("a wait for an end has no opening row that could need closing")

    def describe(self) -> str:
        return f"the end of child {self.child.id!r}"


AskingOperation = SendOperation | StartOperation | ReplyOperation
"""What is asked of others: written as done together with its effect."""

KeyedOperation = StepOperation | StartOperation
"""What may be named by its caller."""


class DeadlineOperation(Operation, eq=False, kw_only=True):
    """The deadline of a workflow: not asked for by its code, so it is no row but the cancellation that comes of it."""

    due_at: int
    inherited: bool = False
    """Whether it is that of its parent."""

    kind: ClassVar[Kind] = "deadline"

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("a deadline has no opening row that could need closing")

    def describe(self) -> str:
        return f"deadline at {self.due_at}"
