"""Forking: what a fork has of another workflow's history, and what of that is replaced. It reads and writes nothing.

The rows of the source up to the *cut* are those of the fork, and after them comes `workflow_forked`. An end is never
kept, nor what comes with it: a fork goes on. What was open at the cut is open anew, as after a rewinding. Where a row
was given another outcome, what followed from that does not fit any more: `everlog.replay.trying` finds those rows, and
they are void.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, cast

from msgspec import Raw, Struct, structs

from everlog.core import asks, events
from everlog.core.codec import ANY, SELF, Codec, JsonCodec, Mismatch
from everlog.core.event_codec import TAGS
from everlog.core.events import AnyEvent, EndEvent, Event
from everlog.core.failures import describe
from everlog.core.names import CHILD_ENDED
from everlog.core.rewinding import Lived, Stored
from everlog.core.sealed import Sealing
from everlog.errors import UsageError

INPUT: Final = "input"
"""By what the input is named where it is to be replaced; an operation of that name is named by its seq."""

_OF_BULK: Final = (
    events.StepStarted,
    events.StepAttemptFailed,
    events.StepCompleted,
    events.StepFailed,
    events.StepCancelled,
    events.TimerSet,
    events.TimerFired,
    events.TimerCancelled,
    events.WaitStarted,
    events.WaitExpired,
    events.WaitCancelled,
    events.ValueSet,
    events.ItemsEmitted,
    events.StreamClosed,
    events.PatchMarked,
)
NOTED: Final[tuple[str, ...]] = tuple(tag for kind, tag in TAGS.items() if kind not in _OF_BULK)
"""The types of the rows that are looked at for any fork; the others, most of them, are only copied."""

Outcome = events.StepCompleted | events.StepFailed | events.ChildEnded | events.MessageReceived
"""What can be replaced, besides the input."""


class Replacement(Struct, frozen=True):
    """What is to stand in a row instead of what was recorded."""

    value: object


class Written(Struct, frozen=True):
    """A value in the form in which the log has it: JSON, which the type that is declared in its place gives a meaning.

    Who writes one down, at a command line for example, has no objects of that type.
    """

    json: bytes

    def payload(self, codec: Codec, declared: object, what: str) -> bytes:
        """Give it as the codec records it. Raises `UsageError` where it does not fit what is declared."""
        if declared is SELF and isinstance(codec, Sealing):
            return codec.seal(self.json)
        if declared is SELF and isinstance(codec, JsonCodec):
            return self.json
        try:
            value = JsonCodec().decode(self.json, ANY if declared is SELF else declared, what=what)
        except Mismatch as error:
            raise UsageError(f"{what}, at {error.path}: expected {error.expected}, got {error.found}") from error
        return codec.encode(value, declared, what=what)


def tags_of(*kinds: type[Event]) -> list[str]:
    """Give the tags under which events of these types are stored."""
    return [TAGS[kind] for kind in kinds]


def is_of_an_end(event: AnyEvent) -> bool:
    """Tell whether it is an end, or one of the rows that may come with one."""
    closes = events.StepCancelled | events.TimerCancelled | events.WaitCancelled | events.TerminateRequested
    return isinstance(event, EndEvent | closes) or (isinstance(event, events.RequestRefused) and not event.operation)


def before_the_end(rows: Sequence[Stored], until: int) -> int:
    """Give the last seq up to `until` that does not belong to an end. `rows` reach from before it to after it."""
    events_by_seq = {seq: event for seq, _, event in rows}
    last = until
    while last in events_by_seq and is_of_an_end(events_by_seq[last]) and not _decides(events_by_seq[last]):
        last += 1
    if last not in events_by_seq or not _decides(events_by_seq[last]):
        return until  # rows that close something in the middle
    while until > 1 and until in events_by_seq and is_of_an_end(events_by_seq[until]):
        until -= 1
    return until


def _decides(event: AnyEvent) -> bool:
    return isinstance(event, EndEvent | events.TerminateRequested)


def operation_of(event: AnyEvent) -> str | None:
    """Give the operation that an event is about, or None."""
    found = getattr(event, "operation", None)
    return found if isinstance(found, str) and found else None


def has_outcome(rows: Iterable[Stored], wanted: str) -> bool:
    """Tell whether an operation that may be called so has a row."""
    return any(
        wanted == operation or wanted in _names_of(operation, event)
        for _, _, event in rows
        if (operation := operation_of(event)) is not None
    )


def outcome_named(rows: Iterable[Stored], wanted: str, workflow_id: str) -> Stored:
    """Give the row with the outcome of the operation that is named: by its identity, its key, or its step.

    Raises `UsageError`, with those that are nearby, where there is none or more than one of that name.
    """
    found: dict[str, Stored] = {}
    for row in rows:
        operation = operation_of(row[2])
        if operation is not None and type(row[2]) in events.FACTS:
            started = isinstance(row[2], events.ChildStarted | events.MessageSent) and operation in found
            found[operation] = found[operation] if started else row
    if wanted in found:
        return found[wanted]
    named = [one for one, (_, _, event) in found.items() if wanted in _names_of(one, event)]
    if len(named) == 1:
        return found[named[0]]
    if named:
        raise UsageError(
            f"workflow {workflow_id!r} has {len(named)} operations called {wanted!r}: {', '.join(named[:8])}"
            f"{', ...' if len(named) > 8 else ''}; say which"
        )
    near = get_close_matches(wanted, found, n=8, cutoff=0.3) or list(found)[-8:]
    raise UsageError(
        f"workflow {workflow_id!r} has recorded no outcome of an operation {wanted!r}, as far as it is to be forked;"
        + (f" it has {', '.join(near)}" if near else " it has recorded none at all")
        + " (everlog log lists them)"
    )


def _names_of(operation: str, event: AnyEvent) -> set[str]:
    """Give how else an operation may be called: without its branch or module, by its step, its topic or its key."""
    name = operation.rpartition("/")[2]
    names = {name, name.rpartition(".")[2], operation.partition("@")[2]}
    match event:
        case events.StepCompleted() | events.StepFailed():
            names |= {event.step, event.step.rpartition(".")[2]}
        case events.MessageReceived() | events.WaitExpired():
            names.add(asks.spoken_topic(event.topic))
        case events.ChildStarted() | events.ChildEnded():
            names.add(event.child)
        case _:
            pass
    return names


def chosen(
    rows: Sequence[Stored], replace: Mapping[int | str, object], workflow_id: str
) -> tuple[dict[int, Replacement], Replacement | None]:
    """Give what is to be replaced by the seq of its row, and the input, of the rows that a fork is to have.

    Raises `UsageError` for what is not there, or cannot be replaced.
    """
    found: dict[int, Replacement] = {}
    given: Replacement | None = None
    by_seq = {seq: (seq, at, event) for seq, at, event in rows}
    first = rows[0][0]
    for wanted, value in replace.items():
        if wanted == first or (wanted == INPUT and not any(operation_of(event) == INPUT for _, _, event in rows)):
            given = Replacement(value)
            continue
        if isinstance(wanted, int):
            if wanted not in by_seq:
                raise UsageError(
                    f"event {wanted} of workflow {workflow_id!r} is not among those that its fork is to have, which are"
                    f" {first} to {rows[-1][0]}, without those that were taken back"
                )
            row = by_seq[wanted]
        else:
            row = outcome_named(rows, wanted, workflow_id)
        if not isinstance(row[2], Outcome):
            raise UsageError(
                f"event {row[0]} of workflow {workflow_id!r} is of the type {TAGS[type(row[2])]}, and cannot be"
                f" replaced: results of steps and of children can be, messages that were received, and {INPUT!r}"
            )
        found[row[0]] = Replacement(value)
    return found, given


def replaced(event: Outcome, value: object, codec: Codec, declared: object = SELF) -> AnyEvent:
    """Give the row with another outcome: a value, or an exception. `NotEncodable` where that cannot be recorded."""
    if isinstance(event, events.MessageReceived):
        return _another_message(event, value, codec)
    failure = describe(value, codec, traceback=False) if isinstance(value, BaseException) else None
    if isinstance(event, events.ChildEnded):
        if failure is not None:
            return structs.replace(event, outcome=events.WorkflowFailed(error=failure))
        what = f"the result of {event.child}"
        return structs.replace(
            event, outcome=events.WorkflowCompleted(result=Raw(_encoded(value, codec, declared, what)))
        )
    common = {
        "operation": event.operation,
        "step": event.step,
        "started_at": event.started_at,
        "attempt": event.attempt,
        "input": event.input,
        "large_input": event.large_input,
    }
    if failure is not None:
        return events.StepFailed(**common, error=failure)  # type: ignore[arg-type]  # the fields of the same names
    payload = _encoded(value, codec, declared, f"the result of {event.operation}")
    return events.StepCompleted(**common, result=Raw(payload))  # type: ignore[arg-type]  # the fields of the same names


def _encoded(value: object, codec: Codec, declared: object, what: str) -> bytes:
    if isinstance(value, Written):
        return value.payload(codec, declared, what)
    payload = codec.encode(value, declared, what=what)
    if declared is not SELF:
        codec.decode(payload, declared, what=what)
    return payload


def _another_message(event: events.MessageReceived, value: object, codec: Codec) -> AnyEvent:
    if isinstance(value, BaseException):
        raise UsageError(f"the message of {event.operation} cannot be an exception, got {value!r}; give a message")
    payload = _encoded(value, codec, SELF, f"the message of {event.operation}")
    if event.topic.startswith(asks.ASK):
        payload = asks.encode(structs.replace(asks.asked_of(bytes(event.message)), message=Raw(payload)))
    elif event.topic.startswith(asks.REPLY):
        payload = asks.encode(asks.Answered(answer=Raw(payload)))
    return structs.replace(event, message=Raw(payload))


def arguments_of(value: object) -> dict[str, object]:
    """Give the arguments by name that another input is said with; `UsageError` where it is said otherwise."""
    if isinstance(value, Written):
        value = JsonCodec().decode(value.json)
    if not isinstance(value, Mapping):
        raise UsageError(f"another input is said by arguments and their names, such as {{'n': 1}}, got {value!r}")
    return {str(name): argument for name, argument in cast("Mapping[object, object]", value).items()}


def plain_input(payload: bytes, changes: Mapping[str, object], codec: Codec, what: str) -> bytes:
    """Give an input with other arguments, where the types of the code are not known."""
    given = arguments_of(codec.decode(payload, ANY, what=what))
    return codec.encode({**given, **changes}, ANY, what=what)


def own_creation(event: events.WorkflowCreated, source: str) -> events.WorkflowCreated:
    """Give the row of the creation of a fork: it has no parent, and no deadline of one."""
    return structs.replace(event, parent=None, parent_operation=None, deadline=None, forked_from=source)


def with_input(event: AnyEvent, payload: bytes) -> AnyEvent:
    """Give a row that says what the input is, with another."""
    if isinstance(event, events.WorkflowContinued):
        return structs.replace(event, created=structs.replace(event.created, input=Raw(payload)))
    assert isinstance(event, events.WorkflowCreated | events.InputReplaced)
    return structs.replace(event, input=Raw(payload))


def is_kept(topic: str, until: int) -> bool:
    """Tell whether a message on a topic, received after the cut or unread, can be received by a fork.

    Ends of children are not its own. An answer is where the ask is: of one after the cut the number says nothing.
    """
    if topic.startswith(asks.REPLY):
        number = topic.removeprefix(asks.REPLY)
        return number.isdigit() and int(number) <= until
    return topic != CHILD_ENDED


def lived(history: Sequence[Stored]) -> list[Stored]:
    """Give the rows of a history that a replay delivers."""
    return Lived(history).rows
