"""Requests: how workflow code asks other workflows, and what it has to answer. The calls; what is written is not here.

An ask is a message that is sent as any is, and then a wait for the answer, on a topic of its own: that of the number
under which the message was sent. Who is asked takes it by `recv` with `type=Request[...]`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final, get_args, get_origin

from msgspec import Raw

from everlog.core import asks, events
from everlog.core.codec import ANY, SELF, Mismatch
from everlog.core.durations import Duration, microseconds
from everlog.core.heads import InboxRow
from everlog.core.names import check_id, check_reason
from everlog.core.rewinding import Stored
from everlog.core.sealed import is_concealing
from everlog.errors import AskRefused, CorruptLog, UsageError, WrongContext
from everlog.replay.asking import coroutine_of, outcome_of, site
from everlog.replay.context import active
from everlog.replay.operations import ReplyOperation, SendOperation, WaitOperation
from everlog.replay.origins import note_handled
from everlog.replay.sizes import LARGE, check_size

if TYPE_CHECKING:
    from everlog.replay.execution import Execution
    from everlog.replay.inbox import Inbox

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Asked:
    """An ask that was taken: the message that brought it, and whether the code has answered it."""

    __slots__ = ("is_answered", "number", "reply_to", "source", "topic")

    def __init__(self, event: events.MessageReceived, reply_to: str | None) -> None:
        self.topic = asks.spoken_topic(event.topic)
        self.source = event.source
        self.number = event.number
        self.reply_to = reply_to
        self.is_answered = False


class Requests:
    """What one workflow was asked and has not answered, by source and number; and what it has, in what is void too."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, int], Asked] = {}
        self.told: set[tuple[str, int]] = set()
        """Those who have their answer, or know that there is none."""

    def took(self, event: events.MessageReceived) -> None:
        """Take note of an ask that was received."""
        if event.topic.startswith(asks.ASK):
            reply_to = asks.asked_of(bytes(event.message)).reply_to
            self.open[event.source, event.number] = Asked(event, reply_to)

    def replied(self, event: events.ReplyEvent) -> None:
        """Take note of an answer."""
        name = (event.source, event.number)
        self.open.pop(name, None)
        self.told.add(name)

    def rewound(self, void: Sequence[Stored]) -> None:
        """Take note of what was answered in what is void: it is not answered to anybody again."""
        self.told.update((row.source, row.number) for _, _, row in void if isinstance(row, events.ReplyEvent))


class AnyRequest(Generic[T_co]):
    """What a workflow was asked, whatever the colour of its code."""

    def __init__(self, execution: Execution, asked: Asked, value: T_co) -> None:
        self._execution = execution
        self._asked = asked
        self._value = value

    def __repr__(self) -> str:
        return f"<Request {self._value!r} of {self._asked.source!r}>"

    @property
    def value(self) -> T_co:
        """What was asked."""
        return self._value

    def _replied(self, answer: object) -> Coroutine[Any, Any, None]:
        execution, what = self._here("reply"), f"answer to the ask on topic {self._asked.topic!r}"
        payload = execution.environment.codec.encode(answer, SELF, what=what)
        if len(payload) >= LARGE:
            check_size(payload, what, silent=execution.replaying)
        return self._told("reply", payload, "", type(answer))

    def _refused(self, reason: str) -> Coroutine[Any, Any, None]:
        self._here("refuse")
        return self._told("refuse", None, check_reason(reason), str)

    def _told(self, name: str, answer: bytes | None, reason: str, declared: object) -> Coroutine[Any, Any, None]:
        execution, asked = self._execution, self._asked
        operation = ReplyOperation(
            execution,
            execution.loop.branch().draw(name),
            site(),
            topic=asked.topic,
            source=asked.source,
            number=asked.number,
            answer=answer,
            reason=reason,
            reply_to=asked.reply_to,
            declared=declared,
        )
        note_handled(execution)

        async def perform() -> None:
            if asked.is_answered:
                execution.called.pop(id(operation), None)
                raise UsageError(
                    f"workflow {execution.workflow_id!r} has answered this ask of {asked.source!r} on topic "
                    f"{asked.topic!r} before, and an ask is answered once"
                )
            asked.is_answered = True
            await outcome_of(execution, operation)

        return coroutine_of(execution, operation, perform(), name)

    def _here(self, name: str) -> Execution:
        if active.execution is not self._execution:
            raise WrongContext(
                f"this request belongs to workflow {self._execution.workflow_id!r}, and {name}() was called outside of "
                "its code; return from the step what is to be answered"
            )
        return self._execution


@final
class Request(AnyRequest[T_co]):
    """What a workflow was asked: got by `await everlog.recv(topic, type=Request[int])`. Answer it once.

    What is never answered is refused when the workflow ends, however it does.
    """

    def reply(self, answer: object, /) -> Coroutine[Any, Any, None]:
        """Answer. When this returns, the answer is durable: whoever asked gets it exactly once.

        That nobody waits for it any more is no error; a second answer is a `UsageError`.
        """
        return self._replied(answer)

    def refuse(self, reason: str, /) -> Coroutine[Any, Any, None]:
        """Refuse to answer: whoever asked gets `AskRefused` with this reason. Otherwise as `reply`."""
        return self._refused(reason)


def value_type(declared: object, kind: type) -> object:
    """Give the type of the value that `recv` was given for asks, by a type of requests; None where that is none."""
    origin = get_origin(declared) or declared
    if origin is kind:
        return (get_args(declared) or (ANY,))[0]
    if any(isinstance(one, type) and issubclass(one, AnyRequest) for one in _parts(declared)):
        raise UsageError(
            f"recv: asks are received by type={_spoken(kind)}[...], alone and of the module whose recv it is, got "
            f"{declared!r}; asks of several types are {_spoken(kind)}[A | B], and messages are received apart from asks"
        )
    return None


