"""The unread messages of a workflow that is in memory, in order, found by their topics. Nothing of the store.

Thousands may lie unread while one is received after the other, so nothing here looks at all of them for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter

from everlog.core.asks import ANSWER, ASK, REPLY
from everlog.core.heads import InboxRow

_by_row = attrgetter("row")


class Inbox:
    """Messages in the order of their rows. Orders from outside, control messages, are apart from the rest."""

    __slots__ = ("_by_topic", "_topics", "addressed", "last_row", "orders")

    def __init__(self, messages: Iterable[InboxRow] = ()) -> None:
        self.orders: list[InboxRow] = []
        self.last_row = 0
        """The highest row that ever was in it."""
        self.addressed: dict[str, None] = {}
        """The topics of those that are for just one wait."""
        self._by_topic: dict[str, deque[InboxRow]] = {}
        self._topics: dict[int, str | None] = {}
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self._topics)

    def __iter__(self) -> Iterator[InboxRow]:
        return merge(self.orders, *self._by_topic.values(), key=_by_row)

    def add(self, message: InboxRow) -> None:
        """Put a message where its row belongs: nearly always at the end."""
        self.last_row = max(self.last_row, message.row)
        self._topics[message.row] = None if message.control else message.topic
        found = self.orders if message.control else self._by_topic.setdefault(message.topic, deque())
        if message.topic.startswith((REPLY, ANSWER)):
            self.addressed[message.topic] = None
        if not found or found[-1].row < message.row:
            found.append(message)
        else:
            place = sum(1 for other in found if other.row < message.row)
            found.insert(place, message)

    def returned(self) -> Iterator[InboxRow]:
        """Give those that are in no inbox of a store, since a rewinding took back that they were received."""
        return takewhile(lambda message: message.row < 0, self)

    def before_all(self) -> int:
        """Give a row, below 0, for a message that is to come before all that are there."""
        return min(0, min(self._topics, default=0)) - 1

    def take(self, rows: Iterable[int]) -> None:
        """Remove messages by their rows; those that are not there are none of its business."""
        for row in rows:
            if row not in self._topics:
                continue
            topic = self._topics.pop(row)
            if topic is None:
                self.orders = [order for order in self.orders if order.row != row]
                continue
            found = self._by_topic[topic]
            if found[0].row == row:
                found.popleft()
            else:
                found.remove(next(message for message in found if message.row == row))
            if not found:
                del self._by_topic[topic]
                self.addressed.pop(topic, None)

    def on(self, topic: str) -> Iterable[InboxRow]:
        """Give the messages on one topic."""
        return self._by_topic.get(topic, ())

    def asks(self) -> Iterator[InboxRow]:
        """Give the asks, in order."""
        return merge(*(found for topic, found in self._by_topic.items() if topic.startswith(ASK)), key=_by_row)

    def reaching(self, most: Mapping[str, int | None]) -> Iterator[InboxRow]:
        """Give the orders and the first so many messages of each of these topics (None: all), in order."""
        chosen = [islice(self._by_topic[topic], number) for topic, number in most.items() if topic in self._by_topic]
        return merge(self.orders, *chosen, key=_by_row)
