"""The rows that statements take and give, and the structs they are. No SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from everlog.errors import CorruptLog, InternalError
from everlog.store import (
    ENDED,
    Busy,
    Commit,
    CommitOutcome,
    CreateOutcome,
    Done,
    Duplicate,
    EventRow,
    Head,
    InboxRow,
    NewWorkflow,
    PostOutcome,
    Refused,
    Undeliverable,
    WorkerRow,
)
from everlog_postgres.arrays import bigints, bools, encoded_texts, slices, texts
from everlog_postgres.connection import Rows
from everlog_postgres.placing import place_columns, queue_column, waiting_columns
from everlog_postgres.published import item_columns, value_columns, wait_columns
from everlog_postgres.segments import Segment
from everlog_postgres.snapshots import Snapshot

_DONE: Final = Done()
_NO_BIGINTS: Final = bigints([])
_NO_BOOLS: Final = bools([])
_NO_TEXTS: Final = texts([])
_NO_CREATIONS: Final[Mapping[str, object]] = {
    "created_ids": _NO_TEXTS,
    "created_names": _NO_TEXTS,
    "created_states": _NO_TEXTS,
    "created_seqs": _NO_BIGINTS,
    "created_bytes": _NO_BIGINTS,
    "created_ats": _NO_BIGINTS,
    "created_ends": _NO_BIGINTS,
    "created_tokens": _NO_TEXTS,
    "created_workers": _NO_TEXTS,
    "created_wake_ats": _NO_BIGINTS,
    "created_queues": _NO_TEXTS,
}
_NO_BIRTHS: Final[Mapping[str, object]] = {
    "parents": _NO_TEXTS,
    "birth_indexes": _NO_BIGINTS,
    "born_ids": _NO_TEXTS,
    "born_names": _NO_TEXTS,
    "born_states": _NO_TEXTS,
    "born_seqs": _NO_BIGINTS,
    "born_bytes": _NO_BIGINTS,
    "born_ats": _NO_BIGINTS,
    "born_ends": _NO_BIGINTS,
    "born_tokens": _NO_TEXTS,
    "born_workers": _NO_TEXTS,
    "born_wake_ats": _NO_BIGINTS,
    "born_queues": _NO_TEXTS,
}
_NO_COMMITS: Final[Mapping[str, object]] = {
    "ids": _NO_TEXTS,
    "tokens": _NO_TEXTS,
    "seqs": _NO_BIGINTS,
    "next_seqs": _NO_BIGINTS,
    "sizes": _NO_BIGINTS,
    "forgives": _NO_BOOLS,
    "states": _NO_TEXTS,
    "ends": _NO_BIGINTS,
    "frees": _NO_BOOLS,
    "wake_ats": _NO_BIGINTS,
    "topics": _NO_TEXTS,
    "first_topics": _NO_BIGINTS,
    "last_topics": _NO_BIGINTS,
    "builds": _NO_TEXTS,
    "whys": _NO_TEXTS,
    "queues": _NO_TEXTS,
    "first_seqs": _NO_BIGINTS,
    "next_names": _NO_TEXTS,
    "consumed_ids": _NO_TEXTS,
    "consumed_positions": _NO_BIGINTS,
}
_NO_MESSAGES: Final[Mapping[str, object]] = {
    "senders": _NO_TEXTS,
    "indexes": _NO_BIGINTS,
    "destinations": _NO_TEXTS,
    "sources": _NO_TEXTS,
    "numbers": _NO_BIGINTS,
    "message_topics": _NO_TEXTS,
    "controls": _NO_BOOLS,
    "message_payloads": _NO_TEXTS,
    "keys": _NO_TEXTS,
    "optionals": _NO_BOOLS,
    "repeated": _NO_BOOLS,
}

_POSITION_BITS: Final = 48


class Numbering:
    """Gives inbox rows their `row`: numbers that grow in the order in which messages became visible.

    Mostly that is the order of their positions. But a message has its position from before its sender commits, so that
    one with a smaller position may become visible after one with a greater was given. Then a new round begins: the
    number is the round and the position, the round in front.
    """

    def __init__(self) -> None:
        self._round = 0
        self._last = 0
        self._known: dict[str, dict[int, int]] = {}

    def number(
        self, messages: Sequence[tuple[Any, ...]], before: Snapshot, *, after: int | None = None
    ) -> list[InboxRow]:
        """Number the rows of one reading and give them in order; those that were seen before are numbered as then.

        `before` is a snapshot of which all rows were given that are asked for by their numbers. Where snapshots say
        nothing, `after` is the number up to which the asker has been given everything.
        """
        found: list[InboxRow] = []
        new: list[tuple[Any, ...]] = []
        floors: dict[str, int] = {}
        """By workflow, the greatest number that was given, where snapshots say nothing."""
        for message in messages:
            known = self._known.get(message[0], {})
            if after is not None and message[0] not in floors:
                floors[message[0]] = max(after, *known.values()) if known else after
            row = known.get(message[1])
            if row is None and before.shows(int(message[-1])):
                row = self._numbered(message)
            if row is None:
                new.append(message)
            else:
                found.append(self._keep(message, row))
        # All that is new begins the round then: of one source, what it sent later must not come before.
        if any(self._numbered(message) <= floors.get(message[0], self._last) for message in new):
            self._round += 1
        found.extend([self._keep(message, self._numbered(message)) for message in new])
        found.sort(key=_row)
        self._last = max([self._last, *(row.row for row in found)])
        return found

    def forget(self, workflow_id: str) -> None:
        """Forget the messages of a workflow that is no longer held."""
        self._known.pop(workflow_id, None)

    def consume(self, workflow_id: str, rows: Sequence[int]) -> None:
        """Forget messages that were consumed."""
        known = self._known.get(workflow_id)
        if known is not None:
            for row in rows:
                known.pop(position_of(row), None)

    def _keep(self, message: tuple[Any, ...], row: int) -> InboxRow:
        self._known.setdefault(message[0], {})[message[1]] = row
        return _inbox_row(message, row)

    def _numbered(self, message: tuple[Any, ...]) -> int:
        position: int = message[1]
        return (self._round << _POSITION_BITS) | position


def position_of(row: int) -> int:
    """Give the position of the message that has this number."""
    return row & ((1 << _POSITION_BITS) - 1)


def inbox(rows: Rows) -> list[InboxRow]:
    """Read what read_inbox gives; the numbers are those of the server, which no commit takes."""
    return [_inbox_row(row, int(row[1])) for row in rows]


def _row(row: InboxRow) -> int:
    return row.row


def _inbox_row(message: tuple[Any, ...], row: int) -> InboxRow:
    destination, _, source, number, topic, payload, control, arrived_at, _ = message
    return InboxRow(
        row=row,
        destination=destination,
        source=source,
        number=number,
        topic=topic,
        payload=payload.encode(),
        control=control,
        arrived_at=arrived_at,
    )


def advance_one(commit: Commit) -> dict[str, object]:
    """Give what advance_head takes, for a commit of one event."""
    (event,) = commit.events
    return {
        "workflow_id": commit.workflow_id,
        "token": commit.token,
        "seq": commit.seq,
        "size": len(event.payload),
        "forgives": commit.progress,
        "type": event.type,
        "recorded_at": event.recorded_at,
        "payload": event.payload.decode(),
    }


def advance(segment: Segment) -> dict[str, object]:
    """Give what advance_heads takes."""
    advancing = fence(segment.commits)
    single = [commit.events[0] for commit in segment.commits if len(commit.events) == 1]
    if len(single) < len(segment.commits):
        return {**advancing, **events(segment)}
    return {
        **advancing,
        "event_ids": advancing["ids"],
        "event_seqs": advancing["next_seqs"],
        "event_types": texts([event.type for event in single]),
        "event_times": bigints([event.recorded_at for event in single]),
        "event_payloads": encoded_texts([event.payload for event in single]),
    }


def batch(segment: Segment, repeated: Mapping[str, set[int]], *, now: int) -> dict[str, object]:
    """Give what commit_batch takes; `repeated` names messages by sender and index that are not to be delivered."""
    given: dict[str, object] = {"now": now}
    given.update(creations("created", segment.creates) if segment.creates else _NO_CREATIONS)
    newborn = list(segment.births())
    given.update(births(newborn) if newborn else _NO_BIRTHS)
    given.update({**fence(segment.commits), **moves(segment.commits, now)} if segment.commits else _NO_COMMITS)
    given.update(_messages(segment, repeated) if segment.sent else _NO_MESSAGES)
    given.update(events(segment))
    given.update(place_columns(segment, now))
    given.update(value_columns(segment.commits))
    given.update(item_columns(segment.commits))
    given.update(wait_columns(segment.commits))
    return given


def creations(prefix: str, news: Sequence[NewWorkflow]) -> dict[str, object]:
    """Give the columns of heads that are created."""
    held = [new.state not in ENDED for new in news]
    return {
        f"{prefix}_ids": texts([new.workflow_id for new in news]),
        f"{prefix}_names": texts([new.name for new in news]),
        f"{prefix}_states": texts([new.state for new in news]),
        f"{prefix}_seqs": bigints([len(new.events) for new in news]),
        f"{prefix}_bytes": bigints([_size(new.events) for new in news]),
        f"{prefix}_ats": bigints([new.events[0].recorded_at for new in news]),
        f"{prefix}_ends": bigints([new.events[-1].recorded_at if new.state in ENDED else None for new in news]),
        f"{prefix}_tokens": texts([new.token if may else None for new, may in zip(news, held, strict=True)]),
        f"{prefix}_workers": texts([new.worker if may else None for new, may in zip(news, held, strict=True)]),
        **waiting_columns(prefix, news),
    }


def births(newborn: Sequence[tuple[str, int, NewWorkflow]]) -> dict[str, object]:
    """Give the columns of heads that commits create."""
    return {
        "parents": texts([parent for parent, _, _ in newborn]),
        "birth_indexes": bigints([index for _, index, _ in newborn]),
        **creations("born", [new for _, _, new in newborn]),
    }


def fence(commits: Sequence[Commit]) -> dict[str, object]:
    """Give the columns that say which heads may move, and how far."""
    return {
        "ids": texts([commit.workflow_id for commit in commits]),
        "tokens": texts([commit.token for commit in commits]),
        "seqs": bigints([commit.seq for commit in commits]),
        "next_seqs": bigints([commit.seq + len(commit.events) for commit in commits]),
        "sizes": bigints([_size(commit.events, from_seq=commit.first_seq or 0) for commit in commits]),
        "forgives": bools([bool(commit.events) and commit.progress for commit in commits]),
    }


def moves(commits: Sequence[Commit], now: int) -> dict[str, object]:
    """Give the columns of what else heads take on, and of what is taken out of their inboxes."""
    ended = [commit.state in ENDED for commit in commits]
    ends = [
        (commit.events[-1].recorded_at if commit.events else now) if over else None
        for commit, over in zip(commits, ended, strict=True)
    ]
    topics, firsts, lasts = slices([commit.topics for commit in commits])
    consumed = [(commit.workflow_id, position_of(row)) for commit in commits for row in commit.consumed]
    return {
        "states": texts([commit.state for commit in commits]),
        "ends": bigints(ends),
        "frees": bools([commit.release or over for commit, over in zip(commits, ended, strict=True)]),
        "wake_ats": bigints([commit.wake_at for commit in commits]),
        "topics": topics,
        "first_topics": firsts,
        "last_topics": lasts,
        "builds": texts([commit.build for commit in commits]),
        # Sentences for people may quote anything, and a text of the server cannot hold a NUL.
        "whys": texts([commit.why and commit.why.replace("\0", "\N{SYMBOL FOR NULL}") for commit in commits]),
        "queues": queue_column(commits),
        "first_seqs": bigints([commit.first_seq for commit in commits]),
        "next_names": texts([commit.name for commit in commits]),
        "consumed_ids": texts([workflow_id for workflow_id, _ in consumed]) if consumed else _NO_TEXTS,
        "consumed_positions": bigints([position for _, position in consumed]) if consumed else _NO_BIGINTS,
    }


def _messages(segment: Segment, repeated: Mapping[str, set[int]]) -> dict[str, object]:
    sent = [
        (commit.workflow_id, index, message, index in repeated.get(commit.workflow_id, ()))
        for commit in segment.commits
        for index, message in enumerate(commit.messages)
    ]
    posted = [(None, index, message, False) for index, message in enumerate(segment.posts)]
    rows = [*sent, *posted]
    messages = [message for _, _, message, _ in rows]
    return {
        "senders": texts([sender for sender, _, _, _ in rows]),
        "indexes": bigints([index for _, index, _, _ in rows]),
        "destinations": texts([message.destination for message in messages]),
        "sources": texts([message.source for message in messages]),
        "numbers": bigints([message.number for message in messages]),
        "message_topics": texts([message.topic for message in messages]),
        "controls": bools([message.control for message in messages]),
        "message_payloads": encoded_texts([message.payload for message in messages]),
        "keys": texts([message.key for message in messages]),
        "optionals": bools([sender is not None and message.optional for sender, _, message, _ in rows]),
        "repeated": bools([again for _, _, _, again in rows]),
    }


def events(segment: Segment) -> dict[str, object]:
    """Give the columns of the events."""
    rows = [(new.workflow_id, event) for new in segment.born() for event in new.events]
    rows.extend((commit.workflow_id, event) for commit in segment.commits for event in commit.events)
    return {
        "event_ids": texts([workflow_id for workflow_id, _ in rows]),
        "event_seqs": bigints([event.seq for _, event in rows]),
        "event_types": texts([event.type for _, event in rows]),
        "event_times": bigints([event.recorded_at for _, event in rows]),
        "event_payloads": encoded_texts([event.payload for _, event in rows]),
    }


def _size(events: Sequence[EventRow], *, from_seq: int = 0) -> int:
    return sum(len(event.payload) for event in events if event.seq >= from_seq)


class Outcomes:
    """The outcomes of one segment, from the rows that commit_batch gives."""

    def __init__(self, segment: Segment, rows: Rows) -> None:
        self.creates: list[CreateOutcome | None] = [_DONE] * len(segment.creates)
        """None where the workflow was there before: its head is to be looked up."""
        self.commits: list[CommitOutcome] = [_DONE] * len(segment.commits)
        self.taken: list[tuple[int, int]] = []
        """Commits that would create what was there before, and which of their creations that is; they are not done."""
        self.posts: list[PostOutcome] = [_DONE] * len(segment.posts)
        reasons: dict[tuple[str, int], Any] = {}
        first_post = sum(len(commit.messages) for commit in segment.commits)
        senders = [(commit.workflow_id, n) for commit in segment.commits for n in range(len(commit.messages))]
        for part, place, outcome, index in rows:
            if part == "create":
                self.creates[place - 1] = None
            elif part == "message" and place <= first_post:
                reasons[senders[place - 1]] = outcome
            elif part == "message":
                undeliverable = outcome != "duplicate"
                self.posts[index] = Undeliverable(index=0, reason=outcome) if undeliverable else Duplicate()
        for part, place, outcome, index in rows:
            if part == "commit" and outcome == "taken":
                self.taken.append((place - 1, index))
            elif part == "commit":
                commit = segment.commits[int(place) - 1]
                reason = reasons.get((commit.workflow_id, int(index)))
                self.commits[place - 1] = _commit_outcome(outcome, index, reason)


def _commit_outcome(outcome: str, index: int, reason: Any) -> CommitOutcome:
    match outcome:
        case "refused":
            return Refused()
        case "busy":
            return Busy()
        case "undeliverable":
            return Undeliverable(index=index, reason=reason)
        case _:
            raise InternalError(f"commit_batch answered {outcome!r}, which is no outcome of a commit")


def head(row: Sequence[Any]) -> Head:
    """Read one row of find_heads. It has the payload bytes too, which the engine does not want."""
    (workflow_id, name, state, seq, _, created_at, ended_at, token, worker, wake_at, *rest) = row
    topics, takeovers, build, why, queue, first_seq = rest
    return Head(
        workflow_id=workflow_id,
        name=name,
        state=state,
        seq=seq,
        created_at=created_at,
        ended_at=ended_at,
        token=token,
        worker=worker,
        wake_at=wake_at,
        topics=tuple(topics),
        takeovers=takeovers,
        build=build,
        why=why,
        queue=queue,
        first_seq=first_seq,
    )


def size_of(row: Sequence[Any]) -> int:
    """Give the payload bytes of the history of one row of find_heads."""
    size: int = row[4]
    return size


def histories(rows: Rows) -> dict[str, list[EventRow]]:
    """Read what read_histories gives, by workflow."""
    found: dict[str, list[EventRow]] = {}
    for workflow_id, seq, type_, recorded_at, payload in rows:
        found.setdefault(workflow_id, []).append(EventRow(seq, type_, recorded_at, payload.encode()))
    return found


def history(rows: Rows, workflow_id: str, *, after: int, of: str) -> Sequence[EventRow]:
    """Read what read_history gives of one workflow in the database `of`."""
    found = histories(rows).get(workflow_id, [])
    if not is_dense(found, after=after):
        raise CorruptLog(
            f"{of}: the history of workflow {workflow_id!r} has a gap after seq {after}:"
            f" found {[event.seq for event in found][:20]}; restore a backup"
        )
    return found


def is_dense(history: Sequence[EventRow], *, after: int) -> bool:
    """Say whether the events continue a history that ends at `after`, without gaps."""
    return all(event.seq == expected for expected, event in enumerate(history, start=after + 1))


def whole(head: Head, history: Sequence[EventRow]) -> Sequence[EventRow]:
    """Keep back a history with a gap: `read` says what is wrong with it, and the rest of the claim is good."""
    before = head.first_seq - 1
    return history if len(history) == head.seq - before and is_dense(history, after=before) else []


def workers(rows: Rows) -> list[WorkerRow]:
    """Read what list_workers gives."""
    return [WorkerRow(worker=worker, process=process, lease_until=lease_until) for worker, process, lease_until in rows]