def _parts(declared: object) -> Iterable[object]:
    yield get_origin(declared) or declared
    for part in get_args(declared):
        yield from _parts(part)


def _spoken(kind: type) -> str:
    return "everlog.Request" if kind is Request else "sync.Request"


def ask(
    execution: Execution, to: str, topic: str, message: object, declared: object, timeout: Duration, key: str | None
) -> Coroutine[Any, Any, Any]:
    """Draw the operations of an ask: the message, and the wait for the answer."""
    check_id(to)
    asks.ask_topic(topic)
    if key is not None:
        raise UsageError(
            f"ask in workflow {execution.workflow_id!r}: an ask of workflow code is asked once anyway, so it has no "
            "key=; a key is for steps, which may run again, and for those who ask from outside"
        )
    due_at = execution.loop.log_time + microseconds(timeout, what="timeout of ask")
    what = f"ask on topic {topic!r}"
    payload = execution.environment.codec.encode(message, SELF, what=what)
    if len(payload) >= LARGE:
        check_size(payload, what, silent=execution.replaying)
    identity, called_at = execution.loop.branch().draw("ask"), site()
    sent = SendOperation(
        execution, identity, called_at, to=to, topic=topic, payload=payload, declared=type(message), ask=True
    )
    note_handled(execution)

    async def perform() -> Any:
        event = await outcome_of(execution, sent)
        if isinstance(event, events.SendFailed):
            raise execution.raise_recorded(event.error)
        wait = WaitOperation(
            execution,
            f"{identity}/answer",
            called_at,
            topic=asks.reply_topic(sent.sent_as),
            due_at=due_at,
            asked=to,
        )
        event = await outcome_of(execution, wait)
        if isinstance(event, events.MessageReceived):
            return answer_of(execution, to, topic, bytes(event.message), declared)
        raise TimeoutError(f"workflow {to!r} did not answer in time what it was asked on topic {topic!r}")

    return coroutine_of(execution, sent, perform(), "ask")


def answer_of(execution: Execution, to: str, topic: str, payload: bytes, declared: object) -> Any:
    """Give what was answered, or raise that it was refused."""
    answered = asks.answered_of(payload)
    if answered.refused is not None:
        raise refusal(to, topic, answered.refused)
    return execution.decode(bytes(answered.answer), declared, f"answer of {to!r} on topic {topic!r}")


def refusal(to: str, topic: str, reason: str) -> AskRefused:
    """Give the error of whoever was refused."""
    return AskRefused(
        f"workflow {to!r} refused what it was asked on topic {topic!r}: {reason}", workflow_id=to, reason=reason
    )


def request_of(
    execution: Execution, kind: type[AnyRequest[Any]], event: events.MessageReceived, declared: object
) -> Any:
    """Give the request that a message is."""
    body = asks.asked_of(bytes(event.message))
    value = execution.decode(bytes(body.message), declared, f"ask on topic {asks.spoken_topic(event.topic)!r}")
    return kind(execution, execution.requests.open[event.source, event.number], value)


def refused_at_once(execution: Execution, wait: WaitOperation, message: InboxRow) -> events.RequestRefused | None:
    """Give the refusal of an ask that does not fit the type of the wait that would take it; None where it fits."""
    if wait.takes is None:
        return None
    try:
        body = asks.asked_of(message.payload)
        execution.environment.codec.decode(bytes(body.message), wait.takes, what="what was asked")
    except Mismatch as error:
        found = "" if is_concealing(execution.environment.codec) else f", found {error.found}"
        return refused(message, f"it does not fit what is taken, at {error.path}: expected {error.expected}{found}")
    except CorruptLog as error:
        return refused(message, str(error))
    return None


def refused(message: InboxRow, reason: str) -> events.RequestRefused:
    """Give the row that refuses an ask that nobody has taken."""
    try:
        reply_to = asks.asked_of(message.payload).reply_to
    except CorruptLog:
        reply_to = None
    return events.RequestRefused(
        topic=asks.spoken_topic(message.topic),
        source=message.source,
        number=message.number,
        reason=reason,
        reply_to=reply_to,
    )


def refused_at_end(execution: Execution, inbox: Inbox, consumed: list[int], how: str) -> list[events.RequestRefused]:
    """Give the rows that refuse what the workflow was asked and never answered, read or not."""
    reason = not_answered(execution.workflow_id, how)
    rows = refused_as_taken(execution, reason)
    for message in inbox.asks():
        consumed.append(message.row)
        rows.append(refused(message, reason))
    return rows


def refused_as_taken(execution: Execution, reason: str) -> list[events.RequestRefused]:
    """Give the rows that refuse what the code has taken and not answered."""
    return [
        events.RequestRefused(
            topic=asked.topic,
            source=asked.source,
            number=asked.number,
            reason=reason,
            reply_to=asked.reply_to,
        )
        for asked in execution.requests.open.values()
    ]


def not_answered(workflow_id: str, how: str) -> str:
    """Say why there is no answer and will be none."""
    return f"workflow {workflow_id!r} has ended ({how}) without an answer"


def not_answered_before(workflow_id: str) -> str:
    """Say the same where the workflow goes on."""
    return f"workflow {workflow_id!r} has continued as new without an answer; ask again"


def asked_message(payload: bytes) -> bytes:
    """Give the body of an ask of a workflow."""
    return asks.encode(asks.Asked(message=Raw(payload)))
