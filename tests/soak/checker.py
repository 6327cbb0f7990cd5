"""The checker: reads the database and the ledger when all is over, and says what is wrong. It shares no code with
Everlog, and knows only what the tables and the form of the log promise.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from tests.soak.ledger import Entry, read

ENDS: Final = {"workflow_completed": "completed", "workflow_failed": "failed", "workflow_cancelled": "cancelled"}
READ_SQLITE: Final = """
SELECT workflow_id, events.seq, events.payload, heads.state, heads.seq FROM events
JOIN heads ON heads.number = events.workflow ORDER BY workflow_id, events.seq
"""
READ_POSTGRES: Final = """
SELECT workflow_id, events.seq, events.payload, heads.state, heads.seq FROM everlog.events
JOIN everlog.heads USING (workflow_id) ORDER BY workflow_id, events.seq
"""
OPERATIONS: Final = ("step_completed", "step_failed", "child_ended", "message_received", "timer_fired")
"""What ends an operation: of each there is one."""


class History:
    """What the database says of one workflow."""

    def __init__(self, workflow_id: str, state: str, seq: int) -> None:
        self.id = workflow_id
        self.state = state
        self.seq = seq
        self.seqs: list[int] = []
        self.events: list[dict[str, Any]] = []

    def add(self, seq: int, event: dict[str, Any]) -> None:
        """Add the next event."""
        self.seqs.append(seq)
        self.events.append(event)

    def of(self, *types: str) -> list[dict[str, Any]]:
        """Give its events of these types."""
        return [event for event in self.events if event["type"] in types]


class Town(NamedTuple):
    """All that is there at the end."""

    histories: dict[str, History]
    payments: Counter[str]
    """The rows that the application has, by who paid."""
    ledger: list[Entry]
    limits: dict[str, int]
    """How many of each queue may be at work at once."""
    every: int
    """Seconds between two ticks."""

    def said(self, *what: str) -> list[Entry]:
        """Give the lines of the ledger of these kinds."""
        return [entry for entry in self.ledger if entry.what in what]


def read_town(url: str, folder: Path, limits: dict[str, int], every: int) -> Town:
    """Read what the database of the URL holds, and the ledger."""
    is_sqlite = url.startswith("sqlite")
    connection: Any = sqlite3.connect(url.removeprefix("sqlite:///")) if is_sqlite else psycopg.connect(url)
    histories: dict[str, History] = {}
    with closing(connection):
        for workflow_id, seq, payload, state, head_seq in connection.execute(
            READ_SQLITE if is_sqlite else READ_POSTGRES
        ):
            history = histories.setdefault(workflow_id, History(workflow_id, state, head_seq))
            history.add(seq, json.loads(payload))
        payments = Counter(who for (who,) in connection.execute("SELECT who FROM soak_payments"))
    return Town(histories, payments, read(folder), limits, every)


def acknowledged_workflows_are_there(town: Town) -> Iterator[str]:
    """A workflow whose start was acknowledged exists, has ended, and returned what it should."""
    for entry in town.said("started"):
        workflow_id, expected = entry.said
        history = town.histories.get(workflow_id)
        if history is None:
            yield f"{workflow_id} was acknowledged and is not there"
        elif expected is not None:
            results = [event["result"] for event in history.of("workflow_completed")]
            if results != [expected]:
                yield f"{workflow_id} should have returned {expected}: {results}, {history.state}"


def all_have_ended(town: Town) -> Iterator[str]:
    """Nothing is stuck, and nothing waits for ever, but the ticks to come."""
    for history in town.histories.values():
        if history.state not in ENDS.values():
            yield f"{history.id} is {history.state}"


def histories_are_dense(town: Town) -> Iterator[str]:
    """The seqs of a history are 1, 2, 3, ..., and its head says the last."""
    for history in town.histories.values():
        if history.seqs != list(range(1, len(history.seqs) + 1)) or history.seq != len(history.seqs):
            yield f"{history.id} has the seqs {history.seqs}, and its head {history.seq}"


def there_is_one_end(town: Town) -> Iterator[str]:
    """A history that has ended has one end, as its last event, and its head says the same."""
    for history in town.histories.values():
        ends = history.of(*ENDS)
        last = history.events[-1]["type"]
        if history.state in ENDS.values() and (len(ends) != 1 or ENDS.get(last) != history.state):
            yield f"{history.id} is {history.state} and has {len(ends)} ends; its last event is {last}"


def operations_end_once(town: Town) -> Iterator[str]:
    """What a workflow asked for has one outcome; a life that continues as new counts anew."""
    for history in town.histories.values():
        seen: set[str] = set()
        for event in history.events:
            if event["type"] == "workflow_continued":
                seen.clear()
            if event["type"] in OPERATIONS:
                if event["operation"] in seen:
                    yield f"{history.id}: operation {event['operation']} has two outcomes"
                seen.add(event["operation"])


def letters_are_received_once_in_order(town: Town) -> Iterator[str]:
    """Each letter that was acknowledged is received once, and those of one sender in their order."""
    sent: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for entry in town.said("sent"):
        workflow_id, sender, letter = entry.said
        sent[workflow_id].append((sender, letter))
    for workflow_id, letters in sent.items():
        history = town.histories.get(workflow_id)
        results = [] if history is None else [event["result"] for event in history.of("workflow_completed")]
        received = [(sender, letter) for result in results for sender, letter in result]
        if sorted(received) != sorted(letters):
            yield f"{workflow_id} was sent {letters} and received {received}"
        for sender in {sender for sender, _ in received}:
            order = [letter for other, letter in received if other == sender]
            if order != sorted(order):
                yield f"{workflow_id} received the letters of {sender} in the order {order}"


def rows_are_paid_once(town: Town) -> Iterator[str]:
    """The application has as many rows as there are recorded results of the steps that write them."""
    # A fork has those of its origin among its own, which it did not do again: the same step, begun at the same time.
    recorded = {
        (history.id.removeprefix("fork-of-"), event["started_at"])
        for history in town.histories.values()
        for event in history.of("step_completed")
        if event["step"] == "soak.pay"
    }
    expected = Counter(who for who, _ in recorded)
    for who in {*expected, *town.payments}:
        if expected[who] != town.payments[who]:
            yield f"{who} has {town.payments[who]} rows and {expected[who]} recorded payments"


def what_was_cancelled_is_undone(town: Town) -> Iterator[str]:
    """Who was cancelled is cancelled, and has taken back what was done, if anything was: recorded once."""
    for entry in town.said("cancelled"):
        history = town.histories.get(entry.said[0])
        if history is None:
            continue
        undone = [event for event in history.of("step_completed") if event["step"] == "soak.undo"]
        if history.state != "cancelled" or len(undone) != len(history.of("workflow_began")):
            yield f"{history.id} was cancelled, is {history.state}, and has undone {len(undone)} times"


def ticks_come_once(town: Town) -> Iterator[str]:
    """Every tick of the schedule has one workflow, from the first to the last."""
    ticks = sorted(
        event["tick"]
        for history in town.histories.values()
        for event in history.of("workflow_created")
        if event["name"] == "soak.tick"
    )
    step = town.every * 1_000_000
    for before, after in pairwise(ticks):
        if after - before != step:
            yield f"after the tick at {before} comes that at {after}"


def limits_hold(town: Town) -> Iterator[str]:
    """Never are more at once in the hands of living processes than a limit allows."""
    running: dict[str, set[tuple[int, str]]] = defaultdict(set)
    gone: set[int] = set()
    for entry in town.said("begins", "ends", "gone", "back"):
        if entry.what == "gone":  # killed, or stopped for longer than a lease: others do its work
            pid = entry.said[0]
            gone.add(pid)
            for held in running.values():
                held -= {one for one in held if one[0] == pid}
        elif entry.what == "back":
            gone.discard(entry.said[0])
        elif entry.pid not in gone:
            queue, who = entry.said
            if entry.what == "begins":
                running[queue].add((entry.pid, who))
                if len(running[queue]) > town.limits[queue]:
                    yield f"at {entry.at} {len(running[queue])} of {queue!r} ran at once: {running[queue]}"
            else:
                running[queue].discard((entry.pid, who))


def streams_are_whole(town: Town) -> Iterator[str]:
    """A workflow that said three things has said each once."""
    for history in town.histories.values():
        if history.state == "completed" and history.events[0]["name"] == "soak.order":
            emitted = sum(event.get("count", 1) for event in history.of("items_emitted"))
            if emitted != 3:
                yield f"{history.id} has emitted {emitted} items"


LAWS: Final[tuple[Callable[[Town], Iterator[str]], ...]] = (
    acknowledged_workflows_are_there,
    all_have_ended,
    histories_are_dense,
    there_is_one_end,
    operations_end_once,
    letters_are_received_once_in_order,
    rows_are_paid_once,
    what_was_cancelled_is_undone,
    ticks_come_once,
    limits_hold,
    streams_are_whole,
)
