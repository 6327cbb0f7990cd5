"""Writing batches where the tables are distributed: statement by statement, in the transaction of whoever calls it.

What `commit_batch` does in one statement takes some here, since a statement on several servers can neither lock rows in
passing nor join what it writes to what it has just written. The order is the same, and so are the answers: first it is
looked where messages go to and what is there already of what commits create, then heads move that bear their tokens and
seqs, and what moved is followed by the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from everlog.store import ENDED, Commit, NewMessage
from everlog_postgres import published, records
from everlog_postgres.arrays import bigints, bools, encoded_texts, texts
from everlog_postgres.attributes import attribute_columns
from everlog_postgres.connection import Ask, Question, Rows
from everlog_postgres.segments import Delivered, Segment, repeats_itself, repetitions
from everlog_postgres.statements import DistributedStatements, Statements

_Name = tuple[str, str, int]
"""Destination, source, number: of which there is one message."""


class _Seen:
    """What was found where the messages of a segment go to, and of what its commits create."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}
        """By destination, and by the id of what is to be created; those that are not there are missing."""
        self.unread: dict[_Name, int] = {}
        """The positions."""
        self.keys: set[tuple[str, str]] = set()

    def reason(self, message: NewMessage, commit: Commit | None = None) -> str | None:
        """Say why a message, of a commit or a post, has no workflow that could take it; None where it has."""
        ended = self.ended.get(message.destination)
        if ended is None and commit is not None:
            born = [new for new in commit.creates if new.workflow_id == message.destination]
            ended = born[0].state in ENDED if born else None
        return "unknown" if ended is None else "ended" if ended else None

    def obstacle(self, commit: Commit) -> tuple[str, int] | None:
        """Say what of a commit cannot be, and its index: something it creates is there, or a message cannot go."""
        for index, new in enumerate(commit.creates):
            if new.workflow_id in self.ended:
                return "taken", index
        for index, message in enumerate(commit.messages):
            if not message.optional and self.reason(message, commit) is not None:
                return "undeliverable", index
        return None

    def was_delivered(self, message: NewMessage) -> bool:
        """Say whether it was delivered before."""
        return _name(message) in self.unread or (message.destination, message.key) in self.keys

    def take_out(self, commits: Sequence[Commit]) -> None:
        """Forget what commits consume. What they and others send to the same inboxes comes after it, else the segment
        would have ended."""
        taken = {(commit.workflow_id, records.position_of(row)) for commit in commits for row in commit.consumed}
        self.unread = {name: place for name, place in self.unread.items() if (name[0], place) not in taken}

    def delivered(self) -> Delivered:
        """Give what was delivered."""
        delivered = Delivered()
        delivered.keys = self.keys
        delivered.unread = set(self.unread)
        return delivered


