"""Splitting a batch into segments, each of which one statement can write. No SQL.

The parts of a batch take effect one after the other, each on what those before it left. The parts of one statement all
see what was there when it began. That comes to the same as long as none of them concerns what another one changes; a
part that does begins a new segment, whose statement sees what the statements before it did. Most batches are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from everlog.store import ENDED, Batch, Commit, NewMessage, NewWorkflow, Place


class Segment:
    """Consecutive parts of a batch, none of which concerns what another one changes."""

    def __init__(self) -> None:
        self.creates: list[NewWorkflow] = []
        self.commits: list[Commit] = []
        self.posts: list[NewMessage] = []
        self.created: set[str] = set()
        self.ended: set[str] = set()
        self.addressed: set[str] = set()
        self.sent: set[tuple[str, str, int]] = set()
        self.keys: set[tuple[str, str]] = set()
        self.dedup_keys: set[tuple[str, str]] = set()
        self.frees_keys = False
        """Whether a commit may have given up a key, or a slot, so that another may have that key."""
        self.takes_keys = False
        """Whether a place may have been taken a key from."""

    def parts(self) -> int:
        """Give the number of parts."""
        return len(self.creates) + len(self.commits) + len(self.posts)

    def runs_on(self) -> bool:
        """Say whether all it has are commits of workflows that run on, wait for nothing and tell nobody."""
        return not self.creates and not self.posts and all(map(_runs_on, self.commits))

    def births(self) -> Iterator[tuple[str, int, NewWorkflow]]:
        """Give what the commits create: whose, which of its creations, and what."""
        for commit in self.commits:
            for index, new in enumerate(commit.creates):
                yield commit.workflow_id, index, new

    def born(self) -> list[NewWorkflow]:
        """Give all that it creates, by itself and by its commits."""
        return [*self.creates, *(new for _, _, new in self.births())]

    def has_attributes(self) -> bool:
        """Say whether any of what it creates or commits says something of attributes."""
        return any(commit.attributes for commit in self.commits) or any(new.attributes for new in self.born())

    def puts(self) -> bool:
        """Say whether somebody is put into a queue."""
        return any(new.place is not None for new in self.born()) or any(
            commit.place is not None for commit in self.commits
        )

    def has_keys(self) -> bool:
        """Say whether somebody is put into a queue with a key that another may have."""
        return bool(self.dedup_keys)

    def takes_place(self, place: Place | None) -> bool:
        """Say whether who has the place's key is as the statement will see it."""
        if place is None or place.dedup_key is None:
            return True
        return not self.frees_keys and (place.queue, place.dedup_key) not in self.dedup_keys

    def add_place(self, place: Place | None) -> None:
        """Count a place in."""
        if place is not None and place.dedup_key is not None:
            self.dedup_keys.add((place.queue, place.dedup_key))
            self.takes_keys = self.takes_keys or place.takes_key

    def takes(self, message: NewMessage) -> bool:
        """Say whether the message's destination and identity are as the statement will see them."""
        if message.destination in self.created or message.destination in self.ended:
            return False
        if (message.destination, message.source, message.number) in self.sent:
            return False
        return message.key is None or (message.destination, message.key) not in self.keys

    def takes_commit(self, commit: Commit) -> bool:
        """Say whether what it creates, its messages, and what it consumes, are as the statement will see them."""
        # A repetition of what it consumes was a repetition when it was sent.
        if commit.consumed and commit.workflow_id in self.addressed:
            return False
        if self.takes_keys or not self.takes_place(commit.place):
            return False
        for new in commit.creates:
            if new.workflow_id in self.created or new.workflow_id in self.addressed:
                return False
            if not self.takes_place(new.place):
                return False
        return all(self.takes(message) for message in commit.messages)

    def add_message(self, message: NewMessage) -> None:
        """Count a message in."""
        self.addressed.add(message.destination)
        self.sent.add((message.destination, message.source, message.number))
        if message.key is not None:
            self.keys.add((message.destination, message.key))


def lone_advance(batch: Batch) -> Commit | None:
    """Give what a batch is if it is one commit of one event of a workflow that runs on, waits for nothing and tells
    nobody."""
    if len(batch.commits) != 1 or batch.creates or batch.posts:
        return None
    (commit,) = batch.commits
    return commit if len(commit.events) == 1 and _runs_on(commit) else None


def _runs_on(commit: Commit) -> bool:
    goes_on = commit.state == "running" and commit.wake_at is None and not commit.topics and not commit.release
    explains = commit.build is not None or commit.why is not None
    renames = commit.first_seq is not None or commit.name is not None
    touches = commit.consumed or commit.messages or commit.creates or commit.values or commit.items or commit.place
    lists = commit.waits or commit.closes or commit.attributes
    return goes_on and not explains and not renames and not touches and not lists and commit.token is not None


def segments(batch: Batch) -> Iterator[Segment]:
    """Give the segments of a batch, in order; none for an empty one."""
    segment = Segment()
    if not batch.creates and not batch.posts and all(map(_runs_on, batch.commits)):
        segment.commits.extend(batch.commits)
        if segment.commits:
            yield segment
        return
    for new in batch.creates:
        if new.workflow_id in segment.created or not segment.takes_place(new.place):
            yield segment
            segment = Segment()
        segment.creates.append(new)
        segment.created.add(new.workflow_id)
        segment.add_place(new.place)
    for commit in batch.commits:
        if not segment.takes_commit(commit):
            yield segment
            segment = Segment()
        segment.commits.append(commit)
        for message in commit.messages:
            segment.add_message(message)
        for new in commit.creates:
            segment.created.add(new.workflow_id)
            segment.add_place(new.place)
        segment.add_place(commit.place)
        if commit.state in ENDED:
            segment.ended.add(commit.workflow_id)
        if commit.state in ENDED or commit.state == "enqueued" or commit.place is not None:
            segment.frees_keys = True
    for message in batch.posts:
        if not segment.takes(message):
            yield segment
            segment = Segment()
        segment.posts.append(message)
        segment.add_message(message)
    if segment.parts():
        yield segment


class Delivered:
    """Which of some messages were delivered before: those that are unread, and the keys that are known."""

    def __init__(self) -> None:
        self.unread: set[tuple[str, str, int]] = set()
        self.keys: set[tuple[str, str]] = set()


NOTHING_DELIVERED: Final = Delivered()


def repeats_itself(commit: Commit) -> bool:
    """Say whether a commit carries two messages of which at most one may be delivered."""
    if len(commit.messages) < 2:
        return False
    sent = {(message.destination, message.source, message.number) for message in commit.messages}
    keyed = [(message.destination, message.key) for message in commit.messages if message.key is not None]
    return len(sent) < len(commit.messages) or len(set(keyed)) < len(keyed)


def repetitions(commit: Commit, delivered: Delivered) -> set[int]:
    """Give the indexes of the messages of a commit that repeat an earlier one of it, which is delivered."""
    sent, keys = set(delivered.unread), set(delivered.keys)
    repeated: set[int] = set()
    for index, message in enumerate(commit.messages):
        name = (message.destination, message.source, message.number)
        key = None if message.key is None else (message.destination, message.key)
        if name in sent or key in keys:
            repeated.add(index)
            continue
        sent.add(name)
        if key is not None:
            keys.add(key)
    return repeated
