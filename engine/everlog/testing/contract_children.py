"""What a store promises of workflows that a commit creates, as tests. Part of `everlog.testing.StoreConformance`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from everlog.errors import InternalError
from everlog.store import Batch, ChildExists, Commit, Done, NewMessage, NewWorkflow, Refused, Store, Undeliverable
from everlog.testing.making import (
    claim,
    claimed_ids,
    commit,
    create,
    ended,
    event,
    events,
    head,
    held,
    message,
    new,
)


class ChildrenContract:
    """Workflows that come to be with a commit, and messages that may be dropped."""

    def test_what_a_commit_creates_is_there_with_its_events(self, store: Store) -> None:
        token = held(store, "parent")
        children = [new("held", state="running", seq=2, token="t", worker="worker-9"), new("queued")]
        assert commit(store, _creating("parent", token, children)) == Done()
        assert head(store, "parent").seq == 2
        assert (head(store, "held").token, head(store, "held").worker) == ("t", "worker-9")
        assert (head(store, "held").state, head(store, "held").seq) == ("running", 2)
        assert list(store.read("held")) == events(1, 2)
        assert head(store, "queued").created_at == event(1).recorded_at
        assert claimed_ids(claim(store, "a", "b", "c")) == ["queued"]
        going_on = Commit(workflow_id="held", token="t", seq=2, state="running", events=events(3, 3))
        assert commit(store, going_on) == Done()

    def test_who_is_refused_creates_nothing(self, store: Store) -> None:
        held(store, "parent")
        assert commit(store, _creating("parent", "another token", [new("child")])) == Refused()
        assert store.heads(["child"]) == [None]
        assert list(store.read("child")) == []

    def test_an_id_that_is_taken_is_answered_and_nothing_is_written(self, store: Store) -> None:
        token = held(store, "parent")
        create(store, new("third", name="other", seq=3))
        create(store, new("second"))
        there = head(store, "second")
        children = [new("first"), new("second"), new("third")]
        one = replace(_creating("parent", token, children), messages=[message("third"), message("nobody")])
        assert commit(store, one) == ChildExists(index=1, head=there)
        assert head(store, "parent").seq == 1
        assert store.heads(["first"]) == [None]
        assert head(store, "second") == there
        assert head(store, "third").seq == 3
        assert claim(store, "a", "b", "c").claimed[0].inbox == []

    def test_of_two_commits_that_create_one_id_the_first_does(self, store: Store) -> None:
        tokens = {name: held(store, name) for name in ("a", "b", "c")}
        outcome = store.commit(
            Batch(
                commits=[
                    _creating("a", tokens["a"], [new("child", name="of a")]),
                    _creating("b", tokens["b"], [new("other"), new("child", name="of b")]),
                    _creating("c", tokens["c"], [new("another")]),
                ]
            )
        )
        assert outcome.commits == [Done(), ChildExists(index=1, head=head(store, "child")), Done()]
        assert head(store, "child").name == "of a"
        assert store.heads(["other"]) == [None]
        assert head(store, "another").seq == 1

    def test_a_creation_of_the_batch_comes_before_those_of_its_commits(self, store: Store) -> None:
        token = held(store, "parent")
        batch = Batch(creates=[new("child", name="alone")], commits=[_creating("parent", token, [new("child")])])
        outcome = store.commit(batch)
        assert outcome.creates == [Done()]
        assert outcome.commits == [ChildExists(index=0, head=head(store, "child"))]
        assert head(store, "child").name == "alone"

    def test_a_commit_may_send_to_what_it_creates(self, store: Store) -> None:
        token = held(store, "parent")
        children = [new("child", state="running", token="t"), new("over", state="completed", seq=2)]
        one = replace(_creating("parent", token, children), messages=[message("child", source="parent")])
        assert commit(store, replace(one, messages=[*one.messages, message("over", source="parent")])) == (
            Undeliverable(index=1, reason="ended")
        )
        assert store.heads(["child", "over"]) == [None, None]
        assert commit(store, one) == Done()
        assert [(row.destination, row.source) for row in store.unread("worker-1")] == [("child", "parent")]

    def test_later_parts_of_the_batch_reach_what_a_commit_creates(self, store: Store) -> None:
        first, second = held(store, "a"), held(store, "b")
        sending = Commit(workflow_id="b", token=second, seq=1, state="running", messages=[message("child", source="b")])
        batch = Batch(
            commits=[_creating("a", first, [new("child", state="running", token="t")]), sending],
            posts=[message("child", source="client")],
        )
        outcome = store.commit(batch)
        assert (outcome.commits, outcome.posts) == ([Done(), Done()], [Done()])
        assert [row.source for row in store.unread("worker-1")] == ["b", "client"]

    def test_a_last_commit_may_create(self, store: Store) -> None:
        token = held(store, "parent")
        assert commit(store, replace(_creating("parent", token, [new("child")]), state="completed")) == Done()
        assert (head(store, "parent").state, head(store, "child").state) == ("completed", "queued")

    def test_a_thousand_are_created_by_one_commit(self, store: Store) -> None:
        token = held(store, "parent")
        children = [new(f"child-{number:04d}", seq=2) for number in range(1000)]
        assert commit(store, _creating("parent", token, children)) == Done()
        found = store.heads([child.workflow_id for child in children])
        assert [one and one.seq for one in found] == [2] * 1000
        assert list(store.read("child-0999")) == events(1, 2)

    @pytest.mark.parametrize("wrong", ["no events", "a gap", "a token alone", "twice", "created and committed"])
    def test_creations_that_no_engine_makes_are_refused_before_anything_is_written(
        self, store: Store, wrong: str
    ) -> None:
        first, second = held(store, "a"), held(store, "b")
        children = {
            "no events": [new("child", seq=0)],
            "a gap": [replace(new("child"), events=events(2, 2))],
            "a token alone": [replace(new("child"), token="t")],
            "twice": [new("child"), new("child")],
            "created and committed": [new("b")],
        }[wrong]
        going_on = Commit(workflow_id="b", token=second, seq=1, state="running", events=events(2, 2))
        with pytest.raises(InternalError):
            store.commit(Batch(commits=[_creating("a", first, children), going_on]))
        assert (head(store, "a").seq, head(store, "b").seq) == (1, 1)
        assert store.heads(["child"]) == [None]

    @pytest.mark.parametrize("state", ["nobody", "ended"])
    def test_an_optional_message_is_dropped_where_nobody_could_take_it(self, store: Store, state: str) -> None:
        token = held(store, "sender")
        held(store, "reader")
        ended(store, "ended")
        messages = [_optional(state, 1), _optional("reader", 2, key="k"), _optional("reader", 3, key="k")]
        one = Commit(workflow_id="sender", token=token, seq=1, state="running", events=events(2, 2), messages=messages)
        assert commit(store, one) == Done()
        assert head(store, "sender").seq == 2
        assert [(row.destination, row.number) for row in store.unread("worker-1")] == [("reader", 2)]

    def test_an_optional_message_does_not_excuse_another(self, store: Store) -> None:
        token = held(store, "sender")
        messages = [_optional("nobody", 1), message("nobody", 2, source="sender")]
        one = Commit(workflow_id="sender", token=token, seq=1, state="running", events=events(2, 2), messages=messages)
        assert commit(store, one) == Undeliverable(index=1, reason="unknown")
        assert head(store, "sender").seq == 1

    def test_an_optional_message_that_is_posted_is_answered_as_any(self, store: Store) -> None:
        ended(store, "ended")
        outcome = store.commit(Batch(posts=[_optional("nobody", 1), _optional("ended", 2)]))
        assert outcome.posts == [
            Undeliverable(index=0, reason="unknown"),
            Undeliverable(index=0, reason="ended"),
        ]


def _creating(workflow_id: str, token: str, children: Sequence[NewWorkflow]) -> Commit:
    return Commit(
        workflow_id=workflow_id, token=token, seq=1, state="running", events=events(2, 2), creates=list(children)
    )


def _optional(destination: str, number: int, *, key: str | None = None) -> NewMessage:
    return replace(message(destination, number, source="sender", key=key), optional=True)
