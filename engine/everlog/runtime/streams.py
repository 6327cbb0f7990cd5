"""Streams: the items of a stream, as a reader iterates over them; and where parts of streams come to lie. No SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar, final

from msgspec import Struct

from everlog.core.codec import Codec
from everlog.replay.publishing import Part, array, elements
from everlog.store import StreamPage, StreamRow

T_co = TypeVar("T_co", covariant=True)

MOST_ITEMS: Final = 1000
MOST_BYTES: Final = 256_000
"""A row of a stream has no more of either, save where one item alone has: so that readers need little memory."""


@final
class StreamItem(Generic[T_co]):
    """One item of a stream. `step` is the identity of the step that emitted it, None: workflow code; see `attempt`."""

    __slots__ = ("attempt", "offset", "step", "value")

    def __init__(self, value: T_co, offset: int, step: str | None, attempt: int) -> None:
        self.value: T_co = value
        self.offset = offset
        """Its place, counted from 0. Resets take places too, so items need not lie side by side."""
        self.step = step
        self.attempt = attempt
        """Which attempt of the step emitted it, counted from 1; 0 where workflow code did."""

    def __repr__(self) -> str:
        return f"<StreamItem {self.offset}: {self.value!r}>"


@final
class StreamReset:
    """A step begins to emit again: what it emitted to this stream before, in an earlier attempt, does not count."""

    __slots__ = ("attempt", "offset", "step")

    def __init__(self, offset: int, step: str, attempt: int) -> None:
        self.offset = offset
        self.step = step
        self.attempt = attempt

    def __repr__(self) -> str:
        return f"<StreamReset {self.offset}: step {self.step!r}, attempt {self.attempt}>"


Read = Callable[[int], Coroutine[Any, Any, StreamPage]]
"""Gives the rows from a place on; waits until there are some, or the workflow has ended."""


@final
class Stream(Generic[T_co]):
    """The items of a stream as they come: `async for item in stream`, or with all that is known of them, `items()`.

    It ends when the stream is closed or its workflow has ended. `offset` is the place of what comes next: given as
    `start`, in this process or any other, reading goes on there, with no gap and no repeat.
    """

    def __init__(self, read: Read, codec: Codec, name: str, declared: object, start: int) -> None:
        self._read = read
        self._codec = codec
        self._name = name
        self._declared = declared
        self.offset = start

    def __repr__(self) -> str:
        return f"<Stream {self._name!r} at {self.offset}>"

    async def __aiter__(self) -> AsyncIterator[T_co]:
        while (page := await self.page()) is not None:
            for item in page:
                self.offset = item.offset + 1
                if isinstance(item, StreamItem):
                    yield item.value

    async def items(self) -> AsyncIterator[StreamItem[T_co] | StreamReset]:
        """Give the items with their places and who emitted them, and the resets of steps that began again."""
        while (page := await self.page()) is not None:
            for item in page:
                self.offset = item.offset + 1
                yield item

    async def page(self) -> Sequence[StreamItem[T_co] | StreamReset] | None:
        """Give what comes next, at least one; None at the end. Only what is taken from it moves `offset`."""
        page = await self._read(self.offset)
        read = [item for row in page.rows for item in self._of(row)]
        return read or None

    def _of(self, row: StreamRow) -> Iterable[StreamItem[T_co] | StreamReset]:
        if row.kind == "closed":
            return ()
        if row.kind == "reset":
            return [StreamReset(row.offset, row.operation or "", row.attempt)]
        what = f"item of stream {self._name!r}"
        skipped = max(0, self.offset - row.offset)
        payloads = elements(row.payload)[skipped:]
        decoded: list[Any] = [self._codec.decode(payload, self._declared, what=what) for payload in payloads]
        return [
            StreamItem(value, row.offset + skipped + index, row.operation, row.attempt)
            for index, value in enumerate(decoded)
        ]


class Placed(Struct):
    """Parts of streams with their places: the rows, and where the parts of each operation begin."""

    rows: list[StreamRow]
    ends: dict[str, int]
    """The lengths of the streams afterwards."""
    begins: dict[str, int]


def place(parts: Iterable[Part], ends: dict[str, int], written_at: int) -> Placed:
    """Give parts their places after what the streams have; several small rows for a large part.

    What lies in its stream already keeps its place; a stream that went on after its end was told is ended anew.
    """
    placed = Placed([], dict(ends), {})
    for part in parts:
        offset = placed.ends.get(part.stream, 0)
        if part.placed_at is not None and (part.kind == "items" or part.placed_at + 1 == offset):
            if part.published_by is not None:
                placed.begins[part.published_by] = part.placed_at
            continue
        if part.published_by is not None:
            placed.begins[part.published_by] = offset
        chunks: Iterable[list[bytes]] = [[]] if part.kind != "items" else _chunks(part.payloads)
        for chunk in chunks:
            row = StreamRow(
                stream=part.stream,
                offset=offset,
                count=max(1, len(chunk)),
                kind=part.kind,
                written_at=written_at,
                operation=part.operation,
                attempt=part.attempt,
                payload=array(chunk),
            )
            placed.rows.append(row)
            offset += row.count
        placed.ends[part.stream] = offset
    return placed


def _chunks(payloads: list[bytes]) -> Iterable[list[bytes]]:
    begin = size = 0
    for index, payload in enumerate(payloads):
        size += len(payload) + 1
        if index > begin and (size > MOST_BYTES or index - begin >= MOST_ITEMS):
            yield payloads[begin:index]
            begin, size = index, len(payload) + 1
    yield payloads[begin:]
