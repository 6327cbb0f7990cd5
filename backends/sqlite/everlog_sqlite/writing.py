"""Writing batches on one connection: what is looked up before, and which rows in which order. It opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from everlog.store import Batch, BatchOutcome, NewMessage
from everlog_sqlite import records
from everlog_sqlite import statements as sql
from everlog_sqlite.connection import Connection
from everlog_sqlite.planning import Keys, Mail, Plan, Row
from everlog_sqlite.queues import Queues
from everlog_sqlite.records import HeadRecord, array


class HeadsMoved(Exception):
    """Not all heads were as they were planned on."""


class Writer:
    """Writes through a connection, whose transaction has the write lock of the file."""

    def __init__(self, connection: Connection, queues: Queues, now: Callable[[], int]) -> None:
        self._connection: Final = connection
        self._queues: Final = queues
        self._now: Final = now

    def write(self, batch: Batch) -> BatchOutcome:
        """Write a batch on what the database holds."""
        plan = self.look_up(batch)
        outcome = plan.add(batch)
        self.write_rows(plan)
        return outcome

    def look_up(self, batch: Batch) -> Plan:
        """Prepare a plan on what the database holds; within the transaction that will write it."""
        connection = self._connection
        messages = [message for commit in batch.commits for message in commit.messages]
        messages.extend(batch.posts)
        creates = [*batch.creates, *(new for commit in batch.commits for new in commit.creates)]
        keepers = self._queues.find_keepers([*(new.place for new in creates), *(one.place for one in batch.commits)])
        ids = {new.workflow_id for new in creates}
        ids.update(commit.workflow_id for commit in batch.commits)
        ids.update(message.destination for message in messages)
        ids.update(keeper.workflow_id for keeper in keepers)
        found = records.heads(connection.value(sql.FIND_HEADS, {"workflow_ids": array(ids)}))
        heads = {head.workflow_id: head for head in found}
        last_number = connection.value(sql.LAST_NUMBER) if creates else 0
        mail = self._find_delivered([message for message in messages if message.destination in heads], heads)
        return Plan(heads, mail, Keys(keepers), last_number=last_number, now=self._now())

    def _find_delivered(self, messages: Sequence[NewMessage], heads: dict[str, HeadRecord]) -> Mail:
        mail = Mail()
        if messages:
            sent = [
                (heads[message.destination].number, message.source, message.number, message.key) for message in messages
            ]
            for delivered in records.delivered(self._connection.value(sql.FIND_DELIVERED, {"messages": array(sent)})):
                message = messages[delivered.index]
                if delivered.row is not None:
                    mail.unread[message.destination, message.source, message.number] = delivered.row
                if delivered.key_is_known and message.key is not None:
                    mail.keys.add((message.destination, message.key))
        return mail

    def write_advances(self, advanced: Sequence[Row]) -> None:
        """Move the heads of workflows that run on."""
        if sql.ADVANCE_HEADS.run(self._connection, advanced) != len(advanced):
            raise HeadsMoved

    def write_rows(self, plan: Plan) -> None:
        """Write what was planned; raises `HeadsMoved` where heads are not as they were planned on."""
        connection = self._connection
        # The fence first: where a head is not as it was planned on, nothing else is worth writing.
        if plan.advanced:
            self.write_advances(plan.advanced)
        if plan.moved and sql.MOVE_HEADS.run(connection, plan.moved) != len(plan.moved):
            raise HeadsMoved
        if plan.created:
            sql.INSERT_HEADS.run(connection, plan.created)
        if plan.events:
            sql.INSERT_EVENTS.run(connection, plan.events)
        if plan.consumed:
            connection.execute(sql.DELETE_CONSUMED, {"consumed": array(plan.consumed)})
        if plan.messages:
            sql.INSERT_MESSAGES.run(connection, plan.messages)
        if plan.keys:
            sql.INSERT_MESSAGE_KEYS.run(connection, plan.keys)
        if plan.values:
            sql.WRITE_VALUES.run(connection, plan.values)
        if plan.items:
            sql.APPEND_TO_STREAMS.run(connection, plan.items)
        if plan.closed_waits:
            connection.execute(sql.CLOSE_WAITS, {"closed": array(plan.closed_waits)})
        if plan.waits:
            sql.OPEN_WAITS.run(connection, plan.waits)
        if plan.left:
            connection.execute(sql.LEAVE_QUEUES, {"workflows": array(plan.left)})
        if plan.lost:
            connection.execute(sql.TAKE_KEYS, {"keys": array(plan.lost)})
        if plan.put:
            sql.PUT_INTO_QUEUES.run(connection, plan.put)
        if plan.stood:
            connection.execute(sql.STAND_IN_QUEUES, {"moved": array(plan.stood), "now": plan.now})
        if plan.dropped:
            connection.execute(sql.DROP_ATTRIBUTES, {"dropped": array(plan.dropped)})
        if plan.attributes:
            sql.INSERT_ATTRIBUTES.run(connection, plan.attributes)
        for numbers, closed in ((plan.reopened, 0), (plan.ended, 1)):
            if numbers:
                connection.execute(sql.CLOSE_INBOXES, {"workflows": array(numbers), "closed": closed})