class SegmentWriter:
    """Writes one segment of a batch, of whose heads those that are not `free` are locked by others."""

    def __init__(self, sql: Statements, apart: DistributedStatements, ask: Ask, *, now: int) -> None:
        self._sql: Final = sql
        self._apart: Final = apart
        self._ask: Final = ask
        self._now: Final = now
        self.wrote = False
        """Whether anything was created, moved or delivered."""

    def write(self, segment: Segment, free: Collection[str]) -> Rows:
        """Write what can be written, and give the rows that `commit_batch` would: of what could not."""
        answers: Rows = []
        created, seen = self._create_and_look(segment)
        for place, new in enumerate(segment.creates, start=1):
            if new.workflow_id not in created:
                answers.append(("create", place, "exists", 0))
        failing = {
            commit.workflow_id: obstacle
            for commit in segment.commits
            if (obstacle := seen.obstacle(commit)) is not None
        }
        ages = self._move([one for one in segment.commits if one.workflow_id in free], failing)
        holding = self._holding([one for one in segment.commits if one.workflow_id in failing])
        for place, commit in enumerate(segment.commits, start=1):
            if commit.workflow_id in holding:
                answers.append(("commit", place, *failing[commit.workflow_id]))
            elif commit.workflow_id not in ages:
                answers.append(("commit", place, "refused" if commit.workflow_id in free else "busy", 0))
        went = Segment()
        went.creates = [new for new in segment.creates if new.workflow_id in created]
        went.commits = [commit for commit in segment.commits if commit.workflow_id in ages]
        answers.extend(_failures(segment, seen))
        answers.extend(self._follow(segment, went, seen, ages))
        return answers

    def _create_and_look(self, segment: Segment) -> tuple[set[str], _Seen]:
        messages = [message for commit in segment.commits for message in commit.messages]
        messages.extend(segment.posts)
        questions = _lookups(self._apart, segment, messages)
        if segment.creates:
            questions["created"] = Question(self._apart.create_heads, records.creations("created", segment.creates))
        answers = dict(zip(questions, self._ask(*questions.values()), strict=True)) if questions else {}
        seen = _Seen()
        seen.ended = dict(answers.get("destinations", ()))
        seen.unread = {(row[0], row[1], row[2]): row[3] for row in answers.get("unread", ())}
        seen.keys = {(row[0], row[1]) for row in answers.get("keys", ())}
        return {row[0] for row in answers.get("created", ())}, seen

    def _move(self, commits: Sequence[Commit], failing: Mapping[str, tuple[str, int]]) -> dict[str, int]:
        """Move what can be moved; give when each of these was created."""
        moving = [commit for commit in commits if commit.workflow_id not in failing]
        if not moving:
            return {}
        columns = {**records.fence(moving), **records.moves(moving, self._now)}
        return dict(self._ask(Question(self._apart.move_heads, columns))[0])

    def _holding(self, commits: Sequence[Commit]) -> set[str]:
        """Give those whose heads bear their tokens and seqs: nothing of them is written, so nothing is locked."""
        if not commits:
            return set()
        question = {"workflow_ids": texts([commit.workflow_id for commit in commits])}
        heads = {row[0]: records.head(row) for row in self._ask(Question(self._sql.find_heads, question))[0]}
        return {
            commit.workflow_id
            for commit in commits
            if (head := heads.get(commit.workflow_id)) is not None
            and (head.token, head.seq) == (commit.token, commit.seq)
        }

    def _follow(self, segment: Segment, went: Segment, seen: _Seen, ages: Mapping[str, int]) -> Rows:
        """Write what belongs to the heads that moved or were created, and the posts; give the posts' failures."""
        seen.take_out(went.commits)
        messages = [
            message
            for commit in went.commits
            for index, message in enumerate(commit.messages)
            if index not in repetitions(commit, seen.delivered()) and seen.reason(message, commit) is None
        ]
        messages.extend(
            message for message in segment.posts if seen.reason(message) is None and not seen.was_delivered(message)
        )
        questions = [*self._attributes(went, ages), *self._follow_ups(went, messages)]
        answers = self._ask(*questions) if questions else []
        delivered = {(row[0], row[1], row[2]) for row in answers[-1]} if messages else set[_Name]()
        self.wrote = self.wrote or bool(went.creates or went.commits or delivered)
        keyed = [message for message in messages if message.key is not None and _name(message) in delivered]
        if keyed:
            columns = {
                "destinations": texts([message.destination for message in keyed]),
                "keys": texts([message.key for message in keyed]),
            }
            self._ask(Question(self._apart.remember_keys, columns))
        first = sum(len(commit.messages) for commit in segment.commits)
        return [
            ("message", first + index + 1, _post_failure(message, seen), index)
            for index, message in enumerate(segment.posts)
            if _name(message) not in delivered
        ]

    def _attributes(self, went: Segment, ages: Mapping[str, int]) -> list[Question]:
        if not went.has_attributes():
            return []
        columns = attribute_columns(went.born(), went.commits, ages)
        keep = Question(self._apart.keep_attributes, columns)
        changes = any(commit.attributes for commit in went.commits)
        return [Question(self._apart.drop_attributes, columns), keep] if changes else [keep]

    def _follow_ups(self, went: Segment, messages: Sequence[NewMessage]) -> list[Question]:
        questions: list[Question] = []
        born = list(went.births())
        if born:
            questions.append(Question(self._apart.create_children, records.births(born)))
        if went.creates or went.commits:
            questions.append(Question(self._apart.append_events, records.events(went)))
        if any(commit.consumed for commit in went.commits):
            questions.append(Question(self._apart.take_out, records.moves(went.commits, self._now)))
        ended = {commit.workflow_id for commit in went.commits if commit.state in ENDED}
        if ended:
            questions.append(Question(self._apart.close_inboxes, {"ended_ids": texts(sorted(ended))}))
        opened = [commit.workflow_id for commit in went.commits if commit.token is None and commit.state not in ENDED]
        if opened:  # only what nobody holds can have ended
            questions.append(Question(self._apart.open_inboxes, {"open_ids": texts(sorted(opened))}))
        if any(commit.values for commit in went.commits):
            questions.append(Question(self._apart.set_values, published.value_columns(went.commits)))
        if any(commit.items for commit in went.commits):
            questions.append(Question(self._apart.append_to_streams, published.item_columns(went.commits)))
        if any(commit.waits for commit in went.commits):
            questions.append(Question(self._apart.open_waits, published.wait_columns(went.commits)))
        if any(commit.closes for commit in went.commits):
            questions.append(Question(self._apart.close_waits, published.wait_columns(went.commits)))
        if messages:
            questions.append(Question(self._apart.deliver, {**_deliveries(messages, ended), "now": self._now}))
        return questions


