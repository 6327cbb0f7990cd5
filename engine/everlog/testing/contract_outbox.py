"""What a store promises of writing within a user's transaction, as tests: `everlog.testing.OutboxConformance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from everlog.errors import InternalError, UsageError
from everlog.store import (
    Batch,
    BatchOutcome,
    Commit,
    CreateOutcome,
    Deduplicated,
    Done,
    Duplicate,
    Exists,
    NewMessage,
    NewWorkflow,
    Place,
    PostOutcome,
    QueueLimits,
    Store,
    SupportsFinding,
    SupportsQueues,
    Undeliverable,
)
from everlog.store_outbox import SupportsOutbox, at_once
from everlog.testing.making import (
    BEGINNING,
    claim,
    claimed_ids,
    commit,
    create,
    ended,
    events,
    held,
    message,
    new,
    post,
    waiting,
)


class HasOutbox(Store, SupportsOutbox, SupportsQueues, Protocol):
    """A store that can write within a transaction of the user's."""


Connect = Callable[[], Any]
"""Gives a new blocking connection of the user's, as PEP 249 has it, on which a transaction is open."""


class OutboxContract:
    """Writing on a connection of the user's."""

    def test_it_is_there_if_the_user_commits(self, store: HasOutbox, connect: Connect) -> None:
        waiting(store, "there", topics=["news"])
        before, theirs = store.changes(), connect()
        assert created(store, theirs, new("order")) == Done()
        assert posted(store, theirs, message("there")) == Done()
        assert posted(store, theirs, message("order")) == Done()
        assert store.heads(["order"]) == [None]
        assert claimed_ids(claim(store, "early-1", "early-2")) == []
        theirs.commit()
        assert store.changes() != before
        answer = claim(store, "token-1", "token-2")
        assert sorted(claimed_ids(answer)) == ["order", "there"]
        assert {one.head.workflow_id: [row.source for row in one.inbox] for one in answer.claimed} == {
            "order": ["client"],
            "there": ["client"],
        }
        assert list(store.read("order")) == events(1, 1)
        theirs.close()

    def test_it_is_not_there_if_the_user_rolls_back(self, store: HasOutbox, connect: Connect) -> None:
        waiting(store, "there", topics=["news"])
        theirs = connect()
        created(store, theirs, new("order"))
        posted(store, theirs, message("there", key="once"))
        theirs.rollback()
        assert store.heads(["order"]) == [None]
        assert claimed_ids(claim(store, "token")) == []
        assert create(store, new("order")) == Done()
        assert post(store, message("there", key="once")) == Done()
        theirs.close()

    def test_an_id_that_is_there_is_given_back(self, store: HasOutbox, connect: Connect) -> None:
        create(store, new("before"))
        theirs = connect()
        created(store, theirs, new("mine", name="one"))
        for workflow_id, name in (("before", "checkout"), ("mine", "one")):
            outcome = created(store, theirs, new(workflow_id, name="another", seq=2))
            assert isinstance(outcome, Exists)
            assert (outcome.head.workflow_id, outcome.head.name, outcome.head.seq) == (workflow_id, name, 1)
        assert list(at_once(store.within(theirs).read("mine"))) == events(1, 1)
        assert list(at_once(store.within(theirs).read("mine", limit=0))) == []
        assert list(at_once(store.within(theirs).read("nobody"))) == []
        theirs.close()

    def test_a_message_is_delivered_once(self, store: HasOutbox, connect: Connect) -> None:
        waiting(store, "there", topics=["news"])
        post(store, message("there", 1, key="before"))
        theirs = connect()
        assert posted(store, theirs, message("there", 1)) == Duplicate()
        assert posted(store, theirs, message("there", 2, key="before")) == Duplicate()
        assert posted(store, theirs, message("there", 3, key="mine")) == Done()
        assert posted(store, theirs, message("there", 4, key="mine")) == Duplicate()
        theirs.commit()
        assert post(store, message("there", 5, key="mine")) == Duplicate()
        (found,) = claim(store, "token").claimed
        assert [row.number for row in found.inbox] == [1, 3]
        theirs.close()

    def test_nobody_gets_what_nobody_could_read(self, store: HasOutbox, connect: Connect) -> None:
        ended(store, "over")
        theirs = connect()
        assert posted(store, theirs, message("over")) == Undeliverable(index=0, reason="ended")
        assert posted(store, theirs, message("nobody")) == Undeliverable(index=0, reason="unknown")
        theirs.close()

    def test_messages_of_one_transaction_come_in_the_order_sent(self, store: HasOutbox, connect: Connect) -> None:
        waiting(store, "there", topics=["news"])
        theirs = connect()
        for number in range(1, 30):
            posted(store, theirs, message("there", number))
        theirs.commit()
        (found,) = claim(store, "token").claimed
        assert [row.number for row in found.inbox] == list(range(1, 30))
        theirs.close()

    def test_who_has_a_dedup_key_is_given_back(self, store: HasOutbox, connect: Connect) -> None:
        store.declare_queues([("mail", QueueLimits())])
        create(store, _placed("first", "a"))
        theirs = connect()
        assert [row.name for row in at_once(store.within(theirs).queues())] == ["mail"]
        assert created(store, theirs, _placed("mine", "b")) == Done()
        for key, holder in (("a", "first"), ("b", "mine")):
            outcome = created(store, theirs, _placed("another", key))
            assert isinstance(outcome, Deduplicated)
            assert outcome.head.workflow_id == holder
        assert isinstance(created(store, theirs, _placed("first", "a")), Exists)
        theirs.commit()
        holders = [store.find_place("mail", key) for key in ("a", "b")]
        assert [place is not None and place.workflow_id for place in holders] == ["first", "mine"]
        assert store.heads(["another"]) == [None]
        theirs.close()

    def test_attributes_are_kept(self, store: HasOutbox, connect: Connect) -> None:
        theirs = connect()
        assert written(store, theirs, Batch(creates=[_with_attributes("order")])).creates == [Done()]
        theirs.commit()
        if not isinstance(store, SupportsFinding):
            pytest.skip("this store finds nothing by attributes")
        (found,) = store.attributes(["order"])
        assert dict(found) == {"region": "eu"}
        theirs.close()

    def test_no_workflow_is_committed(self, store: HasOutbox, connect: Connect) -> None:
        token = held(store, "order")
        theirs = connect()
        with pytest.raises(InternalError, match="commits of workflows"):
            written(store, theirs, Batch(commits=[Commit(workflow_id="order", token=token, seq=1, state="running")]))
        theirs.close()

    def test_what_else_is_in_the_transaction_stays(self, store: HasOutbox, connect: Connect) -> None:
        """A write that gives an outcome, or is refused, takes nothing with it that the user wrote."""
        theirs = connect()
        created(store, theirs, new("first"))
        created(store, theirs, new("first"))
        posted(store, theirs, message("nobody", key="once"))
        with pytest.raises(InternalError):
            created(store, theirs, NewWorkflow(workflow_id="bad", name="bad", state="queued", events=[]))
        theirs.commit()
        assert [head is not None for head in store.heads(["first", "bad"])] == [True, False]
        theirs.close()

    def test_what_is_no_connection_is_refused(self, store: HasOutbox) -> None:
        for given in (None, "sqlite:///shop.db", 1, object(), store):
            with pytest.raises(UsageError, match="using"):
                store.within(given)

    def test_it_is_no_commit_of_somebody_else(self, store: HasOutbox, peer: Store, connect: Connect) -> None:
        """Who held a workflow before the transaction goes on committing after it."""
        token = held(peer, "running")
        theirs = connect()
        posted(store, theirs, message("running"))
        theirs.commit()
        follows = Commit(workflow_id="running", token=token, seq=1, state="running", events=events(2, 2))
        assert commit(peer, follows) == Done()
        assert [row.destination for row in peer.unread("worker-1")] == ["running"]
        theirs.close()


def written(store: SupportsOutbox, connection: object, batch: Batch) -> BatchOutcome:
    """Write a batch within the transaction that is open on a blocking connection."""
    return at_once(store.within(connection).write(batch))


def created(store: SupportsOutbox, connection: object, workflow: NewWorkflow) -> CreateOutcome:
    """Create one workflow so."""
    return written(store, connection, Batch(creates=[workflow])).creates[0]


def posted(store: SupportsOutbox, connection: object, sent: NewMessage) -> PostOutcome:
    """Post one message so."""
    return written(store, connection, Batch(posts=[sent])).posts[0]


def _placed(workflow_id: str, key: str) -> NewWorkflow:
    place = Place(queue="mail", partition="", priority=0, due_at=BEGINNING, dedup_key=key)
    return NewWorkflow(workflow_id=workflow_id, name="checkout", state="enqueued", events=events(1, 1), place=place)


def _with_attributes(workflow_id: str) -> NewWorkflow:
    given = {"region": "eu"}
    return NewWorkflow(workflow_id=workflow_id, name="c", state="queued", events=events(1, 1), attributes=given)
