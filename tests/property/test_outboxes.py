"""Random transactions of users that write, commit and roll back agree with the same writes made by a store at commit.

Several transactions are open at once where the database can have them; each creates workflows of its own, and all send
to the same ones. What the memory store says of the same writes, in the order of the commits, is what is right.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from everlog.memory import MemoryStore
from everlog.store import Batch, BatchOutcome, ClaimRequest, NewWorkflow, Place, QueueLimits, Store
from everlog.store_outbox import at_once
from everlog.testing.making import BEGINNING, events, message, new
from everlog_postgres import open_store as open_postgres
from everlog_sqlite import open_store as open_sqlite
from tests.postgres import needs_postgres, new_schema, server_url

SHARED = ["shared 0", "shared 1"]

writes = st.one_of(
    st.tuples(st.just("create"), st.integers(0, 2)),
    st.tuples(st.just("place"), st.integers(0, 2)),
    st.tuples(st.just("send"), st.sampled_from([*SHARED, "own 0", "own 1", "nobody"])),
    st.tuples(st.just("send once"), st.sampled_from([*SHARED, "own 0"])),
)
acts = st.lists(st.tuples(st.integers(0, 2), writes | st.sampled_from(["commit", "roll back"])), max_size=25)


class Session:
    """A connection of a user's, and what was written in its transaction."""

    def __init__(self, number: int, connection: Any) -> None:
        self.number = number
        self.connection = connection
        self.pending: list[Batch] = []
        self.sent = 0

    def batch(self, what: str, about: Any) -> Batch:
        """Give what is written, which is of this session unless it is shared."""
        name = f"{about}" if about in SHARED else f"{self.number} {about}"
        if what == "create":
            return Batch(creates=[new(f"{self.number} own {about}")])
        if what == "place":
            place = Place(queue="q", partition="", priority=0, due_at=BEGINNING, dedup_key=f"{self.number} {about % 2}")
            placed = NewWorkflow(
                workflow_id=f"{self.number} placed {about}",
                name="c",
                state="enqueued",
                events=events(1, 1),
                place=place,
            )
            return Batch(creates=[placed])
        self.sent += 1
        key = f"key of {self.number}" if what == "send once" else None
        return Batch(posts=[message(name, self.sent, source=f"session {self.number}", key=key)])


def told(outcome: BatchOutcome) -> list[tuple[str, str]]:
    """Give what matters of an outcome: not when a workflow was created."""
    found = [*outcome.creates, *outcome.posts]
    return [(type(one).__name__, getattr(getattr(one, "head", None), "workflow_id", "")) for one in found]


def model_of(committed: Sequence[Batch], pending: Sequence[Batch] = ()) -> tuple[MemoryStore, list[tuple[str, str]]]:
    """Give a memory store in which all this was written, and the outcome of the last."""
    store = MemoryStore()
    store.declare_queues([("q", QueueLimits())])
    outcome = BatchOutcome()
    for batch in [Batch(creates=[new(one) for one in SHARED]), *committed, *pending]:
        outcome = store.commit(batch)
    return store, told(outcome)


def everything(store: Store) -> dict[str, Any]:
    """Give all that can be seen of the workflows, and take them."""
    names = [f"{number} {kind} {about}" for number in range(3) for kind in ("own", "placed") for about in range(3)]
    heads = {head.workflow_id: (head.state, head.seq, head.queue) for head in store.heads([*SHARED, *names]) if head}
    tokens = [f"token {number}" for number in range(50)]
    claimed = store.claim(ClaimRequest(worker="w", tokens=tokens, build="b", names=["checkout"])).claimed
    inboxes = {
        one.head.workflow_id: {
            source: [row.number for row in one.inbox if row.source == source]
            for source in {row.source for row in one.inbox}
        }
        for one in claimed
    }
    return {"heads": heads, "inboxes": inboxes}


def check(store: Any, sessions: Sequence[Session], script: Sequence[tuple[int, Any]]) -> None:
    """Do what the script says, and compare."""
    committed: list[Batch] = []
    for which, act in script:
        session = sessions[which % len(sessions)]
        if act == "commit":
            session.connection.commit()
            committed, session.pending = [*committed, *session.pending], []
        elif act == "roll back":
            session.connection.rollback()
            session.pending = []
        else:
            batch = session.batch(*act)
            outcome = told(at_once(store.within(session.connection).write(batch)))
            session.pending.append(batch)
            assert outcome == model_of(committed, session.pending)[1], act
    for session in sessions:
        session.connection.rollback()
    assert everything(store) == everything(model_of(committed)[0])


@given(acts)
def test_on_a_file(script: list[tuple[int, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test.db")
        with closing(open_sqlite(f"sqlite:///{path}", durability="process")) as store:
            prepare(store)
            with closing(sqlite3.connect(path)) as connection:
                check(store, [Session(0, connection)], script)


@needs_postgres
@given(script=acts)
def test_on_a_server(script: list[tuple[int, Any]]) -> None:
    with closing(open_postgres(new_schema(), durability="process")) as store, ExitStack() as stack:
        prepare(store)
        connections = [stack.enter_context(closing(psycopg.connect(server_url()))) for _ in range(3)]
        check(store, [Session(number, connection) for number, connection in enumerate(connections)], script)


def prepare(store: Any) -> None:
    store.declare_queues([("q", QueueLimits())])
    store.commit(Batch(creates=[new(one) for one in SHARED]))
