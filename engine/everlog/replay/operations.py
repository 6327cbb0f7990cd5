"""Operations: the durable things that workflow code asked for and has not had yet. What they are, not what is done.

An operation is *called* where its identity is drawn, *open* from when it is awaited, *closing* once the fact that
ends it was chosen for a commit, and then *ended*; or *cancelled* by the workflow at any time before.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextvars import copy_context
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from msgspec import Raw

from everlog.core import events
from everlog.core.events import AnyEvent, LargeInput
from everlog.core.retry import RetryPolicy
from everlog.replay.tasks import OperationFuture

if TYPE_CHECKING:
    from everlog.replay.definitions import AnyStep
    from everlog.replay.execution import Execution
    from everlog.replay.loop import TimerHandle

Site = tuple[str, int]
"""A place in the code: the file and the line."""

Kind = Literal["step", "timer", "wait", "send", "deadline"]


class Phase(Enum):
    """How far an operation has come."""

    CALLED = auto()
    OPEN = auto()
    CLOSING = auto()
    ENDED = auto()
    CANCELLED = auto()


class Operation:
    """Base of all operations of one workflow."""

    __slots__ = ("called_at", "coroutine", "execution", "future", "identity", "issued_at", "phase", "recorded")

    kind: ClassVar[Kind]

    def __init__(self, execution: Execution, identity: str, called_at: Site | None) -> None:
        self.execution = execution
        self.identity = identity
        self.called_at = called_at
        self.phase = Phase.CALLED
        self.recorded = False
        """Whether the history has a row that opens it."""
        self.issued_at = 0
        self.future: OperationFuture | None = None
        self.coroutine: Coroutine[Any, Any, Any] | None = None

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


class StepOperation(Operation):
    """A step that is to be run."""

    __slots__ = (
        "attempt",
        "bound",
        "context",
        "cut_short",
        "definition",
        "dispatched",
        "input",
        "key",
        "large_input",
        "must_start",
        "name",
        "passed",
        "retry",
        "retry_at",
        "started_attempt",
        "timeout",
    )

    kind = "step"

    def __init__(
        self,
        execution: Execution,
        identity: str,
        called_at: Site | None,
        *,
        definition: AnyStep[..., Any],
        bound: tuple[object, ...],
        input: bytes,
        key: str | None,
    ) -> None:
        super().__init__(execution, identity, called_at)
        self.definition = definition
        self.name = definition.name
        """The name of the step in the log."""
        self.bound = bound
        self.context = copy_context()
        """The caller's context: an attempt runs in a copy of it, and what it sets does not come back."""
        self.input = input
        self.large_input: LargeInput | None = None
        self.passed: Mapping[str, object] | None = None
        """The arguments that are not recorded, by name."""
        self.key = key
        self.retry: RetryPolicy | None = definition.retry
        self.timeout: int | None = definition.timeout
        self.attempt = 1
        self.started_attempt = 0
        """The last attempt whose start the history has."""
        self.retry_at: int | None = None
        self.must_start = definition.at_most_once
        """Whether a started row has to be durable before the next attempt runs."""
        self.dispatched = False
        self.cut_short = 0
        """How often this attempt ended without an outcome in this process."""

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


class TimerOperation(Operation):
    """A time of the log at which a callback runs."""

    __slots__ = ("due_at", "handle")

    kind = "timer"

    def __init__(
        self, execution: Execution, identity: str, called_at: Site | None, *, due_at: int, handle: TimerHandle
    ) -> None:
        super().__init__(execution, identity, called_at)
        self.due_at = due_at
        self.handle = handle

    def opening(self) -> AnyEvent:
        return events.TimerSet(operation=self.identity, due_at=self.due_at)

    def closing(self) -> AnyEvent:
        return events.TimerCancelled(operation=self.identity)

    def describe(self) -> str:
        return f"timer due at {self.due_at}"


class WaitOperation(Operation):
    """A wait for a message on a topic, with or without an end."""

    __slots__ = ("due_at", "topic")

    kind = "wait"

    def __init__(
        self, execution: Execution, identity: str, called_at: Site | None, *, topic: str, due_at: int | None
    ) -> None:
        super().__init__(execution, identity, called_at)
        self.topic = topic
        self.due_at = due_at

    def opening(self) -> AnyEvent:
        return events.WaitStarted(operation=self.identity, topic=self.topic, due_at=self.due_at)

    def closing(self) -> AnyEvent:
        return events.WaitCancelled(operation=self.identity)

    def describe(self) -> str:
        return f"recv({self.topic!r})"


class SendOperation(Operation):
    """A message for another workflow. It is done in the commit that follows its drain, so it never opens."""

    __slots__ = ("declared", "key", "payload", "to", "topic")

    kind = "send"

    def __init__(
        self,
        execution: Execution,
        identity: str,
        called_at: Site | None,
        *,
        to: str,
        topic: str,
        payload: bytes,
        declared: object,
        key: str | None,
    ) -> None:
        super().__init__(execution, identity, called_at)
        self.to = to
        self.topic = topic
        self.payload = payload
        self.declared = declared
        """The type of the message."""
        self.key = key

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("a send has no opening row that could need closing")

    def describe(self) -> str:
        return f"send({self.to!r}, {self.topic!r}, {self.payload[:200].decode(errors='replace')})"


class DeadlineOperation(Operation):
    """The deadline of a workflow: not asked for by its code, so it is no row but the cancellation that comes of it."""

    __slots__ = ("due_at",)

    kind = "deadline"

    def __init__(self, execution: Execution, due_at: int) -> None:
        super().__init__(execution, "deadline", None)
        self.due_at = due_at
        self.phase = Phase.OPEN

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("a deadline has no opening row that could need closing")

    def describe(self) -> str:
        return f"deadline at {self.due_at}"
