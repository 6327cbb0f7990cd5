"""Publishing: values and streams, from the call in workflow code to the rows of the next commit. No store.

What workflow code publishes is done within the drain that asked for it: nothing is waited for. Its rows are written by
the next commit, in the order in which they were asked for and before all that the commit says else; so in a replay each
row meets what asked for it, and a row that does not come is found at the first other row of a later commit.
What steps publish is no part of the code's path: it passes through here on its way to the next commit.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Raw, Struct, json

from everlog.core import events
from everlog.core.codec import SELF, Codec, canonical, digest
from everlog.core.event_parts import LargeInput
from everlog.core.events import AnyEvent, Publication
from everlog.core.names import check_name, check_value_name
from everlog.core.published import StreamKind
from everlog.core.sealed import is_known_otherwise
from everlog.errors import EverlogError, PayloadUnavailable, UsageError, WrongContext
from everlog.replay.asking import PREVIEW, site
from everlog.replay.context import active
from everlog.replay.operations import Kind, Operation, Phase
from everlog.replay.quarantine import refuse_operation
from everlog.replay.sizes import LARGE, check_size

if TYPE_CHECKING:
    from everlog.replay.attempts import Attempt, Outlet
    from everlog.replay.execution import Execution

log: Final = logging.getLogger("everlog")


class Part(Struct, kw_only=True, eq=False):
    """What is to be appended to a stream: items that were encoded one by one, or a mark."""

    stream: str
    kind: StreamKind
    payloads: list[bytes]
    operation: str | None = None
    """The step that wrote it; None: the operation of workflow code is `published_by`."""
    attempt: int = 0
    published_by: str | None = None
    placed_at: int | None = None
    """Where it was written before the workflow was rewound, if it was."""


class Published:
    """What a workflow has published and no row says yet."""

    def __init__(self) -> None:
        self.pending: dict[str, PublishOperation] = {}
        """What workflow code asked for and no row of the history has, oldest first."""
        self.closed: set[str] = set()
        """The streams that workflow code has closed."""
        self.sealed: set[str] = set()
        """Those of them whose end was chosen for a commit: what steps emit to them now comes too late."""
        self.parts: list[Part] = []
        """What steps emitted."""
        self.values: list[events.ValueSet] = []
        """What steps set."""
        self.suffix = ""
        """Follows on the names of steps in streams, where what was before the workflow continued had the same names."""
        self.void: dict[str, list[AnyEvent]] = {}
        """Rows of streams that a rewinding has made void, by operation: what they tell of is in the streams."""

    def is_wanted(self) -> bool:
        """Tell whether the next commit has something of this to write."""
        if not self.pending:
            return bool(self.parts or self.values)
        return bool(self.parts or self.values) or any(one.phase is Phase.OPEN for one in self.pending.values())

    def emits(self) -> bool:
        """Tell whether the next commit has something to append to streams."""
        own = (operation.kind == "stream" and operation.phase is Phase.OPEN for operation in self.pending.values())
        return bool(self.parts) or any(own)

    def take(self) -> tuple[list[AnyEvent], list[Part]]:
        """Give the rows of what workflow code published, and the parts of streams that they speak of; each once."""
        rows: list[AnyEvent] = []
        parts: list[Part] = []
        for operation in self.pending.values():
            if operation.phase is Phase.OPEN:
                operation.phase = Phase.CLOSING
                rows.append(operation.row())
                parts.extend(operation.parts(self._placed_at(operation)))
                if isinstance(operation, CloseOperation):
                    self.sealed.add(operation.target)
        return rows, parts

    def _placed_at(self, operation: PublishOperation) -> int | None:
        """Give where the same was written to a stream before the workflow was rewound; None where it was not."""
        for event in reversed(self.void.get(operation.identity, ())):
            if isinstance(event, events.ItemsEmitted | events.StreamClosed) and operation.repeats(event):
                return event.offset
        return None

    def take_of_steps(self, execution: Execution) -> tuple[list[AnyEvent], list[Part]]:
        """Give the same of steps; the values only of those that are still wanted."""
        if not (self.values or self.parts):
            return [], []
        rows: list[AnyEvent] = [value for value in self.values if value.operation in execution.steps]
        parts = [part for part in self.parts if part.stream not in self.sealed]
        self.values, self.parts = [], []
        return rows, parts


class PublishOperation(Operation, eq=False, kw_only=True):
    """Something that workflow code publishes. It is done as soon as it is awaited."""

    target: str
    """The name of the value or stream."""
    payloads: list[bytes]
    declared: list[object]
    applied_at: int = 0
    """When the row was recorded whose drain asked for it."""

    def opening(self) -> AnyEvent | None:
        return None

    def closing(self) -> AnyEvent:
        raise AssertionError("what is published has no opening row that could need closing")

    def row(self) -> Publication:
        """Give the row that says it."""
        raise NotImplementedError

    def parts(self, placed_at: int | None) -> Iterable[Part]:
        """Give what is to be in streams, with the place where it lies already."""
        return ()

    def repeats(self, event: Publication) -> bool:
        """Tell whether the row says the very same, so that it need not be appended to a stream again."""
        return self.is_said_by(event)

    def is_said_by(self, event: Publication) -> bool:
        """Tell whether the row says what the code asked for."""
        raise NotImplementedError

    def has(self, payloads: list[bytes]) -> bool:
        """Tell whether these are the values, compared as inputs are."""
        return len(payloads) == len(self.payloads) and all(map(self._same, payloads, self.payloads, self.declared))

    def _same(self, recorded: bytes, current: bytes, declared: object) -> bool:
        if recorded == current or canonical(recorded) == canonical(current):
            return True
        codec: Codec = self.execution.environment.codec
        try:
            rebuilt = [codec.encode(codec.decode(one, declared), SELF) for one in (recorded, current)]
            return canonical(rebuilt[0]) == canonical(rebuilt[1])
        except PayloadUnavailable:
            raise
        except (EverlogError, TypeError):
            return False

    def describe(self) -> str:
        shown = b", ".join(self.payloads)[:PREVIEW].decode(errors="replace")
        return f"{self.name()}({self.target!r}{', ' if shown else ''}{shown})"

    def name(self) -> str:
        """Give the name of the function that was called."""
        raise NotImplementedError


class ValueOperation(PublishOperation, eq=False, kw_only=True):
    """A `set_value`."""

    kind: ClassVar[Kind] = "value"

    def row(self) -> Publication:
        return events.ValueSet(operation=self.identity, name=self.target, value=Raw(self.payloads[0]))

    def is_said_by(self, event: Publication) -> bool:
        return isinstance(event, events.ValueSet) and event.name == self.target and self.has([bytes(event.value)])

    def name(self) -> str:
        return "set_value"


class EmitOperation(PublishOperation, eq=False, kw_only=True):
    """An `emit` of one item or several."""

    kind: ClassVar[Kind] = "stream"

    def row(self) -> Publication:
        items, whole = array(self.payloads), self.execution.environment.whole_input
        given = {"operation": self.identity, "stream": self.target, "offset": 0, "count": len(self.payloads)}
        if len(items) <= whole:
            return events.ItemsEmitted(**given, items=Raw(items))  # type: ignore[arg-type]  # one dict of both kinds
        large = LargeInput(digest=digest(items), size=len(items), preview=items[:PREVIEW].decode(errors="replace"))
        return events.ItemsEmitted(**given, large_items=large)  # type: ignore[arg-type]  # the same

    def parts(self, placed_at: int | None) -> Iterable[Part]:
        yield Part(
            stream=self.target,
            kind="items",
            payloads=self.payloads,
            published_by=self.identity,
            placed_at=placed_at,
        )

    def repeats(self, event: Publication) -> bool:
        large = event.large_items if isinstance(event, events.ItemsEmitted) else None
        return (large is None or self._has_digest(large.digest)) and self.is_said_by(event)

    def is_said_by(self, event: Publication) -> bool:
        if not isinstance(event, events.ItemsEmitted):
            return False
        if (event.stream, event.count) != (self.target, len(self.payloads)):
            return False
        if event.large_items is not None:
            if not self._has_digest(event.large_items.digest):
                log.warning(
                    "workflow %r: the items of %s differ from their recorded digest; they were too large to be kept "
                    "whole, so they cannot be compared further",
                    self.execution.workflow_id,
                    self.identity,
                )
            return True
        return self.has(elements(bytes(event.items)))

    def _has_digest(self, recorded: str) -> bool:
        if recorded == digest(array(self.payloads)):
            return True
        codec = self.execution.environment.codec
        return is_known_otherwise(codec, self.payloads, recorded, lambda forms: digest(array(list(forms))))

    def name(self) -> str:
        return "emit"


class CloseOperation(PublishOperation, eq=False, kw_only=True):
    """A `close_stream`."""

    kind: ClassVar[Kind] = "stream"

    def row(self) -> Publication:
        return events.StreamClosed(operation=self.identity, stream=self.target, offset=0)

    def parts(self, placed_at: int | None) -> Iterable[Part]:
        yield Part(stream=self.target, kind="closed", payloads=[], published_by=self.identity, placed_at=placed_at)

    def is_said_by(self, event: Publication) -> bool:
        return isinstance(event, events.StreamClosed) and event.stream == self.target

    def name(self) -> str:
        return "close_stream"


def array(payloads: Iterable[bytes]) -> bytes:
    """Give the JSON array of items that were encoded one by one."""
    return b"[" + b",".join(payloads) + b"]"


def elements(items: bytes) -> list[bytes]:
    """Give the items of such an array, encoded one by one."""
    return [bytes(item) for item in _elements.decode(items)]


_elements: Final = json.Decoder(list[Raw])


def set_value(execution: Execution, name: str, value: object) -> Coroutine[Any, Any, None]:
    """Draw the operation of a `set_value`."""
    check_value_name(name)
    identity = execution.loop.branch().draw("set_value")
    return _ask(execution, _made(ValueOperation, execution, identity, name, (value,)))


def emit(execution: Execution, stream: str, items: tuple[object, ...]) -> Coroutine[Any, Any, None]:
    """Draw the operation of an `emit`; one of no items does nothing."""
    check_name(stream, "the name of a stream")
    identity = execution.loop.branch().draw("emit")
    return _ask(execution, _made(EmitOperation, execution, identity, stream, items))


def close_stream(execution: Execution, stream: str) -> Coroutine[Any, Any, None]:
    """Draw the operation of a `close_stream`; one of a stream that is closed does nothing."""
    check_name(stream, "the name of a stream")
    identity = execution.loop.branch().draw("close_stream")
    return _ask(execution, _made(CloseOperation, execution, identity, stream, ()))


def _made(
    kind: type[PublishOperation], execution: Execution, identity: str, target: str, values: tuple[object, ...]
) -> PublishOperation:
    what, codec = f"{kind.kind} {target!r}", execution.environment.codec
    payloads = [codec.encode(value, SELF, what=what) for value in values]
    for payload in payloads:
        if len(payload) >= LARGE:
            check_size(payload, what, silent=execution.replaying)
    declared = [type(value) for value in values]
    return kind(execution, identity, site(4), target=target, payloads=payloads, declared=[*declared])


def _ask(execution: Execution, operation: PublishOperation) -> Coroutine[Any, Any, None]:
    coroutine = _publish(execution, operation)
    named: Any = coroutine
    named.__name__ = operation.name()
    operation.coroutine = coroutine
    execution.called[id(operation)] = operation
    return coroutine


async def _publish(execution: Execution, operation: PublishOperation) -> None:
    execution.called.pop(id(operation), None)
    operation.coroutine = None
    if execution.torn_down or execution.ending:
        refuse_operation(execution)
        await execution.loop.create_future()  # which nothing will end
    if active.execution is not execution:
        raise WrongContext(
            f"{operation.describe()} was called in workflow {execution.workflow_id!r} and awaited outside of it; "
            "await it where it was called"
        )
    published = execution.published
    if operation.target in published.closed and operation.kind == "stream":
        if isinstance(operation, EmitOperation):
            raise UsageError(f"stream {operation.target!r} was closed, so nothing can be emitted to it any more")
        return
    if isinstance(operation, EmitOperation) and not operation.payloads:
        return
    if isinstance(operation, CloseOperation):
        published.closed.add(operation.target)
    operation.phase = Phase.OPEN
    operation.applied_at = execution.loop.log_time
    published.pending[operation.identity] = operation
    execution.loop.progress += 1


def emit_in_step(running: Attempt, stream: str, items: tuple[object, ...]) -> Awaitable[None]:
    """Hand over what an attempt of a step emits."""
    return outlet_of(running).emit(running, stream, items)


async def later(running: Attempt, name: str, value: object) -> None:
    """Hand over what an attempt of a step sets."""
    outlet_of(running).set_value(running, check_value_name(name), value)


def outlet_of(running: Attempt) -> Outlet:
    """Give what takes what the attempt publishes."""
    if running.outlet is None:
        raise WrongContext(f"step {running.step!r} runs where nothing can be published")
    return running.outlet