def _lookups(apart: DistributedStatements, segment: Segment, messages: Sequence[NewMessage]) -> dict[str, Question]:
    """Give what is to be looked up of messages and of what commits create.

    Most repetitions are only found when they are delivered.
    """
    born = [new.workflow_id for _, _, new in segment.births()]
    if not messages and not born:
        return {}
    sent = {
        "destinations": texts([message.destination for message in messages]),
        "sources": texts([message.source for message in messages]),
        "numbers": bigints([message.number for message in messages]),
        "keys": texts([message.key for message in messages]),
    }
    named = texts([*(message.destination for message in messages), *born])
    questions = {"destinations": Question(apart.find_destinations, {"destinations": named})}
    if segment.posts or any(map(repeats_itself, segment.commits)):
        questions["unread"] = Question(apart.find_unread, sent)
    if segment.keys:
        questions["keys"] = Question(apart.find_keys, sent)
    return questions


def _name(message: NewMessage) -> _Name:
    return message.destination, message.source, message.number


def _failures(segment: Segment, seen: _Seen) -> Rows:
    """Give why messages of commits have no workflow that could take them."""
    messages = [(index, message, commit) for commit in segment.commits for index, message in enumerate(commit.messages)]
    return [
        ("message", place, reason, index)
        for place, (index, message, commit) in enumerate(messages, start=1)
        if not message.optional and (reason := seen.reason(message, commit)) is not None
    ]


def _post_failure(message: NewMessage, seen: _Seen) -> str:
    """Say why a post was not delivered: one that would be a repetition is one, whatever became of the destination."""
    return "duplicate" if seen.was_delivered(message) else seen.reason(message) or "duplicate"


def _deliveries(messages: Sequence[NewMessage], ended: Collection[str]) -> dict[str, object]:
    return {
        "destinations": texts([message.destination for message in messages]),
        "sources": texts([message.source for message in messages]),
        "numbers": bigints([message.number for message in messages]),
        "message_topics": texts([message.topic for message in messages]),
        "controls": bools([message.control for message in messages]),
        "message_payloads": encoded_texts([message.payload for message in messages]),
        "closed": bools([message.destination in ended for message in messages]),
    }
