"""Moving: all rows of workflows, read and written as they are, and what closes a file. It knows no other database.

Here each statement gives rows, not one JSON text: whoever moves a database or checks it is not beside a busy engine,
and what somebody has damaged is to be seen as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from everlog.core.retention import HoldRow
from everlog.store import (
    ENDED,
    WORKER_DIED,
    CreateOutcome,
    Deduplicated,
    Done,
    EventRow,
    Exists,
    Head,
    InboxRow,
    Place,
    QueueLimits,
    QueueRow,
    StreamRow,
    ValueRow,
    WaitRow,
)
from everlog.store_moving import (
    AttributeRow,
    Move,
    QueueRows,
    SharedRows,
    StandingRow,
    WorkflowRows,
    stored_limits,
    truth,
)
from everlog.store_schedules import ScheduleRow
from everlog_sqlite import queue_records, records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.driver_errors import CLOSED
from everlog_sqlite.records import HeadRecord, array, read_json
from everlog_sqlite.retention import RetentionTables, write_audit, write_hold

CLOSED_TABLES: Final = (
    "heads",
    "events",
    "inbox",
    "message_keys",
    "workers",
    "published_values",
    "stream_rows",
    "queues",
    "queue_places",
    "queue_slots",
    "queue_starts",
    "waits",
    "schedules",
    "attributes",
    "holds",
    "audit",
    "turns",
)
"""The tables that nobody writes to while the database is closed."""

_KEY: Final = "signing key"
_move: Final = msgspec.json.Decoder(Move)
_topics: Final = msgspec.json.Decoder(tuple[str, ...])

Found = dict[int, list[Any]]
"""Rows of a table, by the number of the workflow."""


class MovableTables(RetentionTables):
    """A store whose rows can be moved. The store that inherits from it has the connection."""

    _connection: Connection
    _known: dict[str, HeadRecord]

    def workflow_rows(
        self, *, after: tuple[int, str] | None = None, limit: int = 100, max_bytes: int = 16_000_000
    ) -> Sequence[WorkflowRows]:
        """Give all of the next workflows, in order of age and id."""
        created_at, workflow_id = (-1, "") if after is None else after
        with self._snapshot():
            asked = {"created_at": created_at, "workflow_id": workflow_id, "limit": limit}
            numbers: list[int] = []
            for number, size in self._connection.rows(sql.ROWS_AFTER, asked):
                max_bytes -= size or 0
                if numbers and max_bytes < 0:
                    break
                numbers.append(number)
            return self._rows(numbers)

    def rows_of(self, workflow_ids: Sequence[str]) -> Sequence[WorkflowRows]:
        """Give all of these workflows, in order of age and id."""
        with self._snapshot():
            found = self._connection.rows(sql.ROWS_OF, {"workflow_ids": array(set(workflow_ids))})
            return self._rows([number for (number,) in found])

    @contextmanager
    def _snapshot(self) -> Generator[None]:
        """Have all that is read inside be as of one moment; who writes is not kept waiting."""
        connection = self._connection
        with connection.using:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def _rows(self, numbers: Sequence[int]) -> list[WorkflowRows]:
        asked = {"numbers": array(numbers)}

        def found(statement: str) -> Found:
            rows: Found = defaultdict(list)
            for number, *row in self._connection.rows(statement, asked):
                rows[number].append(row)
            return rows

        heads, events, inboxes = found(sql.ROWS_OF_HEADS), found(sql.ROWS_OF_EVENTS), found(sql.ROWS_OF_INBOXES)
        keys, values, items = found(sql.ROWS_OF_KEYS), found(sql.ROWS_OF_VALUES), found(sql.ROWS_OF_STREAMS)
        attributes, waits = found(sql.ROWS_OF_ATTRIBUTES), found(sql.ROWS_OF_WAITS)
        places = found(sql.ROWS_OF_PLACES)
        ids = [rows[0][0] for rows in heads.values()]
        holds = {hold.workflow_id: hold for hold in self.holds(ids, limit=len(ids))}
        given: list[WorkflowRows] = []
        for number in numbers:
            ((workflow_id, name, state, seq, size, *rest),) = heads[number]
            given.append(
                WorkflowRows(
                    head=_head(workflow_id, name, state, seq, *rest),
                    size=size,
                    events=[EventRow(seq, type_, at, payload.encode()) for seq, type_, at, payload in events[number]],
                    inbox=[_message(workflow_id, *row) for row in inboxes[number]],
                    keys=[key for (key,) in keys[number]],
                    values=[_value(*row) for row in values[number]],
                    attributes=[AttributeRow(*row) for row in attributes[number]],
                    waits=[_wait(*row) for row in waits[number]],
                    items=[_item(*row) for row in items[number]],
                    standing=_standing(*places[number][0]) if places[number] else None,
                    hold=holds.get(workflow_id),
                )
            )
        return given

    def put_workflow_rows(self, workflows: Sequence[WorkflowRows]) -> Sequence[CreateOutcome]:
        """Write those that are not there, each with all that it has, in one transaction."""
        self._known.clear()
        with self._unclosed() as is_closed:
            connection = self._connection
            ids = [rows.head.workflow_id for rows in workflows]
            there = {head.workflow_id: head.head() for head in self._heads(ids)}
            last_number: int = connection.value(sql.LAST_NUMBER)
            outcomes: list[CreateOutcome] = []
            rows_of_tables = _Rows()
            for rows in workflows:
                head = there.get(rows.head.workflow_id)
                keeper = self._keeper(rows, rows_of_tables) if head is None else None
                if head is not None:
                    outcomes.append(Exists(head=head))
                elif keeper is not None:
                    outcomes.append(Deduplicated(head=keeper))
                else:
                    last_number += 1
                    rows_of_tables.add(last_number, rows, keeps_order=is_closed)
                    there[rows.head.workflow_id] = rows.head
                    outcomes.append(Done())
            rows_of_tables.write(connection)
        return outcomes

    def _put_rows_within(self, rows: WorkflowRows) -> None:
        written = _Rows()
        written.add(self._connection.value(sql.LAST_NUMBER) + 1, rows, keeps_order=False)
        written.write(self._connection)

    def _heads(self, workflow_ids: Sequence[str]) -> list[HeadRecord]:
        return records.heads(self._connection.value(sql.FIND_HEADS, {"workflow_ids": array(workflow_ids)}))

    def _keeper(self, rows: WorkflowRows, planned: _Rows) -> Head | None:
        """Give who has the key of its place."""
        if rows.standing is None or rows.standing.place.dedup_key is None:
            return None
        key = (rows.standing.place.queue, rows.standing.place.dedup_key)
        if key in planned.keepers:
            return planned.keepers[key]
        found = queue_records.places(self._connection.value(sql.FIND_PLACE, {"queue": key[0], "dedup_key": key[1]}))
        return self._heads([found[0].workflow_id])[0].head() if found else None

    def shared_rows(self) -> SharedRows:
        """Give queues, schedules and the key that signs tokens."""
        with self._snapshot():
            connection = self._connection
            starts: dict[str, list[tuple[str, int]]] = defaultdict(list)
            for queue, partition, at in connection.rows(sql.ROWS_OF_STARTS):
                starts[queue].append((partition, at))
            queues = [
                QueueRows(
                    row=QueueRow(
                        name=name,
                        limits=stored_limits(limits) or QueueLimits(),
                        declared=stored_limits(declared),
                        paused=truth(paused),
                    ),
                    served=served,
                    starts=starts[name],
                )
                for name, limits, declared, paused, served in connection.rows(sql.ROWS_OF_QUEUES)
            ]
            schedules = [
                ScheduleRow(name=name, revision=revision, workflow=workflow, due_at=due_at, payload=payload.encode())
                for name, revision, workflow, due_at, payload in connection.rows(sql.ROWS_OF_SCHEDULES)
            ]
            key = connection.value(sql.FIND_SECRET, {"name": _KEY})
            audit = [row for _, row in self.audit(limit=-1)]
            return SharedRows(queues=queues, schedules=schedules, signing_key=key, audit=audit)

    def put_shared_rows(self, shared: SharedRows) -> None:
        """Write queues, schedules and the key, in the place of what has the same names."""
        with self._unclosed():
            connection = self._connection
            for queue in shared.queues:
                row = queue.row
                written = {
                    "name": row.name,
                    "limits": queue_records.encode(row.limits),
                    "declared": queue_records.encode(row.declared),
                    "paused": row.paused,
                    "served": queue.served,
                }
                connection.execute(sql.PUT_QUEUE, written)
                connection.execute(sql.DROP_STARTS, {"queue": row.name})
                connection.execute(sql.PUT_STARTS, {"queue": row.name, "starts": array(queue.starts)})
            if shared.schedules:
                rows = [
                    (row.name, row.revision, row.workflow, row.due_at, row.payload.decode()) for row in shared.schedules
                ]
                sql.PUT_SCHEDULES.run(connection, rows)
            if shared.signing_key is not None:
                connection.execute(sql.REPLACE_SECRET, {"name": _KEY, "value": shared.signing_key})
            if shared.audit:
                connection.execute(sql.DROP_AUDIT)
            for done in shared.audit:
                write_audit(connection, done)

    def stray_rows(self) -> Sequence[str]:
        """Give a sentence for each kind of row that belongs to no workflow, or contradicts its head."""
        found = self._connection.rows(sql.STRAY_ROWS)
        return [f"{count} {what} belong to no workflow that is there" for what, count in found if count]

    def move(self) -> Move | None:
        """Give why the database is closed; None while it is not."""
        text = self._connection.value(sql.FIND_MOVE)
        return None if text is None else read_json(_move, text)

    def close_for_move(self, move: Move) -> None:
        """Retire everybody, and refuse what is written from then on, here and in every other process."""
        self._known.clear()
        connection = self._connection
        with connection.transaction:
            self._drop_triggers()
            for worker in records.workers(connection.value(sql.LIST_WORKERS)):
                connection.execute(sql.FREE_HEADS, {"worker": worker.worker, "worker_died": WORKER_DIED})
                connection.execute(sql.FREE_ALL_SLOTS, {"worker": worker.worker})
                connection.execute(sql.DELETE_WORKER, {"worker": worker.worker})
            connection.execute(sql.NOTE_MOVE, {"payload": msgspec.json.encode(move).decode()})
            sentence = f"{CLOSED}{move.sentence()}".replace("'", "''")
            for table in CLOSED_TABLES:
                for change in ("INSERT", "UPDATE", "DELETE"):
                    connection.execute(
                        f"CREATE TRIGGER closed_{table}_{change.lower()} BEFORE {change} ON {table}"
                        f" BEGIN SELECT RAISE(ABORT, '{sentence}'); END"
                    )

    def open_after_move(self) -> None:
        """Open the database again, for everybody."""
        with self._connection.transaction:
            self._drop_triggers()
            self._connection.execute(sql.FORGET_MOVE)

    def _drop_triggers(self) -> list[str]:
        """Remove what keeps the database closed; give the statements that make it anew."""
        found = self._connection.rows(sql.LIST_TRIGGERS)
        for name, _ in found:
            self._connection.execute(f'DROP TRIGGER "{name}"')
        return [statement for _, statement in found]

    @contextmanager
    def _unclosed(self) -> Generator[bool]:
        """Write in a transaction, also where the database is closed: nobody else sees it open. Give whether it is."""
        with self._connection.transaction:
            statements = self._drop_triggers()
            yield bool(statements)
            for statement in statements:
                self._connection.execute(statement)


class _Rows:
    """Rows to be written, by their tables."""

    def __init__(self) -> None:
        self.keepers: dict[tuple[str, str], Head] = {}
        self._of: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        self._holds: list[HoldRow] = []

    def add(self, number: int, rows: WorkflowRows, *, keeps_order: bool) -> None:
        """Add all of one workflow."""
        head, of = rows.head, self._of
        if rows.hold is not None:
            self._holds.append(rows.hold)
        of["heads"].append((number, *_head_values(rows)))
        of["events"] += [(number, one.seq, one.type, one.recorded_at, one.payload.decode()) for one in rows.events]
        closed = head.state in ENDED
        of["inbox"] += [
            (number, one.source, one.number, one.topic, one.control, one.payload.decode(), one.arrived_at, closed)
            for one in rows.inbox
        ]
        of["keys"] += [(number, key) for key in rows.keys]
        of["values"] += [(number, one.name, one.seq, one.recorded_at, one.payload.decode()) for one in rows.values]
        of["attributes"] += [
            (head.workflow_id, one.name, one.value, one.place, one.created_at) for one in rows.attributes
        ]
        of["waits"] += [(number, *_wait_values(wait)) for wait in rows.waits]
        of["items"] += [(number, *_item_values(item)) for item in rows.items]
        if rows.standing is not None:
            place, standing = rows.standing.place, rows.standing
            came = standing.came if keeps_order else None
            where = (place.queue, standing.name, place.partition, place.priority, place.due_at, place.dedup_key)
            of["places"].append((number, came, *where, standing.stands))
            if place.dedup_key is not None:
                self.keepers[place.queue, place.dedup_key] = head

    def write(self, connection: Connection) -> None:
        """Write them."""
        of = self._of
        for name, statement in _STATEMENTS.items():
            if of[name]:
                statement.run(connection, of[name])
        for hold in self._holds:
            write_hold(connection, hold)


_STATEMENTS: Final = {
    "heads": sql.PUT_HEADS,
    "events": sql.INSERT_EVENTS,
    "inbox": sql.PUT_MESSAGES,
    "keys": sql.INSERT_MESSAGE_KEYS,
    "values": sql.WRITE_VALUES,
    "attributes": sql.INSERT_ATTRIBUTES,
    "waits": sql.OPEN_WAITS,
    "items": sql.APPEND_TO_STREAMS,
    "places": sql.PUT_PLACES,
}


def _head(workflow_id: str, name: str, state: Any, seq: int, created_at: int, *rest: Any) -> Head:
    ended_at, token, worker, wake_at, topics, takeovers, build, why, queue, first_seq = rest
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
        topics=_topics_of(topics),
        takeovers=takeovers,
        build=build,
        why=why,
        queue=queue,
        first_seq=first_seq,
    )


def _topics_of(text: str) -> tuple[str, ...]:
    return read_json(_topics, text)


def _head_values(rows: WorkflowRows) -> tuple[object, ...]:
    head = rows.head
    return (
        head.workflow_id,
        head.name,
        head.state,
        head.seq,
        rows.size,
        head.created_at,
        head.ended_at,
        head.wake_at,
        array(head.topics),
        head.takeovers,
        head.build,
        head.why,
        head.queue,
        head.first_seq,
    )


def _message(destination: str, row: int, source: str, number: int, topic: str, *rest: Any) -> InboxRow:
    payload, control, arrived_at = rest
    return InboxRow(
        row=row,
        destination=destination,
        source=source,
        number=number,
        topic=topic,
        payload=payload.encode(),
        control=truth(control),
        arrived_at=arrived_at,
    )


def _value(name: str, seq: int, recorded_at: int, payload: str) -> ValueRow:
    return ValueRow(name=name, seq=seq, recorded_at=recorded_at, payload=payload.encode())


def _wait(seq: int, operation: str, topic: str, title: str, *rest: Any) -> WaitRow:
    opened_at, due_at, metadata, schema = rest
    return WaitRow(
        seq=seq,
        operation=operation,
        topic=topic,
        title=title,
        opened_at=opened_at,
        due_at=due_at,
        metadata=None if metadata is None else metadata.encode(),
        schema=None if schema is None else schema.encode(),
    )


def _wait_values(wait: WaitRow) -> tuple[object, ...]:
    texts = [None if one is None else one.decode() for one in (wait.metadata, wait.schema)]
    return wait.seq, wait.operation, wait.topic, wait.title, wait.opened_at, wait.due_at, *texts


def _item(stream: str, offset: int, count: int, kind: Any, *rest: Any) -> StreamRow:
    written_at, operation, attempt, payload = rest
    return StreamRow(
        stream=stream,
        offset=offset,
        count=count,
        kind=kind,
        written_at=written_at,
        operation=operation,
        attempt=attempt,
        payload=payload.encode(),
    )


def _item_values(row: StreamRow) -> tuple[object, ...]:
    where = (row.stream, row.offset, row.count, row.kind)
    return *where, row.written_at, row.operation, row.attempt, row.payload.decode()


def _standing(came: int, queue: str, name: str, partition: str, priority: int, *rest: Any) -> StandingRow:
    due_at, dedup_key, stands = rest
    place = Place(queue=queue, partition=partition, priority=priority, due_at=due_at, dedup_key=dedup_key)
    return StandingRow(place=place, name=name, came=came, stands=stands)
